"""The live widget: a prompt, its trace, and what the model predicts with chosen states restored."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import traitlets as t

from rome_widgets.errors import (
    Cancelled,
    ModelChanged,
    RomeWidgetsError,
    StateError,
    SubjectNotFound,
)
from rome_widgets.records.states import State
from rome_widgets.records.trace import CausalTrace, Progress
from rome_widgets.widgets.live.base import bundle
from rome_widgets.widgets.live.live_widget import Slot, describe_error
from rome_widgets.widgets.live.traits import describe_trace, pack_scores, text, unanswered
from rome_widgets.widgets.live.worker import Job, Worker, worker_for
from rome_widgets.widgets.trace.before_after import check_comparable, in_words
from rome_widgets.widgets.trace.engine import Engine, TraceSettings
from rome_widgets.widgets.trace.pages import InsideGrid
from rome_widgets.widgets.trace.python_code import trace_code
from rome_widgets.widgets.trace.run_history import History, Run
from rome_widgets.widgets.trace.side_by_side import (
    NAMES,
    Kept,
    describe_kept,
    told_apart,
    why_apart,
)
from rome_widgets.widgets.trace.trace_jobs import draw_job, restore_job, trace_job

logger = logging.getLogger(__name__)

MOST_TRIES = 5
"""Starts of a trace that changes come into which nobody announced: perhaps its own runs'."""
FORM = ("prompt", "subject", "noise", "samples", "seed", "window", "answer", "place")


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

    The last runs are kept: `history` names them, `recall` brings one back. `keep_as_a` keeps what
    is on screen, and `compare` shows it beside whatever comes after.

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
        >>> explorer.keep_as_a()
        >>> explorer.window = 1
        >>> explorer.compare()
        >>> explorer.run()
    """

    _esm, _css = bundle("trace")
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
    place = t.Tuple(t.Int(), t.Int(), default_value=None, allow_none=True).tag(sync=True)
    """Characters of the subject, half-open; it holds for as long as the subject stands there."""
    retrace = t.Bool(True).tag(sync=True)
    """Whether an edit of the model makes the trace on screen again by itself."""
    stale = t.Bool(False).tag(sync=True)
    """The model is no longer the one that the trace on screen was made on."""
    history = t.List().tag(sync=True)
    """The runs that `recall` brings back, oldest first: id, settings, answer, clean, corrupted,
    edits, complete."""
    run_shown = t.Int(0).tag(sync=True)
    """The run of the history that is on screen; 0 while there is none."""
    kept = t.Dict().tag(sync=True)
    """What was kept as A; `{}` while nothing was."""
    code = t.Unicode("").tag(sync=True)
    """Python that shows again what is on screen; see `to_code`."""
    _file = t.Dict().tag(sync=True)
    """A file for the page to save: name, type, data and the id of the request for it."""

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
        names = ("trace", "restore", "path", "page", "draw")
        self._slots = {name: Slot(self, name) for name in names}
        self._runs = 0
        self._running: TraceSettings | None = None
        self._heard = False
        """The model was edited since the run that is under way was asked for."""
        self._model: tuple[Hashable, int] = (None, 0)
        """Weights and number of edits that the run under way found."""
        self._against: Run | None = None
        """What the run under way will be compared with."""
        self._filling = False
        """The run under way has put its own grid on screen."""
        self._shown: TraceSettings | None = None
        """What the grid on screen was or is being made with, its answer said by id if need be."""
        self._last: Run | None = None
        """How `result` was made."""
        self._described: dict[str, Any] = {}
        """The `trace` trait of `result`, kept while a run that is under way shows itself."""
        self._history = History()
        self._a: Kept | None = None
        """What was kept as A."""
        self._beside = False
        """A is shown beside what is on screen."""
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
            place=place,
            **kwargs,
        )
        for slot in self._slots.values():
            weakref.finalize(self, self._worker.cancel, slot).atexit = False
        if selection:
            self.selection = selection
        if auto_run and prompt and subject:
            self.run()

    @property
    def settings(self) -> TraceSettings:
        """What the form says now."""
        there = self.place is not None and self.prompt[slice(*self.place)] == self.subject
        return TraceSettings(
            self.prompt,
            self.subject,
            self.noise,
            self.samples,
            self.seed,
            self.window,
            self.answer,
            self.place if there else None,
        )

    @settings.setter
    def settings(self, settings: TraceSettings) -> None:
        self._write(**{name: getattr(settings, name) for name in FORM})

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
        return self._wait_for(end) if wait else None

    def resume(self, wait: bool = False) -> CausalTrace | None:
        """Go on with the trace on screen, which was cancelled; what it has is not computed again.

        Args:
            wait: See `run`.

        Returns:
            The trace when waited for, else None.

        Raises:
            StateError: There is nothing to go on with, or the model was edited since.
            Cancelled: See `run`.
        """
        self._refuse_to_wait(wait)
        with self._writing:
            last = self._last
            if last is None or last.trace.complete:
                raise StateError(
                    "There is no cancelled trace to go on with.",
                    "One that was cancelled after its first states was wanted.",
                    "Trace with run().",
                )
            if last.weights != self._engine.weights_version:
                raise StateError(
                    "The model was edited since this trace was cancelled.",
                    "The weights that it was begun with were wanted.",
                    "Trace from the start with run().",
                )
            self._tries = 0
            self.settings = last.settings
            self._start(last.settings, resume=last)
            end = self._end
        return self._wait_for(end) if wait else None

    def _wait_for(self, end: _End) -> CausalTrace:
        try:
            self._worker.wait([self._slots["trace"]])
        except KeyboardInterrupt:
            self.cancel()
            raise
        if end.error is not None:
            raise end.error
        if end.trace is None:
            raise Cancelled("Another trace was asked for before this one was done.")
        return end.trace

    def _start(
        self, settings: TraceSettings, *, patient: bool = False, resume: Run | None = None
    ) -> None:
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
        job = trace_job(self, settings, asked, patient=patient, resume=resume)
        # First: an observer of the status may raise.
        self._worker.submit(self._slots["trace"], job, patient=patient)
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

    def recall(self, run: int) -> None:
        """Bring back a run of the history, and the form's settings with it; nothing is computed.

        A trace that is running is given up. The selection stays where the run has such states,
        and the model as it is now answers it: `stale` says whether that is another model.

        Args:
            run: Its `id` in `history`.

        Raises:
            StateError: It is not kept.
        """
        with self._writing:
            found = self._history.find(run)
            self._worker.cancel(self._slots["trace"])
            self._runs += 1  # What the run given up still tells is not heard.
            self._running, self._heard = None, False
            self._errors.clear()
            with self.hold_sync():
                self.error = None
                self.settings = found.settings
                self._show_run(found)
            self._answer()

    def keep_as_a(self) -> None:
        """Keep the trace on screen, and its restoration, as A; see `compare`.

        Raises:
            StateError: There is no trace yet.
        """
        with self._writing:
            if self._last is None:
                raise StateError(
                    "There is no trace to keep.",
                    "A trace that is finished or cancelled was wanted.",
                    "Trace with run().",
                )
            now = [list(cell) for cell in self.selection]
            answered = bool(now) and self.restoration.get("selection") == now
            self._a = Kept(self._last.trace, self._last.edits, self.restoration if answered else {})
            self._beside = False
            self._put_beside(self._last)

    def compare(self, a: int | CausalTrace | None = None) -> None:
        """Show A beside what is on screen, now and after each run, until `stop_comparing`.

        Grids are compared where they have the same tokens, kinds, layers and answer; `kept` holds
        what can be compared of others, and why not more. Of restorations the rows are compared.

        Args:
            a: The id of a run of the history, or a trace; None: what `keep_as_a` kept.

        Raises:
            StateError: Nothing was kept, or there is no such run.
        """
        with self._writing:
            if isinstance(a, CausalTrace):
                self._a = Kept(a, None)
            elif a is not None:
                run = self._history.find(a)
                self._a = Kept(run.trace, run.edits)
            if self._a is None:
                raise StateError(
                    "Nothing was kept as A.",
                    "Something to compare with was wanted.",
                    "Keep what is on screen with keep_as_a(), or name a run of the history.",
                )
            self._beside = True
            if not self._filling:  # Else the run that is under way does when it ends.
                self._put_beside(self._last)

    def stop_comparing(self) -> None:
        """Show only the trace on screen; a trace before an edit is forgotten, A stays kept."""
        with self._writing:
            self._against, self._beside = None, False
            if self._last is not None:
                self._last = replace(self._last, against=None)
                self._history.update(self._last)
            self._put_beside(self._last)

    def to_code(self) -> str:
        """Python that loads the model, traces this prompt and restores the selection again.

        Empty while there is no trace. Edits of the model are not made by it.
        """
        if self._shown is None:
            return ""
        now = [list(cell) for cell in self.selection]
        answered = bool(now) and self.restoration.get("selection") == now
        probability = self.restoration["probability"] if answered else None
        return trace_code(
            self._engine.load_code, self._shown, self._cells, probability, self.edited
        )

    def cancel(self) -> None:
        """Stop the trace; what was computed so far stays on screen."""
        with self._writing:
            self._heard = False  # Nor is it to start by itself again.
            if self._worker.cancel(self._slots["trace"]):  # Never started: it will not report.
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
        return self._worker.wait([*self._slots.values()], timeout)

    def close(self) -> None:
        """Cancel what is running and close the page's end."""
        self._closed = True
        # ipywidgets closes half-built widgets, too.
        for slot in getattr(self, "_slots", {}).values():
            self._worker.cancel(slot)
        super().close()

    @t.observe("prompt", "subject", "noise", "samples", "seed", "window", "answer")
    def _form_changed(self, change: dict) -> None:
        # Only what the form itself was refused for. A run's error stays until the next run: leaving
        # a field for "Try again" changes the form, and the button must not go under the pointer.
        self._settle("form")

    @t.observe("trace", "selection", "restoration", "edited")
    def _view_changed(self, change: dict) -> None:
        self.code = self.to_code()

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        request = change["new"] or {}
        ops: dict[str, Callable[[], Any]] = {
            "trace": self.run,
            "resume": self.resume,
            "restore": self._answer,
            "recall": lambda: self.recall(request["run"]),
            "keep_as_a": self.keep_as_a,
            "compare": self.compare,
            "stop_comparing": self.stop_comparing,
            "subject": lambda: self._move_subject(request.get("start"), request.get("stop")),
            "download": lambda: self._draw(request),
        }
        try:
            ops.get(request.get("op", ""), lambda: None)()
        except StateError as error:  # The page asked for what had just gone.
            self._report("form", describe_error(error))

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
        self._write(prompt=prompt, subject=subject, place=place)
        self.run()

    def _draw(self, request: dict[str, Any]) -> None:
        """Draw the figure for the page to save, when the worker has a moment."""
        if self._result is not None:
            job = draw_job(weakref.ref(self), self._result, request)
            self._worker.submit(self._slots["draw"], job, quick=True)

    def _answer(self) -> None:
        """Ask the worker for the restoration of the selection; only the latest counts."""
        if self._shown is None:
            return
        if not self.selection:
            self._worker.cancel(self._slots["restore"])
            self.restoration = {}
            self._look_inside()
            return
        job = restore_job(weakref.ref(self), self._engine, self._shown, tuple(self.selection))
        self._worker.submit(self._slots["restore"], job, quick=True)

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
        self._worker.submit(self._slots["trace"], job, patient=True)

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
        self._put_beside(
            Run(trace, settings, asked, *self._model, None, self._against), running=True
        )
        if self._against is not None:
            self._answer()  # The last answer was the other model's.

    def _put_beside(self, shown: Run | None, *, running: bool = False) -> None:
        """What the run on screen is compared with: A while asked for, else what it was before."""
        a, b = self._a, None if shown is None else shown.trace
        against = None if shown is None else shown.against
        with self.hold_sync():
            self.kept = {} if a is None else describe_kept(a, b, self._beside)
            if a is not None and self._beside:
                if shown is None or b is None or a.trace is b or why_apart(a.trace, b):
                    self._put_before(None)
                else:
                    words = told_apart(a, b, shown.edits)
                    self._put_before(a.trace, words, NAMES, running=running)
            elif against is None or shown is None:
                self._put_before(None)
            else:
                words = in_words(against.edits, shown.edits)
                self._put_before(against.trace, words, running=running)

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
            self._report("run", {**describe_error(error), "fix": self._fix(error)})
            self._go_back("error")

    def _fix(self, error: BaseException) -> dict[str, Any] | None:
        """What of the form to change so that it may work: a button beside the error."""
        if isinstance(error, SubjectNotFound) and error.suggestion:
            said = f"Use “{text(error.suggestion)}”"
            return {"label": said, "values": {"subject": text(error.suggestion)}}
        if isinstance(error, MemoryError) and self.samples > 1:
            fewer = self.samples // 2
            return {"label": f"samples {self.samples} → {fewer}", "values": {"samples": fewer}}
        return None

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
            run = self._history.add(Run(trace, settings, asked, weights, edits, ms, against))
            self.history = self._history.describe()
            self._show_run(run)
            self.status = status
        self._answer()
        self._follow_edits()

    def _show_run(self, run: Run) -> None:
        """Put a run on screen as it ended, with what it is compared with."""
        with self.hold_sync():
            self._last, self._shown, self._shown_on = run, run.asked, run.weights
            self._filling = False
            self._show(run.trace, ms=run.ms, settings=vars(run.settings))
            self._put_beside(run)
            self._described = self.trace
            self.run_shown = run.id
            self.progress = _share(run.trace)
            self.status = "done" if run.trace.complete else "cancelled"
            self.stale = run.weights != self._engine.weights_version

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
            self._filling = False
            if last is not None:
                self._put_beside(last)
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


def _share(trace: CausalTrace) -> float:
    """How much of a trace was computed, in [0, 1]."""
    return float(np.mean([~np.isnan(grid) for grid in trace.scores.values()]))


def _comparable(before: CausalTrace, after: CausalTrace) -> bool:
    try:
        check_comparable(before, after)
    except StateError as error:
        logger.warning("The traces are not compared. %s", error)
        return False
    return True
