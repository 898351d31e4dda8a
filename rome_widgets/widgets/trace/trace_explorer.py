"""The live widget: a prompt, its trace, and what the model predicts with chosen states restored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import traitlets as t

from rome_widgets.errors import (
    Cancelled,
    ModelChanged,
    PromptError,
    StateError,
    SubjectNotFound,
)
from rome_widgets.records.arguments import optional, several, takes, truth
from rome_widgets.records.arguments import text as text_argument
from rome_widgets.records.corruption import Subject
from rome_widgets.records.fact import HOLE, Fact
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.subject import Occurrence, nearest
from rome_widgets.records.trace import CausalTrace, Progress, Restoration
from rome_widgets.records.trace_metric import METRICS, Metric
from rome_widgets.widgets.live.base import Theme, bundle
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.job import Job, plainly
from rome_widgets.widgets.live.live_widget import LiveWidget, describe_error, is_engine
from rome_widgets.widgets.live.traits import (
    Number,
    RecordedRestoration,
    describe_restoration,
    describe_trace,
    encodable,
    pack_scores,
    text,
    unanswered,
)
from rome_widgets.widgets.trace.comparison import (
    A_AND_B,
    KeptTrace,
    check_comparable,
    describe_kept,
    differences_in_words,
    in_words,
    why_not_comparable,
)
from rome_widgets.widgets.trace.download import Form, picture
from rome_widgets.widgets.trace.engine import TraceEngine
from rome_widgets.widgets.trace.pages import CellsAsked, ExplainedGrid, Page
from rome_widgets.widgets.trace.python_code import trace_code
from rome_widgets.widgets.trace.run_history import RunHistory
from rome_widgets.widgets.trace.trace_grid import GridKind, Palette, Scale
from rome_widgets.widgets.trace.trace_run import (
    MakesRoom,
    Run,
    RunInProgress,
    RunState,
    leave_alone,
    make_trace,
)
from rome_widgets.widgets.trace.trace_settings import TraceSettings

logger = logging.getLogger(__name__)

MOST_TRIES = 5
"""Starts of a trace that changes come into which nobody told of: perhaps its own runs'."""
FORM = (
    "prompt",
    "subject",
    "noise",
    "samples",
    "seed",
    "window",
    "answer",
    "place",
    "all_mentions",
    "metric",
    "against",
    "other_subject",
)


@dataclass(frozen=True, eq=False)
class CellsAskedOfA(CellsAsked):
    """Cells that what was kept as A is asked about."""

    kept: KeptTrace | None = None


class TraceExplorer(ExplainedGrid):
    """Traces a prompt in the background and answers clicks with the model itself.

    The page's Trace button, Enter in the prompt, or `run()` start a trace; setting `prompt` or a
    setting from Python only changes the form. Setting `selection` asks for its restoration. Traits
    change on the worker's thread; errors arrive as the `error` trait, and the last result stays.

    When the model is edited, the trace on screen becomes `before` and is made again with the same
    settings, noise and answer; both are shown, and their difference, until a trace with other
    settings is asked for. That run waits for whatever else the model is asked. A trace that an edit
    comes into starts again when the model is left alone. An explorer whose last view was closed, as
    by running its cell again, is only `stale`, and traced again when it is shown again.

    `find_path` and `open_heads` look into the trace on screen: for a few states that bring the fact
    back, and for what the heads of the selected attention do.

    The last runs are kept: `history` names them, `recall` brings one back. `keep_as_a` keeps what
    is on screen, and `compare` shows it beside whatever comes after.

    Args:
        model: A `LanguageModel`, or an engine as `TraceEngine` describes it.
        prompt: Text that stops just before the fact, a `Fact` or a record of one, chat messages, or
            token ids; the trace starts at once when it is given.
        subject: The words of it to corrupt; not needed with a fact.
        noise: Multiple of σ, or a `Subject`, which is then the `other_subject`.
        samples: Noise draws averaged over; None: as many as `rome_widgets.trace` takes.
        seed: Seed of the draws.
        window: Layers restored together by an MLP or attention cell; None: by the model's depth.
        answer: The word to follow; None takes the clean run's own.
        metric: What is measured, as for `trace`: "probability", "logprob", "logit_difference".
        against: The second answer of a difference of logits, a word.
        other_subject: Who stands in for the subject in the corrupted run, in place of noise.
        place: Characters of the subject in the prompt, where it is not the last occurrence.
        occurrence: Which mention of the subject, as for `trace`: "last", "first", a number, "all".
        kind: "all", or the one kind to show.
        selection: Cells to select, triples `(pos, layer, kind)`.
        cursor: The cell of the keyboard cursor, or None.
        scale, palette, values, shortcuts: See `TraceGrid`.
        page: "grid", or the page shown beside it: "flow" or "lens".
        recovery: The share of the fact that a path is to bring back.
        retrace: Trace again when the model was edited; else `stale` says that it should be.
        auto_run: Trace at once when a prompt and a subject are given.
        theme, layout, tooltip, tabbable: See `RomeWidget`.

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
    _outputs = (
        "engine",
        "subject_places",
        "stale",
        "history",
        "run_shown",
        "kept",
        "code",
    )
    _jobs = ("trace", "restore", "restore_a", "path", "heads", "page", "draw")
    engine = t.Dict(help="Name and depth of the model, and examples that work with it.").tag(
        sync=True
    )
    prompt = t.Unicode("", help="Text that stops just before the fact.").tag(sync=True)
    subject = t.Unicode("", help="The words of the prompt to corrupt.").tag(sync=True)
    noise = Number(3.0, min=0, help="Standard deviation of the noise, a multiple of σ.").tag(
        sync=True
    )
    samples = t.Int(10, min=1, max=1000, help="Noise draws averaged over.").tag(sync=True)
    seed = t.Int(1, min=0, max=2**32 - 1, help="Of the noise draws.").tag(sync=True)
    window = t.Int(
        None,
        allow_none=True,
        min=1,
        help=("Layers restored together by an MLP or attention cell; None: by the model's depth."),
    ).tag(sync=True)
    answer = t.Unicode(
        None,
        allow_none=True,
        help="The word whose probability is followed; None: the clean run's own.",
    ).tag(sync=True)
    metric = t.Enum(
        METRICS,
        "probability",
        help="What is measured: probability, logprob, or logit_difference of two answers.",
    ).tag(sync=True)
    against = t.Unicode(
        None,
        allow_none=True,
        help="The second answer of a difference of logits; other metrics have none.",
    ).tag(sync=True)
    other_subject = t.Unicode(
        None,
        allow_none=True,
        help="Who stands in for the subject in the corrupted run; None: noise is added.",
    ).tag(sync=True)
    place = t.Tuple(
        t.Int(),
        t.Int(),
        default_value=None,
        allow_none=True,
        help=(
            "Characters of the subject, half-open; it holds for as long as the subject "
            "stands there."
        ),
    ).tag(sync=True)
    all_mentions = t.Bool(False, help="Corrupt every mention of the subject, not one.").tag(
        sync=True
    )
    subject_places = t.Dict(
        help=(
            "Where the subject may be: the prompt and the subject that were looked up, "
            "whether it is `there`, the spans of characters `at` which it stands, and "
            "`offers` where it stands nowhere."
        )
    ).tag(sync=True)
    retrace = t.Bool(True, help="Trace again when the model was edited.").tag(sync=True)
    stale = t.Bool(
        False, help="The model is no longer the one that the trace on screen was made on."
    ).tag(sync=True)
    history = t.List(
        help=(
            "The runs that `recall` brings back, oldest first: id, settings, answer, clean, "
            "corrupted, edits, complete."
        )
    ).tag(sync=True)
    run_shown = t.Int(
        0, help="The run of the history that is on screen; 0 while there is none."
    ).tag(sync=True)
    kept = t.Dict(help="What was kept as A; `{}` while nothing was.").tag(sync=True)
    code = t.Unicode("", help="Python that shows again what is on screen; see `to_code`.").tag(
        sync=True
    )
    _file = t.Dict().tag(sync=True)
    """A file for the page to save: name, type, data and the id of the request for it."""

    _read: TraceSettings | None = None
    """A prompt, and the ids it was given with, where those of its text are others."""
    _stood = ""
    """The last subject that stood in its prompt."""
    _run: RunInProgress | None = None
    """The run asked for last, also when it has ended; None before the first, and after `recall`."""
    _shown: Run | None = None
    """How `trace` was made."""
    _a: KeptTrace | None = None
    """What was kept as A."""
    _comparing_a = False
    """A is shown beside what is on screen."""

    @takes(subject=text_argument, selection=several, retrace=truth, auto_run=truth)
    def __init__(
        self,
        model: Any,
        prompt: str | Fact | Mapping[str, Any] = "",
        subject: str = "",
        *,
        noise: float | Subject = 3.0,
        samples: int | None = None,
        seed: int = 1,
        window: int | None = None,
        answer: str | None = None,
        metric: Metric = "probability",
        against: str | None = None,
        other_subject: str | None = None,
        place: tuple[int, int] | None = None,
        occurrence: Occurrence | None = None,
        kind: GridKind = "all",
        selection: Iterable[Iterable] = (),
        cursor: Sequence[Any] | None = None,
        scale: Scale = "probability",
        palette: Palette = "kinds",
        values: bool = False,
        shortcuts: bool = True,
        page: Page = "grid",
        recovery: float = 0.9,
        retrace: bool = True,
        auto_run: bool = True,
        theme: Theme = "auto",
        layout: Any = None,
        tooltip: str | None = None,
        tabbable: bool | None = None,
    ) -> None:
        if not is_engine(model):
            from rome_widgets.session.trace_engine import TracingEngine

            model = TracingEngine(model)
        self._engine: TraceEngine = model
        engine = self._engine
        self._history, self._lasting = RunHistory(), {}
        every = False
        if not isinstance(prompt, str) or (prompt and subject):
            given = engine.read_prompt(prompt, subject, occurrence)
            prompt, subject, every = given.prompt, given.subject, given.all_mentions
            place = given.place if place is None else place
            self._read = given
        samples = engine.default_samples if samples is None else samples
        if isinstance(noise, Subject):
            noise, other_subject = 3.0, noise.words
        form = {"noise": noise, "samples": samples, "seed": seed, "window": window}
        fact = {"prompt": prompt, "subject": subject, "answer": answer, "place": place}
        fact["all_mentions"] = every
        fact |= {"metric": metric, "against": against, "other_subject": other_subject}
        view = {"kind": kind, "scale": scale, "palette": palette, "values": values}
        host = {"theme": theme, "layout": layout, "tooltip": tooltip, "tabbable": tabbable}
        LiveWidget.__init__(
            self,
            engine.session,
            engine={
                "model": text(engine.model_name),
                "n_layers": engine.n_layers,
                "examples": [[text(a), text(b)] for a, b in engine.examples],
            },
            **fact,
            **form,
            **view,
            shortcuts=shortcuts,
            page=page,
            recovery=recovery,
            retrace=retrace,
            **host,
        )
        if selection:
            self.selection = list(selection)
        if cursor is not None:
            self.cursor = cursor
        if auto_run and prompt and subject:
            self.run()

    @property
    def settings(self) -> TraceSettings:
        """What the form says now."""
        form = {name: getattr(self, name) for name in FORM}
        if self.place is not None and self.prompt[slice(*self.place)] != self.subject:
            form["place"] = None
        if self.metric != "logit_difference":
            form["against"] = None  # The field keeps its word for when it is wanted again.
        form["other_subject"] = form["other_subject"] or None
        if (read := self._read) is not None and read.prompt == self.prompt:
            form |= {"ids": read.ids, "said": read.said}
            if read.answer == self.answer:
                form["answer_id"] = read.answer_id
        return TraceSettings(**form)

    @settings.setter
    def settings(self, settings: TraceSettings) -> None:
        self._read = settings
        self._write(**{name: getattr(settings, name) for name in FORM})

    @takes(wait=truth)
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
            run = self._start(self.settings)
        return self._result_of(run) if wait else None

    @takes(wait=truth)
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
            shown = self._shown
            if shown is None or shown.trace.complete:
                raise StateError(
                    "There is no cancelled trace to go on with.",
                    "One that was cancelled after its first states was wanted.",
                    "Trace with run().",
                )
            if shown.basis.weights != self._engine.identity:
                raise StateError(
                    "The model was edited since this trace was cancelled.",
                    "The weights that it was begun with were wanted.",
                    "Trace from the start with run().",
                )
            self.settings = shown.settings
            run = self._start(shown.settings, resume=shown)
        return self._result_of(run) if wait else None

    def _result_of(self, run: RunInProgress) -> CausalTrace:
        """Wait for a run."""
        self._wait_for([self._slots["trace"]], self.cancel, run)
        if run.trace is None:
            raise Cancelled("Another trace was asked for before this one was done.")
        return run.trace

    def _start(
        self, settings: TraceSettings, *, patient: bool = False, resume: Run | None = None
    ) -> RunInProgress:
        """Queue a run, unless the one under way is of these settings."""
        run = self._under_way
        if run is not None and run.settings == settings and not run.stopped:
            run.patient = run.patient and patient  # Pressed twice: it is being computed.
            return run
        self._run = run = RunInProgress(settings, self._before_edits(settings), patient, resume)
        self._queue(run)
        return run

    def _before_edits(self, settings: TraceSettings) -> Run | None:
        """What a run of these settings is compared with: the same, on other weights."""
        shown = self._shown
        if shown is None or shown.settings != settings:
            return None
        same = shown.basis.weights == self._engine.identity
        return shown.against if same or shown.against is not None else shown

    def _queue(self, run: RunInProgress) -> None:
        self._errors.clear()
        for stop in (self.stop_path, self.stop_heads):
            stop()  # They are of the trace that goes, and would keep this one waiting.
        self._submit_run(run)  # First: an observer of the status may raise.
        self._write(status=run.status, progress=0.0, error=None)

    def _submit_run(self, run: RunInProgress) -> None:
        job = Job(
            run,
            partial(make_trace, self._worker, self._engine),
            ready=partial(leave_alone, self._worker, self._engine),
            on_started=self._trace_started,
            on_progress=self._trace_progressed,
            on_done=self._trace_done,
            on_cancelled=self._trace_stopped,
            on_failed=self._trace_failed,
            is_current=self._is_current,
            latest=False,
        )
        self._submit("trace", job, patient=run.patient)

    @property
    def _under_way(self) -> RunInProgress | None:
        """The run that has not ended."""
        return self._run if self._run is not None and self._run.under_way else None

    def _follow_model(self) -> None:
        if (run := self._under_way) is not None:
            run.edited = True
        else:
            self._follow_edits(True)

    def _follow_edits(self, edited: bool) -> None:
        """Say whether the trace on screen is of another model, and make it again if edited."""
        shown = self._shown
        if self._closed or shown is None or self._under_way is not None:
            return
        with self.hold_sync():
            self.stale = shown.basis.weights != self._engine.identity
            if self.stale and edited and self.retrace and self._watched:
                self._start(shown.settings, patient=True)

    def _watched_no_more(self) -> None:
        with self._writing:  # A run that nobody asked for is not waited for by anybody.
            if (run := self._under_way) is not None and run.patient:
                self.cancel()

    def _watched_again(self) -> None:
        with self._writing:
            self._follow_edits(True)

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
            self._run = None  # What the run given up still tells is not heard.
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
            if self._shown is None:
                raise StateError(
                    "There is no trace to keep.",
                    "A trace that is finished or cancelled was wanted.",
                    "Trace with run().",
                )
            shown, answered = self._shown, self._answered
            self._a = KeptTrace(
                shown.trace,
                shown.edits,
                self._restoration if answered else {},
                self.restoration if answered else None,
                own=answered,
                basis=shown.basis,
            )
            self._comparing_a = False
            self._put_beside(self._shown)

    def compare(self, a: int | CausalTrace | None = None) -> None:
        """Show A beside what is on screen, now and after each run, until `stop_comparing`.

        Grids are compared where they have the same tokens, kinds, layers and answer; `kept` holds
        what can be compared of others, and why not more. Of restorations the rows are compared: the
        one that was kept, else what A says to the selection on screen, where A can still be asked.

        Args:
            a: The id of a run of the history, or a trace; None: what `keep_as_a` kept.

        Raises:
            StateError: Nothing was kept, or there is no such run.
        """
        with self._writing:
            if isinstance(a, CausalTrace):
                self._a = KeptTrace(a, None, own=False)
            elif a is not None:
                run = self._history.find(a)
                self._a = KeptTrace(run.trace, run.edits, own=False, basis=run.basis)
            if self._a is None:
                raise StateError(
                    "Nothing was kept as A.",
                    "Something to compare with was wanted.",
                    "Keep what is on screen with keep_as_a(), or name a run of the history.",
                )
            self._comparing_a = True
            if self._run is None or self._run.state != "filling":  # Else it does when it ends.
                self._put_beside(self._shown)
            self._ask_a()

    def stop_comparing(self) -> None:
        """Show only the trace on screen; a trace before an edit is forgotten, A stays kept."""
        with self._writing:
            self._comparing_a = False
            if self._run is not None:
                self._run.against = None
            if self._shown is not None:
                self._shown = replace(self._shown, against=None)
                self._history.update(self._shown)
            self._put_beside(self._shown)

    def to_code(self) -> str:
        """Python that loads the model, traces this prompt and restores the selection again.

        Empty while there is no trace. Edits of the model are not made by it.
        """
        if self._basis is None:
            return ""
        score = self._restoration["score"] if self._answered else None
        return trace_code(
            self._engine.load_code,
            self._basis.settings,
            self._cells,
            score,
            self.edited,
            single=self._is_single,
        )

    def cancel(self) -> None:
        """Stop the trace; what was computed so far stays on screen."""
        with self._writing:
            never_began = self._worker.cancel(self._slots["trace"])
            if (run := self._under_way) is not None:
                run.stopped, run.edited = True, False  # Nor is it to start by itself again.
                if never_began:
                    self._trace_stopped(run, Cancelled("It never began."))

    @t.observe("prompt", "subject")
    def _subject_moved(self, change: dict) -> None:
        self._look_up()

    def _look_up(self) -> None:
        """Say where the subject may be, and what else to take where it is nowhere."""
        prompt, subject = self.prompt, self.subject
        at = self._engine.subject_places(prompt, subject, self.settings.said)
        there = bool(at) or prompt.count(HOLE) == 1
        if there:
            self._stood = subject
        offers = [nearest(prompt, subject)[0], self._engine.likely_subject(prompt)]
        found = {
            "prompt": text(prompt),
            "subject": text(subject),
            "at": [list(place) for place in at],
            "there": there,
            "offers": [] if there else [text(each) for each in dict.fromkeys(offers) if each],
        }
        if found != self.subject_places:
            self._write(subject_places=found)

    @property
    def _is_left_over(self) -> bool:
        """Whether the subject is that of an earlier prompt, or there is none."""
        return not self.subject.strip() or self.subject == self._stood

    def _trace_asked(self) -> None:
        """Trace what the page's form says.

        Where the subject is that of an earlier prompt, and nobody has said what the new one is
        about, the likeliest subject is taken; where there is none, the form says what is missing.
        """
        self._look_up()
        if not self.subject_places["there"] and self._is_left_over:
            if not (likely := self._engine.likely_subject(self.prompt)):
                return
            self._write(subject=likely, place=None)
        self.run()

    @t.observe(*(name for name in FORM if name not in ("place", "all_mentions")))
    def _form_changed(self, change: dict) -> None:
        # Only what the form itself was refused for. A run's error stays until the next run: leaving
        # a field for "Try again" changes the form, and the button must not go under the pointer.
        self._settle("form")

    @t.observe("_trace", "selection", "single", "_restoration", "edited")
    def _view_changed(self, change: dict) -> None:
        self.code = self.to_code()

    @t.observe("run_shown", "comparison")
    def _other_picture(self, change: dict) -> None:
        self._copy_still()

    @t.observe("_request")
    def _requested(self, change: dict) -> None:
        request: dict[str, Any] = change["new"] or {}
        ops: dict[str, Callable[[], Any]] = {
            "trace": self._trace_asked,
            "resume": self.resume,
            "path": self.find_path,
            "stop_path": self.stop_path,
            "heads": self.open_heads,
            "stop_heads": self.stop_heads,
            "close_heads": self.close_heads,
            "restore": self._answer,
            "recall": lambda: self.recall(cast("int", request.get("run"))),
            "keep_as_a": self.keep_as_a,
            "compare": self.compare,
            "stop_comparing": self.stop_comparing,
            "subject": lambda: self._move_subject(request.get("start"), request.get("stop")),
            "download": lambda: self._draw(request),
        }
        op = request.get("op")
        cause = op if isinstance(op, str) and op in ("path", "heads") else "form"
        # What the page asks for may just have gone.
        self._hear(lambda: self._asked(request, ops), cause)

    def _move_subject(self, start: Any, stop: Any) -> None:
        """Trace the prompt on screen with the subject at these of its positions."""
        if self._basis is None:
            return
        settings, n_tokens = self._basis.settings, len(self._trace["tokens"])
        start = whole_number(start, "The start of the subject", 0, n_tokens - 1)
        stop = whole_number(stop, "The end of the subject", start + 1, n_tokens)
        subject, place = self._engine.subject_at(settings, start, stop)
        moved = replace(settings, subject=subject, place=place, all_mentions=False)
        self._read = settings
        names = ("prompt", "subject", "place", "all_mentions")
        self._write(**{name: getattr(moved, name) for name in names})
        self.run()

    def _draw(self, request: dict[str, Any]) -> None:
        """Draw the figure of the page for it to save, when the worker has a moment."""
        form, page, run = (request.get(name) for name in ("form", "page", "flow_run"))
        text_argument(form, "form")
        optional(text_argument)(page, "page")
        optional(text_argument)(run, "flow_run")
        shown = {"flow": self.flow, "lens": self.lens}.get(page or "")
        if self.trace is not None:
            job = Job(
                request,
                plainly(partial(picture, self.trace, cast("Form", form), shown, run)),
                on_done=self._drawn,
                on_failed=self._draw_failed,
                latest=False,
            )
            self._submit("draw", job, quick=True)

    @property
    def _answered(self) -> bool:
        """Whether the answer on screen is that to the selection."""
        return bool(self.selection) and self._is_of_selection(self._restoration)

    def _answer(self) -> None:
        """Ask the worker for the restoration of the selection; only the latest counts."""
        if self._basis is None:
            return
        if not self.selection:
            self._worker.cancel(self._slots["restore"])
            self._put_answer(None)
            self._ask_for_page()
            return
        job = Job(
            CellsAsked(self._basis, tuple(self._cells), self._is_single),
            partial(_restore, self._engine),
            on_done=self._restored,
            on_failed=self._restore_failed,
        )
        self._submit("restore", job, quick=True)

    def _is_current(self, run: RunInProgress) -> bool:
        return run is self._run

    def _trace_started(self, run: RunInProgress) -> None:
        run.start(self._engine.identity, self.edited)
        self._write(status=run.status, progress=0.0, expected_seconds=0.0)

    def _trace_progressed(self, run: RunInProgress, progress: Progress) -> None:
        trace = progress.trace
        with self.hold_sync():
            self.progress = progress.done / max(1, progress.total)
            if run.state == "running":
                run.move("filling")
                self._make_room(run, trace)
            if trace.estimated:
                self.expected_seconds = progress.seconds or 0.0
                self._paint(trace)
            else:  # Row by row over the estimate, if there is one.
                self.scores = pack_scores(trace.scores, trace.kinds)

    def _make_room(self, run: RunInProgress, trace: CausalTrace) -> None:
        """Make room for another grid, unless it will be the same one."""
        elsewhere = self._trace.get("settings") != vars(run.settings)
        if not elsewhere and self._shown is not None and self._shown.basis.weights == run.weights:
            return
        if elsewhere:
            self.cursor = None  # It was a cell of another trace.
        so_far = run.so_far(trace, run.against)
        self._basis = so_far.basis
        self._put({**describe_trace(trace), "settings": vars(run.settings)}, None)
        self._put_beside(so_far, running=True)
        if run.against is not None:
            self._answer()  # The last answer was the other model's.

    def _put_beside(self, shown: Run | None, *, running: bool = False) -> None:
        """What the run on screen is compared with: A while asked for, else what it was before."""
        a, b = self._a, None if shown is None else shown.trace
        beside: tuple[Any, ...] = (None,)
        if a is not None and self._comparing_a:
            if shown and b and a.trace is not b and not why_not_comparable(a.trace, b):
                beside = a.trace, differences_in_words(a, b, shown.edits), A_AND_B
        elif shown is not None and (against := shown.against) is not None:
            beside = against.trace, in_words(against.edits, shown.edits)
        with self.hold_sync():
            self._put_kept(b)
            self._put_before(*beside, running=running)

    def _put_kept(self, b: CausalTrace | None) -> None:
        a, answer = self._a, self.restoration if self._answered else None
        self.kept = {} if a is None else describe_kept(a, b, self._comparing_a, answer)

    def _put_answer(
        self,
        restoration: Restoration | RecordedRestoration | None,
        described: dict[str, Any] | None = None,
    ) -> None:
        super()._put_answer(restoration, described)
        if self._a is not None and self._comparing_a:
            self._put_kept(None if self._shown is None else self._shown.trace)
            self._ask_a()

    def _ask_a(self) -> None:
        """Ask A about the selection, where it has no answer of its own and its model is there."""
        a, b = self._a, self._basis
        if a is None or a.own or not self._comparing_a:
            return
        meant = (self._cells, self._is_single)
        said = a.restoration
        if said and (said["selection"], said["single"]) != (encodable(meant[0]), meant[1]):
            self._a = a = replace(a, restoration={}, answer=None)
            self._put_kept(None if self._shown is None else self._shown.trace)
        here = a.basis is not None and a.basis.weights == self._engine.identity
        same = b is not None and self._trace.get("tokens") == encodable(a.trace.tokens)
        if not (here and same and self._answered) or a.restoration or a.basis is None:
            return
        job = Job(
            CellsAskedOfA(a.basis, tuple(meant[0]), meant[1], kept=a),
            partial(_restore, self._engine),
            on_done=self._a_answered,
            on_failed=self._restore_failed,
        )
        self._submit("restore_a", job, quick=True)

    def _a_answered(self, asked: CellsAskedOfA, made: tuple[Restoration, Hashable, float]) -> None:
        (found, weights, ms), a = made, asked.kept
        meant = (asked.selection, asked.single) == (tuple(self._cells), self._is_single)
        if a is not None and a is self._a and meant and weights == asked.basis.weights:
            said = describe_restoration(found, asked.selection, "exact", ms, single=asked.single)
            self._a = replace(a, restoration=said, answer=found)
            self._put_kept(None if self._shown is None else self._shown.trace)

    def _trace_done(self, run: RunInProgress, trace: CausalTrace) -> None:
        if run.weights != self._engine.identity:  # Of which of the two, nobody knows.
            self._trace_overtaken(run, ModelChanged("The model was edited meanwhile."))
            return
        run.trace = trace
        self._finish(run, "done", trace)

    def _trace_stopped(self, run: RunInProgress, stopped: Cancelled) -> None:
        """It was cancelled, or is to make room for somebody; then it starts again later."""
        if isinstance(stopped, MakesRoom) and not run.stopped:
            run.move("queued")
            self._write(status=run.status, progress=0.0)
            self._submit_run(run)
            return
        same = run.weights == self._engine.identity
        partial = stopped.partial if same else None
        run.error = Cancelled("The trace was cancelled.", partial)
        if partial is None:
            self._go_back(run, "cancelled")
        else:
            self._finish(run, "cancelled", partial)

    def _trace_overtaken(self, run: RunInProgress, error: ModelChanged) -> None:
        """The model was edited meanwhile: again from the start, when it is left alone."""
        run.move("overtaken")
        run.tries = 0 if run.edited else run.tries + 1
        if run.stopped or self._closed:
            self._trace_stopped(run, Cancelled("The model was edited meanwhile."))
        elif run.weights == self._engine.identity or run.tries == MOST_TRIES:
            self._give_up(run, error)  # It would come to the same end.
        else:
            run.again(self._before_edits(run.settings))
            self._queue(run)

    def _trace_failed(self, run: RunInProgress, error: Exception) -> None:
        if isinstance(error, ModelChanged):
            self._trace_overtaken(run, error)
        else:
            self._give_up(run, error)

    def _give_up(self, run: RunInProgress, error: Exception) -> None:
        run.error = error
        with self.hold_sync():
            try:
                self._report("run", {**describe_error(error), "fix": self._fix(error)})
            finally:  # Also where an observer of the user's raises.
                self._go_back(run, "failed")

    def _fix(self, error: BaseException) -> dict[str, Any] | None:
        """What of the form to change so that it may work: a button beside the error."""
        if isinstance(error, SubjectNotFound | PromptError) and error.suggestion:
            said = f"Use “{text(error.suggestion)}”"
            return {"label": said, "values": {"subject": text(error.suggestion)}}
        if isinstance(error, MemoryError) and self.samples > 1:
            fewer = self.samples // 2
            return {"label": f"samples {self.samples} → {fewer}", "values": {"samples": fewer}}
        return None

    def _finish(self, run: RunInProgress, state: RunState, trace: CausalTrace) -> None:
        run.move(state)
        against = run.against
        try:
            if against is not None:
                check_comparable(against.trace, trace)
        except StateError as error:
            logger.warning("The traces are not compared. %s", error)
            against = None
        with self.hold_sync():
            made = self._history.add(run.so_far(trace, against))
            self.history = self._history.describe()
            self._show_run(made)
            self.status = run.status
        self._answer()
        self._follow_edits(run.edited)

    def _show_run(self, run: Run) -> None:
        """Put a run on screen as it ended, with what it is compared with."""
        with self.hold_sync():
            self._shown, self._basis = run, run.basis
            self._show(run.trace, ms=run.ms, settings=vars(run.settings))
            self._put_beside(run)
            self.run_shown = run.id
            self.progress = float(np.mean([~np.isnan(g) for g in run.trace.scores.values()]))
            self.status = "done" if run.trace.complete else "cancelled"
            self.stale = run.basis.weights != self._engine.identity

    def _go_back(self, run: RunInProgress, state: RunState) -> None:
        """To the last result, after a run that left none."""
        run.move(state)
        shown = self._shown
        with self.hold_sync():
            self.status = run.status
            basis = None if shown is None else shown.basis
            elsewhere, self._basis = basis != self._basis, basis
            if shown is None:
                self._put({}, None)
            elif elsewhere:
                self._show(shown.trace, ms=shown.ms, settings=vars(shown.settings))
            else:
                self._paint(shown.trace)
            self._put_beside(shown)
        if not self._restoration:
            self._answer()
        self._follow_edits(run.edited)

    def _restored(self, asked: CellsAsked, made: tuple[Restoration, Hashable, float]) -> None:
        if self._is_asked_now(asked):
            found, weights, ms = made
            same = self._basis is not None and weights == self._basis.weights
            source = "exact" if same else "edited"
            said = describe_restoration(found, asked.selection, source, ms, single=asked.single)
            self._show_answer(found, said)

    def _restore_failed(self, asked: CellsAsked, error: Exception) -> None:
        described = describe_error(error)
        with self.hold_sync():
            if self._is_asked_now(asked):
                self._show_answer(
                    None, unanswered(asked.selection, described["found"], (), asked.single)
                )
            self._report("restoration", described)

    def _is_asked_now(self, asked: CellsAsked) -> bool:
        settings = None if self._basis is None else self._basis.settings
        meant = (asked.selection, asked.single) == (tuple(self._cells), self._is_single)
        return asked.basis.settings == settings and meant

    def _show_answer(self, found: Restoration | None, described: dict[str, Any]) -> None:
        self._settle("restoration")
        self._put_answer(found, described)
        self._ask_for_page()

    def _drawn(self, request: dict[str, Any], file: dict[str, Any]) -> None:
        self._file = {**file, "id": request.get("id")}

    def _draw_failed(self, request: dict[str, Any], error: Exception) -> None:
        self._report("show", describe_error(error))


def _restore(
    engine: TraceEngine, asked: CellsAsked, progress: Tell[Any], stop: Stop
) -> tuple[Restoration, Hashable, float]:
    """The answer to a selection, the weights that gave it, and how many ms it took."""
    began, weights = time.perf_counter(), engine.identity
    found = engine.restore(asked.basis.settings, asked.selection, asked.single)
    return found, weights, 1000 * (time.perf_counter() - began)
