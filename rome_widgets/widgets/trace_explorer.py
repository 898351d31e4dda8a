"""The live widget: a prompt, its trace, and what the model predicts with chosen states restored."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import traitlets as t

from rome_widgets.errors import Cancelled, ModelChanged, RomeWidgetsError, StateError
from rome_widgets.results import CausalTrace, Progress, State
from rome_widgets.widgets.before_after import check_comparable, in_words
from rome_widgets.widgets.inside import InsideGrid
from rome_widgets.widgets.live import PROGRESS_EVERY, Slot, describe_error
from rome_widgets.widgets.protocol import Engine, TraceSettings
from rome_widgets.widgets.traits import (
    describe_restoration,
    describe_trace,
    pack_scores,
    text,
    unanswered,
)
from rome_widgets.widgets.worker import Job, Worker, worker_for

logger = logging.getLogger(__name__)

ROWS = 8
"""Next tokens shown per restoration."""
QUIET = 0.3
"""Seconds that nobody asks or changes the model before a trace starts that nobody asked for."""
MOST_QUIET = 5.0
"""Seconds after which it starts although the weights never rest."""
MOST_TRIES = 5
"""Starts of a trace that changes come into which nobody announced: perhaps its own runs'."""


@dataclass(frozen=True, eq=False)
class _Made:
    """A trace, what the form said for it, and the model it was made on."""

    trace: CausalTrace
    settings: TraceSettings
    asked: TraceSettings
    """What the engine was asked: the same, and the answer of what it is compared with."""
    weights: Hashable
    edits: int
    """How many were active."""
    against: _Made | None
    """What it is compared with: the trace that was there before the model was edited."""


@dataclass
class _End:
    """What became of a run, for whoever waits for it."""

    trace: CausalTrace | None = None
    error: BaseException | None = None


class TraceExplorer(InsideGrid):
    """Traces a prompt in the background and answers clicks with the model itself.

    The page's Trace button, Enter in the prompt, or `run()` start a trace; setting `prompt` or a
    setting from Python only changes the form. Setting `selection` asks for its restoration. Traits
    change on the worker's thread; errors arrive as the `error` trait, and the last result stays.

    When the model is edited, the trace on screen becomes `before` and is made again with the same
    settings, noise and answer; both are shown, and their difference, until a trace with other
    settings is asked for. That run waits for whatever else the model is asked. A trace that an edit
    comes into starts again when the model is left alone.

    Args:
        engine: The model, as `protocol.Engine` describes it.
        prompt: Text that stops just before the fact.
        subject: The words of it to corrupt.
        noise: Multiple of σ.
        samples: Noise draws averaged over.
        seed: Seed of the draws.
        window: Layers restored together by an MLP or attention cell; None: by the model's depth.
        answer: The word to follow; None takes the clean run's own.
        place: Characters of the subject in the prompt, where it is not the last occurrence.
        worker: Where to compute; one per engine if not given.
        auto_run: Trace at once when a prompt and a subject are given.
        retrace: Trace again when the model was edited; else `stale` says that it should be.

    Example:
        >>> explorer = rw.TraceExplorer(lm, prompt="The Space Needle is in the city of",
        ...                             subject="The Space Needle")
        >>> explorer.wait()
        >>> explorer.selection = [(6, 4, "hidden")]
    """

    _view = t.Unicode("explorer").tag(sync=True)
    _answers = "restoration"
    engine = t.Dict().tag(sync=True)
    """Name and depth of the model, and examples that work with it."""
    prompt = t.Unicode("").tag(sync=True)
    subject = t.Unicode("").tag(sync=True)
    noise = t.CFloat(3.0, min=0).tag(sync=True)
    samples = t.Int(10, min=1, max=1000).tag(sync=True)
    seed = t.Int(1, min=0, max=2**32 - 1).tag(sync=True)
    window = t.Int(None, allow_none=True, min=1).tag(sync=True)
    answer = t.Unicode(None, allow_none=True).tag(sync=True)
    retrace = t.Bool(True).tag(sync=True)
    """Whether an edit of the model makes the trace on screen again by itself."""
    stale = t.Bool(False).tag(sync=True)
    """The model is no longer the one that the trace on screen was made on."""

    def __init__(
        self,
        engine: Engine,
        *,
        prompt: str = "",
        subject: str = "",
        noise: float = 3.0,
        samples: int = 10,
        seed: int = 1,
        window: int | None = None,
        answer: str | None = None,
        place: tuple[int, int] | None = None,
        worker: Worker | None = None,
        auto_run: bool = True,
        **kwargs: Any,
    ) -> None:
        self._engine = engine
        self._slots = tuple(Slot(self, name) for name in ("trace", "restore", "path", "page"))
        self._runs = 0
        self._running: TraceSettings | None = None
        self._place = (prompt, subject, place)
        self._heard = False
        """The model was edited since the run that is under way was asked for."""
        self._model: tuple[Hashable, int] = (None, 0)
        """Weights and number of edits that the run under way found."""
        self._against: _Made | None = None
        """What the run under way will be compared with."""
        self._filling = False
        """The run under way has put its own grid on screen."""
        self._shown: TraceSettings | None = None
        """What the grid on screen was or is being made with, its answer said by id if need be."""
        self._last: _Made | None = None
        """How `result` was made."""
        self._described: dict[str, Any] = {}
        """The `trace` trait of `result`, kept while a run that is under way shows itself."""
        self._shown_on: Hashable = None
        """The weights that the grid on screen was or is being made on."""
        self._closed = False
        self._end = _End()
        """Of the run under way, or of the last."""
        self._stopped = 0
        """The last run that was cancelled while it was under way."""
        self._tries = 0
        selection = list(kwargs.pop("selection", ()))
        super().__init__(
            worker=worker or worker_for(engine, engine.model_name),
            engine={
                "model": text(engine.model_name),
                "n_layers": engine.n_layers,
                "examples": [[text(a), text(b)] for a, b in engine.examples],
            },
            prompt=prompt,
            subject=subject,
            noise=noise,
            samples=samples,
            seed=seed,
            window=window,
            answer=answer,
            **kwargs,
        )
        for slot in self._slots:
            weakref.finalize(self, self._worker.cancel, slot).atexit = False
        if selection:
            self.selection = selection
        if auto_run and prompt and subject:
            self.run()

    @property
    def settings(self) -> TraceSettings:
        """What the form says now."""
        *where, place = self._place
        return TraceSettings(
            self.prompt,
            self.subject,
            self.noise,
            self.samples,
            self.seed,
            self.window,
            self.answer,
            place if where == [self.prompt, self.subject] else None,
        )

    def run(self, wait: bool = False) -> CausalTrace | None:
        """Trace what the form says; a trace that is running is superseded.

        Args:
            wait: Return when it is done. Ctrl-C then cancels the trace, and its error is raised.

        Returns:
            The trace when waited for, else None.

        Raises:
            Cancelled: The trace waited for was cancelled, which carries what was computed so far,
                or another one was asked for before it was done.
        """
        self._refuse_to_wait(wait)
        with self._writing:
            if self._running == self.settings and not wait:
                return None  # Pressed twice: it is being computed.
            self._tries = 0
            self._start(self.settings)
            end = self._end
        if not wait:
            return None
        try:
            self._worker.wait(self._slots[:1])
        except KeyboardInterrupt:
            self.cancel()
            raise
        if end.error is not None:
            raise end.error
        if end.trace is None:
            raise Cancelled("Another trace was asked for before this one was done.")
        return end.trace

    def _start(self, settings: TraceSettings, *, patient: bool = False) -> None:
        """Queue a run. Of the same settings on other weights, it is compared with the last one."""
        if self._running != settings:  # Else whoever waits for it waits for this one.
            self._end = _End()
        self._running = settings
        self._runs += 1
        self._filling = self._heard = False
        self._errors.clear()
        last = self._last
        if last is None or last.settings != settings:
            self._against = None
        elif last.against is not None or last.weights == self._engine.weights_version:
            self._against = last.against
        else:
            self._against = last
        asked = settings
        if self._against is not None:
            asked = replace(settings, answer_id=self._against.trace.answer_id)
        self.stop_path()  # It is of the trace that goes, and would keep this one waiting.
        job = _trace_job(self, settings, asked, patient=patient)
        self._worker.submit(self._slots[0], job, patient=patient)  # First: an observer may raise.
        self._write(status="queued", progress=0.0, error=None)

    def _model_edited(self, count: int, by_me: bool) -> None:
        super()._model_edited(count, by_me)
        with self._writing:
            self._heard = True
            self._follow_edits()

    def _follow_edits(self) -> None:
        """Make the trace on screen again if it is of another model; a run under way comes first."""
        if self._closed or self._running is not None:
            return
        heard, self._heard = self._heard, False
        last = self._last
        with self.hold_sync():
            self.stale = last is not None and last.weights != self._engine.weights_version
            if last is not None and self.stale and heard and self.retrace:
                self._tries = 0
                self._start(last.settings, patient=True)

    def stop_comparing(self) -> None:
        """Forget the trace before; the one on screen stays."""
        with self._writing:
            self._against = None
            if self._last is not None:
                self._last = replace(self._last, against=None)
            self._put_before(None)

    def cancel(self) -> None:
        """Stop the trace; what was computed so far stays on screen."""
        with self._writing:
            self._heard = False  # Nor is it to start by itself again.
            if self._worker.cancel(self._slots[0]):  # It never started, so it will never report.
                self._runs += 1
                self._trace_cancelled(None)
            else:
                self._stopped = self._runs

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the trace and all that was asked of it are done.

        Returns:
            False when `timeout` seconds passed first.
        """
        self._refuse_to_wait()
        return self._worker.wait(self._slots, timeout)

    def close(self) -> None:
        """Cancel what is running and close the page's end."""
        self._closed = True
        for slot in getattr(self, "_slots", ()):  # ipywidgets closes half-built widgets, too
            self._worker.cancel(slot)
        super().close()

    @t.observe("prompt", "subject", "noise", "samples", "seed", "window", "answer")
    def _form_changed(self, change: dict) -> None:
        # Only what the form itself was refused for. A run's error stays until the next run: leaving
        # a field for "Try again" changes the form, and the button must not go under the pointer.
        self._settle("form")

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        op = (change["new"] or {}).get("op")
        if op == "trace":
            self.run()
        elif op == "restore":
            self._answer()
        elif op == "stop_comparing":
            self.stop_comparing()
        elif op == "subject":
            self._move_subject(change["new"].get("start"), change["new"].get("stop"))

    def _move_subject(self, start: Any, stop: Any) -> None:
        """Trace the prompt on screen with the subject at these of its positions."""
        if self._shown is None:
            return
        prompt = self._shown.prompt
        try:
            subject, place = self._engine.subject_at(prompt, int(start), int(stop))
        except (RomeWidgetsError, TypeError, ValueError) as error:
            self._report("form", describe_error(error))
            return
        self._place = (prompt, subject, place)
        self._write(prompt=prompt, subject=subject)
        self.run()

    def _answer(self) -> None:
        """Ask the worker for the restoration of the selection; only the latest counts."""
        if self._shown is None:
            return
        if not self.selection:
            self._worker.cancel(self._slots[1])
            self.restoration = {}
            self._look_inside()
            return
        job = _restore_job(weakref.ref(self), self._engine, self._shown, tuple(self.selection))
        self._worker.submit(self._slots[1], job, quick=True)

    # What the jobs call, on the worker's thread, one at a time and with the writing lock held.

    def _trace_started(self) -> None:
        self._heard = False  # It sees whatever was changed until now.
        self._model = (self._engine.weights_version, self.edited)
        self._write(status="running", progress=0.0)

    def _trace_steps_aside(self, job: Job) -> None:
        """Somebody asks the model for something: that goes first, then this from the start."""
        if self._stopped == self._runs:
            self._trace_cancelled(None)
            return
        self._filling = False
        self._write(status="queued", progress=0.0)
        self._worker.submit(self._slots[0], job, patient=True)

    def _trace_overtaken(self, settings: TraceSettings, error: ModelChanged) -> None:
        """The model was edited meanwhile: again from the start, when it is left alone."""
        self._tries = 0 if self._heard else self._tries + 1
        if self._stopped == self._runs or self._closed:
            self._trace_cancelled(None)
        elif self._model[0] == self._engine.weights_version or self._tries == MOST_TRIES:
            self._trace_failed(error)  # It would come to the same end.
        else:
            self._start(settings, patient=True)

    def _trace_progressed(
        self, progress: Progress, settings: TraceSettings, asked: TraceSettings
    ) -> None:
        trace = progress.trace
        with self.hold_sync():
            self.progress = progress.done / max(1, progress.total)
            if not self._filling:
                self._filling = True
                self._put_fresh(trace, settings, asked)
            if trace.estimated:
                self._paint(trace)
            else:  # Row by row over the estimate, if there is one.
                self.scores = pack_scores(trace.scores, trace.kinds)

    def _put_fresh(self, trace: CausalTrace, settings: TraceSettings, asked: TraceSettings) -> None:
        """Make room for another grid, unless it will be the same one."""
        elsewhere = self.trace.get("settings") != vars(settings)
        if not elsewhere and self._last is not None and self._last.weights == self._model[0]:
            return
        if elsewhere:
            self.cursor = None  # It was a cell of another trace.
        self._shown, self._shown_on = asked, self._model[0]
        self._put({**describe_trace(trace), "settings": vars(settings)}, None)
        self._put_before_of(self._against, self._model[1], running=True)
        if self._against is not None:
            self._answer()  # The last answer was the other model's.

    def _put_before_of(self, made: _Made | None, edits: int, *, running: bool = False) -> None:
        if made is None:
            self._put_before(None)
        else:
            self._put_before(made.trace, in_words(made.edits, edits), running=running)

    def _trace_done(
        self, trace: CausalTrace, settings: TraceSettings, asked: TraceSettings, ms: float
    ) -> None:
        if self._model[0] != self._engine.weights_version:  # Of which of the two, nobody knows.
            self._trace_overtaken(settings, ModelChanged("The model was edited meanwhile."))
            return
        self._end.trace = trace
        self._finish("done", trace, settings, asked, ms)

    def _trace_cancelled(
        self,
        partial: CausalTrace | None,
        settings: TraceSettings | None = None,
        asked: TraceSettings | None = None,
    ) -> None:
        if self._model[0] != self._engine.weights_version:
            partial = None
        self._end.error = Cancelled("The trace was cancelled.", partial)
        if partial is None or settings is None or asked is None:
            self._go_back("cancelled")
        else:
            self._finish("cancelled", partial, settings, asked, None)

    def _trace_failed(self, error: BaseException) -> None:
        self._end.error = error
        with self.hold_sync():
            self._report("run", describe_error(error))
            self._go_back("error")

    def _finish(
        self,
        status: str,
        trace: CausalTrace,
        settings: TraceSettings,
        asked: TraceSettings,
        ms: float | None,
    ) -> None:
        self._running = None
        against, (weights, edits) = self._against, self._model
        if against is not None and not _comparable(against.trace, trace):
            against = None
        with self.hold_sync():
            self._shown, self._shown_on = asked, weights
            self._last = _Made(trace, settings, asked, weights, edits, against)
            self._show(trace, ms=ms, settings=vars(settings))
            self._put_before_of(against, edits)
            self._described = self.trace
            self.progress = 1.0 if status == "done" else self.progress
            self.status = status
            self.stale = weights != self._engine.weights_version
        self._answer()
        self._follow_edits()

    def _go_back(self, status: str) -> None:
        """To the last result, after a run that left none."""
        self._running = None
        last = self._last
        with self.hold_sync():
            self.status = status
            self._shown = None if last is None else last.asked
            self._shown_on = None if last is None else last.weights
            if self._result is None or self.trace is not self._described:
                self._put(self._described, self._result)
            else:
                self._paint(self._result)
            if last is not None:
                self._put_before_of(last.against, last.edits)
                self.stale = last.weights != self._engine.weights_version
        if not self.restoration:
            self._answer()
        self._follow_edits()

    def _restored(
        self, settings: TraceSettings, restoration: dict[str, Any], weights: Hashable
    ) -> None:
        now = [list(cell) for cell in self.selection]
        if settings == self._shown and now == restoration["selection"]:
            if weights != self._shown_on and restoration["source"] == "exact":
                restoration["source"] = "edited"
            self._settle("restoration")
            self.restoration = restoration
            self._look_inside()

    def _restore_failed(
        self, settings: TraceSettings, selection: tuple[State, ...], error: BaseException
    ) -> None:
        described = describe_error(error)
        with self.hold_sync():
            self._restored(settings, unanswered(selection, described["found"]), None)
            self._report("restoration", described)


def _comparable(before: CausalTrace, after: CausalTrace) -> bool:
    try:
        check_comparable(before, after)
    except StateError as error:
        logger.warning("The traces are not compared. %s", error)
        return False
    return True


def _trace_job(
    widget: TraceExplorer, settings: TraceSettings, asked: TraceSettings, *, patient: bool
) -> Job:
    """A trace as the worker runs it. Holds the widget only while it writes to it.

    A patient one, which nobody asked for, starts when the model was left alone for a moment, and
    makes room for whatever is asked of it.
    """
    ref, engine, worker, run = weakref.ref(widget), widget._engine, widget._worker, widget._runs

    def tell(method: str, *args: Any) -> None:
        if (widget := ref()) is not None:
            with widget._writing:
                if widget._runs == run:
                    getattr(widget, method)(*args)

    def job(cancelled: Callable[[], bool]) -> None:
        last = float("-inf")

        def stop() -> bool:
            return cancelled() or ref() is None or (patient and worker.crowded)

        def progressed(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_EVERY:
                last = now
                tell("_trace_progressed", progress, settings, asked)

        try:
            if patient:
                _left_alone(engine, stop)
            tell("_trace_started")
            began = time.perf_counter()
            trace = engine.trace(asked, progressed, stop)
        except Cancelled as stopped:
            if patient and not cancelled():
                tell("_trace_steps_aside", job)
            else:
                tell("_trace_cancelled", stopped.partial, settings, asked)
        except ModelChanged as error:
            tell("_trace_overtaken", settings, error)
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("The trace of %r failed", settings.prompt)
            tell("_trace_failed", error)
        else:
            try:
                ms = 1000 * (time.perf_counter() - began)
                tell("_trace_done", trace, settings, asked, ms)
            except Exception as error:  # an observer of the user's; the run must still end
                logger.exception("Showing the trace of %r failed", settings.prompt)
                tell("_trace_failed", error)

    return job


def _left_alone(engine: Engine, stop: Callable[[], bool]) -> None:
    """Wait until nobody has asked for anything, or changed the weights, for a moment.

    Raises:
        Cancelled: Somebody has, or the run is no longer wanted.
    """
    began, weights = time.monotonic(), engine.weights_version
    until = began + QUIET
    while time.monotonic() < until:
        if stop():
            raise Cancelled("The trace makes room.")
        time.sleep(0.02)
        if weights != (weights := engine.weights_version):
            until = min(time.monotonic() + QUIET, began + MOST_QUIET)


def _restore_job(
    ref: weakref.ref[TraceExplorer],
    engine: Engine,
    settings: TraceSettings,
    selection: tuple[State, ...],
) -> Job:
    """A restoration as the worker runs it."""

    def tell(cancelled: Callable[[], bool], method: str, *args: Any) -> None:
        if not cancelled() and (widget := ref()) is not None:
            with widget._writing:
                getattr(widget, method)(settings, *args)

    def job(cancelled: Callable[[], bool]) -> None:
        began, weights = time.perf_counter(), engine.weights_version
        try:
            restoration = engine.restore(settings, selection)
            ms = 1000 * (time.perf_counter() - began)
            described = describe_restoration(restoration, selection, ROWS, ms)
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("Restoring %r failed", selection)
            tell(cancelled, "_restore_failed", selection, error)
        else:
            tell(cancelled, "_restored", described, weights)

    return job
