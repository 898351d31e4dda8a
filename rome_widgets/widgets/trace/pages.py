"""What the live widget shows of a trace's inside: a path on the grid, a flow, a lens.

A path is looked for when somebody asks. Flow and lens are made while their page is shown, after the
restoration of the same selection. All three go with the trace that they were made of.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import traitlets as t

from rome_widgets.errors import Cancelled, ModelChanged, RomeWidgetsError, StateError
from rome_widgets.records.explanations import Flow, Lens, RestoringPath
from rome_widgets.records.states import Kind, State
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets import fallback
from rome_widgets.widgets.live.live_widget import PROGRESS_EVERY, LiveWidget, Slot, describe_error
from rome_widgets.widgets.live.traits import number, text
from rome_widgets.widgets.live.worker import Job
from rome_widgets.widgets.trace.engine import Engine, TraceSettings
from rome_widgets.widgets.trace.trace_grid import TraceGrid

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Model:
    """What the inside of a trace is asked of: settings, and the weights that it was made on."""

    settings: TraceSettings
    weights: Hashable

    def check(self, engine: Engine) -> None:
        """Refuse another model's answer about this trace."""
        if engine.weights_version != self.weights:
            raise ModelChanged(
                "The model was edited since this trace.",
                "What is inside of it was wanted from the model that it was made on.",
                "Trace again.",
            )

    def same(self, other: _Model | None) -> bool:
        return other is not None and vars(self) == vars(other)


@dataclass(eq=False)
class _Search:
    """One search for a path, and what became of it, for whoever waits."""

    model: _Model
    path: RestoringPath
    """The largest set told so far."""
    error: BaseException | None = field(
        default_factory=lambda: Cancelled("Another path or trace was asked for meanwhile.")
    )
    """Why it did not end; None when it did."""


class InsideGrid(LiveWidget, TraceGrid):
    """A live grid with the path, the flow and the lens of its trace.

    Says nothing itself about how a trace is made: `TraceExplorer` fills in what is declared here.
    """

    _engine: Engine
    _slots: dict[str, Slot]
    """"path" and "page" here; flow and lens share one, because one page is shown."""
    _shown: TraceSettings | None
    _shown_on: Hashable
    _closed: bool
    _search: _Search | None = None
    """The search under way, or the last of this trace."""
    _inside: _Model | None = None
    """What path, flow and lens are of."""

    page = t.Enum(["grid", "flow", "lens"], "grid").tag(sync=True)
    """What stands beside the restoration panel."""
    recovery = t.CFloat(0.9, min=0.01, max=1).tag(sync=True)
    """The share of the fact that a path is to bring back."""
    path = t.Dict().tag(sync=True)
    """The path of the trace on screen; `{}` while there is none."""
    flow = t.Dict().tag(sync=True)
    """The flow of `flow["selection"]`; `{}` while there is none."""
    lens = t.Dict().tag(sync=True)
    """The lens of `lens["selection"]`; `{}` while there is none."""

    def find_path(self, recovery: float | None = None, wait: bool = False) -> RestoringPath | None:
        """Look for a small set of states that brings the original prediction back.

        The set so far is in `path` while the search runs. Another search, and another trace,
        supersede it.

        Args:
            recovery: The share of the fact to bring back, in [0.01, 1]; None: what `recovery` says.
            wait: Return when it is found. Ctrl-C then stops the search.

        Returns:
            The path when waited for, else None.

        Raises:
            StateError: Nothing is traced yet.
            ModelChanged: The model is no longer the one of the trace on screen.
            Cancelled: The search waited for was stopped.
        """
        self._refuse_to_wait(wait)
        with self._writing:
            if recovery is not None:
                self.recovery = recovery
            search = self._start_search()
        if not wait:
            return None
        try:
            self._worker.wait([self._slots["path"]])
        except KeyboardInterrupt:
            self.stop_path()
            raise
        if search.error is not None:
            raise search.error
        return search.path

    def stop_path(self) -> None:
        """Stop looking for a path; the set so far stays on screen."""
        with self._writing:
            search = self._search
            if self._worker.cancel(self._slots["path"]) and search is not None:
                self._path_stopped(search)

    def to_text(self) -> str:
        """The trace in words, and its path."""
        return "\n".join([super().to_text(), *self._path_in_words()])

    def to_html_table(self) -> str:
        """The trace as tables, and its path."""
        path = "".join(f"<p>{fallback.shown(line)}</p>" for line in self._path_in_words())
        return super().to_html_table() + path

    def _path_in_words(self) -> list[str]:
        if self._search is None or not self.path:
            return []
        tokens, path = self.trace["tokens"], self._search.path
        steps = [
            f"{kind} layer {layer} at “{tokens[pos].strip()}” → {p:.4f}"
            for (pos, layer, kind), p in zip(path.states, path.probabilities, strict=True)
        ]
        name = "path so far" if self.path["running"] else "path"
        return [f"  {name}: {', '.join(steps)}"] if steps else []

    def _start_search(self) -> _Search:
        model = self._asked_of()
        if model is None:
            raise StateError(
                "Nothing is traced yet.", "A path is looked for in a trace.", "Run one first."
            )
        model.check(self._engine)
        self._settle("path")
        self._search = search = _Search(model, _no_path(self.trace, self.recovery))
        job = _path_job(weakref.ref(self), self._engine, search)
        self._worker.submit(self._slots["path"], job)
        self.path = describe_path(search.path, running=True)
        return search

    def _asked_of(self) -> _Model | None:
        return None if self._shown is None else _Model(self._shown, self._shown_on)

    @t.observe("_request")
    def _path_requested(self, change: dict) -> None:
        op = (change["new"] or {}).get("op")
        if op == "stop_path":
            self.stop_path()
        elif op == "path":
            try:
                self.find_path()
            except RomeWidgetsError as error:
                self._report("path", describe_error(error))

    def _put(self, described: dict[str, Any], trace: CausalTrace | None) -> None:
        """Another trace: what was inside the old one must not survive it."""
        model = self._asked_of()
        if model is None or not model.same(self._inside):
            self._inside, self._search = model, None
            for name in ("path", "page"):
                self._worker.cancel(self._slots[name])
            self.path = self.flow = self.lens = {}
        super()._put(described, trace)

    @t.observe("page")
    def _look_inside(self, change: dict | None = None) -> None:
        """Ask for what the page shows, once the selection is answered; only the latest counts."""
        model, selection = self._asked_of(), tuple(self._cells)
        asked = [list(cell) for cell in selection]
        answer = self.restoration
        answered = answer.get("selection", []) == asked and not answer.get("message")
        current = model is not None and model.weights == self._engine.weights_version
        if self.page == "grid" or not (answered and current) or self._closed:
            self._worker.cancel(self._slots["page"])
        elif model is not None and getattr(self, self.page).get("selection") != asked:
            job = _page_job(weakref.ref(self), self._engine, model, self.page, selection)
            self._worker.submit(self._slots["page"], job, quick=True)

    # What the jobs call, on the worker's thread, one at a time and with the writing lock held.

    def _path_told(self, search: _Search) -> None:
        self.path = describe_path(search.path, running=True)

    def _path_found(self, search: _Search) -> None:
        search.error = None
        self.path = describe_path(search.path)

    def _path_stopped(self, search: _Search) -> None:
        search.error = Cancelled("The search for a path was stopped.")
        self.path = describe_path(search.path) if search.path.states else {}

    def _path_failed(self, search: _Search, error: BaseException) -> None:
        search.error = error
        with self.hold_sync():
            self.path = {}
            self._report("path", describe_error(error))

    def _page_made(
        self, model: _Model, page: str, selection: tuple[State, ...], made: dict[str, Any]
    ) -> None:
        if model.same(self._asked_of()) and selection == tuple(self._cells):
            self._settle(page)
            setattr(self, page, made)

    def _page_failed(self, model: _Model, page: str, error: BaseException) -> None:
        if model.same(self._asked_of()):
            self._report(page, describe_error(error))


def describe_path(path: RestoringPath, *, running: bool = False) -> dict[str, Any]:
    """The `path` trait."""
    return {
        "states": [list(state) for state in path.states],
        "probabilities": [number(p) for p in path.probabilities],
        "answer": text(path.answer),
        "clean": number(path.clean),
        "corrupted": number(path.corrupted),
        "target": path.target,
        "reached": path.reached,
        "n_restored": path.n_restored,
        "running": running,
    }


def describe_flow(flow: Flow, selection: Iterable[State]) -> dict[str, Any]:
    """The `flow` trait: arrays are float32, `[kind, pos, layer]` in the order of `kinds`."""

    def pack(grids: Mapping[Kind, np.ndarray]) -> bytes:
        return np.stack([grids[kind] for kind in flow.kinds]).astype("<f4").tobytes()

    return {
        "selection": [list(cell) for cell in selection],
        "states": [list(state) for state in flow.states],
        "kinds": list(flow.kinds),
        "written": pack(flow.written),
        "corrupted": pack(flow.corrupted),
        "restored": pack(flow.restored),
        "moved": pack(flow.moved),
        "noise": np.asarray(flow.noise, "<f4").tobytes(),
    }


def describe_lens(lens: Lens, selection: Iterable[State]) -> dict[str, Any]:
    """The `lens` trait."""
    return {
        "selection": [list(cell) for cell in selection],
        "states": [list(state) for state in lens.states],
        "answer": text(lens.answer),
        "answer_id": lens.answer_id,
        "runs": [
            {
                "name": run.name,
                "probabilities": [number(p) for p in run.probabilities],
                "ranks": list(run.ranks),
                "top": [[[text(token), number(p)] for token, p in layer] for layer in run.top],
            }
            for run in lens.runs
        ],
    }


def _no_path(trace: Mapping[str, Any], target: float) -> RestoringPath:
    """Where a search starts."""
    clean, corrupted = (
        float("nan") if trace[name] is None else trace[name] for name in ("clean", "corrupted")
    )
    return RestoringPath((), (), trace["answer"], clean, corrupted, target, False, 0)


def _path_job(ref: weakref.ref[InsideGrid], engine: Engine, search: _Search) -> Job:
    """A search as the worker runs it. Holds the widget only while it writes to it."""

    def tell(method: str, *args: Any) -> None:
        if (widget := ref()) is not None:
            with widget._writing:
                if widget._search is search:
                    getattr(widget, method)(search, *args)

    def job(cancelled: Callable[[], bool]) -> None:
        last = float("-inf")

        def progressed(path: RestoringPath) -> None:
            nonlocal last
            search.path, now = path, time.monotonic()
            if now - last >= PROGRESS_EVERY:
                last = now
                tell("_path_told")

        try:
            search.model.check(engine)
            target = search.path.target
            search.path = engine.find_path(
                search.model.settings, target, progressed, lambda: cancelled() or ref() is None
            )
            search.model.check(engine)
        except Cancelled:
            tell("_path_stopped")
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("The search for a path failed")
            tell("_path_failed", error)
        else:
            tell("_path_found")

    return job


def _page_job(
    ref: weakref.ref[InsideGrid],
    engine: Engine,
    model: _Model,
    page: str,
    selection: Sequence[State],
) -> Job:
    """A flow or a lens as the worker runs it."""

    def make() -> dict[str, Any]:
        model.check(engine)
        if page == "flow":
            made = describe_flow(engine.flow(model.settings, selection), selection)
        else:
            made = describe_lens(engine.lens(model.settings, selection), selection)
        model.check(engine)
        return made

    def tell(cancelled: Callable[[], bool], method: str, *args: Any) -> None:
        if not cancelled() and (widget := ref()) is not None:
            with widget._writing:
                getattr(widget, method)(model, page, *args)

    def job(cancelled: Callable[[], bool]) -> None:
        try:
            made = make()
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("The %s of %r failed", page, selection)
            tell(cancelled, "_page_failed", error)
        else:
            tell(cancelled, "_page_made", selection, made)

    return job
