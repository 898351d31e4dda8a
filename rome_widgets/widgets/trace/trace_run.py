"""A run of an explorer: while it is made, and what is kept of it when it has ended."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Literal

from rome_widgets.errors import Cancelled, ModelChanged
from rome_widgets.records.trace import CausalTrace, Progress
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.worker import Worker
from rome_widgets.widgets.trace.engine import TraceEngine
from rome_widgets.widgets.trace.trace_settings import TraceSettings

QUIET = 0.3
"""Seconds that nobody asks or changes the model before a trace starts that nobody asked for."""
MOST_QUIET = 5.0
"""Seconds after which it starts although the weights never rest."""

RunState = Literal["queued", "running", "filling", "overtaken", "cancelled", "done", "failed"]
NEXT: dict[RunState, tuple[RunState, ...]] = {
    "queued": ("queued", "running", "cancelled", "failed"),
    "running": ("filling", "queued", "overtaken", "cancelled", "done", "failed"),
    "filling": ("queued", "overtaken", "cancelled", "done", "failed"),
    "overtaken": ("queued", "cancelled", "failed"),
    "cancelled": ("failed",),
    "done": ("failed",),
    "failed": ("failed",),
}
"""Where a run can go from each state. It fills when its own grid comes in, is queued again when it
makes room or was overtaken by an edit, and fails after its end where that could not be shown."""
STATUS = {"filling": "running", "overtaken": "queued", "failed": "error"}
"""The widget's `status` of a state, where it is called otherwise."""


@dataclass(frozen=True)
class Basis:
    """What a grid was or is being made of: all that is asked of it later must be of the same."""

    settings: TraceSettings
    """As the engine was asked: with the answer of what it is compared with."""
    weights: Hashable

    def check(self, engine: TraceEngine) -> None:
        """Refuse another model's answer about this trace, with `ModelChanged`."""
        if engine.identity != self.weights:
            raise ModelChanged(
                "The model was edited since this trace.",
                "What is inside of it was wanted from the model that it was made on.",
                "Trace again.",
            )


@dataclass(frozen=True, eq=False)
class Run:
    """A trace, what the form said for it, and the model it was made on."""

    trace: CausalTrace
    """Not complete where it was cancelled."""
    settings: TraceSettings
    basis: Basis
    edits: int
    """How many were active."""
    ms: float | None
    """How long it took; None for a part."""
    against: Run | None
    """What it is compared with: the trace that was there before the model was edited."""
    id: int = 0
    """Its place among all runs of the widget, from 1."""


@dataclass(eq=False)
class RunInProgress:
    """A trace from the moment it is asked for until it has ended; whoever waits for it holds it."""

    settings: TraceSettings
    """What the form said."""
    against: Run | None
    """What it will be compared with."""
    patient: bool = False
    """Nobody asked for it: it starts when the model is left alone, and makes room for others."""
    resume: Run | None = None
    """What it goes on with."""
    state: RunState = "queued"
    asked: TraceSettings = field(init=False)
    weights: Hashable = None
    """Those it found when it started."""
    edits: int = 0
    edited: bool = False
    """The model was edited since it started."""
    stopped: bool = False
    """Somebody cancelled it."""
    tries: int = 0
    """Times that changes overtook it which nobody told of: perhaps its own runs'."""
    ms: float | None = None
    trace: CausalTrace | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        # The same word begins with the same token, and is followed whole.
        said, answer = self.settings.answer is not None, self.settings.answer_id
        if self.against is not None and not said and answer is None:
            answer = self.against.trace.answer_id
        self.asked = replace(self.settings, answer_id=answer)

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("queued", "running", "filling", "overtaken")

    @property
    def status(self) -> str:
        """Its state as the widget's trait says it."""
        return STATUS.get(self.state, self.state)

    def move(self, state: RunState) -> None:
        """Go to another state; see `NEXT`."""
        assert state in NEXT[self.state], f"{self.state} → {state}"
        self.state = state

    def start(self, weights: Hashable, edits: int) -> None:
        """It runs on these weights, and sees whatever was changed until now."""
        self.move("running")
        self.weights, self.edits, self.edited = weights, edits, False

    def again(self, against: Run | None) -> None:
        """From the start when the model is left alone, on whatever weights it has then."""
        self.move("queued")
        self.against, self.patient, self.resume = against, True, None
        self.__post_init__()

    def so_far(self, trace: CausalTrace, against: Run | None) -> Run:
        """What there is of it, as a run."""
        basis = Basis(self.asked, self.weights)
        return Run(trace, self.settings, basis, self.edits, self.ms, against)


class MakesRoom(Cancelled):
    """A patient run was asked for room, and is to start again."""


def leave_alone(worker: Worker, engine: TraceEngine, run: RunInProgress, stop: Stop) -> None:
    """Let a patient run wait until nobody has asked for anything, or edited, for a moment.

    It is `Cancelled` where it is no longer wanted, and `MakesRoom` for whoever asks meanwhile.
    """
    if not run.patient:
        return
    began, weights = time.monotonic(), engine.identity
    until = began + QUIET
    while run.patient and time.monotonic() < until:
        if stop():
            raise Cancelled("The trace was cancelled.")
        if worker.crowded:
            raise MakesRoom("Somebody asks the model for something.")
        time.sleep(0.02)
        if weights != (weights := engine.identity):
            until = min(time.monotonic() + QUIET, began + MOST_QUIET)


def make_trace(
    worker: Worker, engine: TraceEngine, run: RunInProgress, progress: Tell[Progress], stop: Stop
) -> CausalTrace:
    """The trace that a run asks for; a patient one `MakesRoom` for whoever asks the model."""

    def stop_or_make_room() -> bool:
        return stop() or (run.patient and worker.crowded)

    began, resume = time.perf_counter(), run.resume
    goes_on = resume is not None and resume.basis.weights == engine.identity
    rest = {"resume": resume.trace} if resume is not None and goes_on else {}
    try:
        trace = engine.trace(run.asked, progress, stop_or_make_room, **rest)
    except Cancelled:
        if run.patient and not stop():
            raise MakesRoom("Somebody asks the model for something.") from None
        raise
    run.ms = 1000 * (time.perf_counter() - began)
    return trace
