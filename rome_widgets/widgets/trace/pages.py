"""Pages of the live grid that explain its trace: the path on the grid, the flow, the lens.

A path is looked for when somebody asks. Flow and lens are made while their page is shown, after the
restoration of the same selection. All three go with the trace that they were made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import traitlets as t

from rome_widgets.errors import Cancelled, StateError
from rome_widgets.records.arguments import takes, truth
from rome_widgets.records.explanations import Flow, Lens, RestoringPath
from rome_widgets.records.states import State
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets import fallback
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.job import Job
from rome_widgets.widgets.live.live_widget import LiveWidget, describe_error
from rome_widgets.widgets.live.traits import (
    Number,
    encodable,
    fields_of,
    pack_scores,
    record_trait,
)
from rome_widgets.widgets.trace.engine import TraceEngine
from rome_widgets.widgets.trace.trace_grid import TraceGrid
from rome_widgets.widgets.trace.trace_run import Basis

Page = Literal["grid", "flow", "lens"]


@dataclass(eq=False)
class AskedPath:
    """One search for a path, and what became of it, for whoever waits."""

    basis: Basis
    path: RestoringPath
    """The largest set told so far."""
    running: bool = True
    error: BaseException | None = field(
        default_factory=lambda: Cancelled("Another path or trace was asked for meanwhile.")
    )
    """Why it did not end; None when it did."""


@dataclass(frozen=True, eq=False)
class CellsAsked:
    """Cells of a grid that the model is asked about, and what the grid is made of."""

    basis: Basis
    selection: tuple[State, ...]
    single: bool
    """They are single states, without windows."""
    page: str = ""


class ExplainedGrid(LiveWidget, TraceGrid):
    """A live grid with the path, the flow and the lens of its trace.

    Says nothing itself about how a trace is made: `TraceExplorer` fills in what is declared here.
    """

    _engine: TraceEngine
    _basis: Basis | None = None
    """What the grid on screen was or is being made of."""
    _search: AskedPath | None = None
    """The search under way, or the last of this trace."""
    _explained: Basis | None = None
    """What path, flow and lens are of."""

    page = t.Enum(
        get_args(Page), "grid", help="The page beside the controls: grid, flow or lens."
    ).tag(sync=True)
    recovery = Number(
        0.9, min=0.01, max=1, help="The share of the fact that a path is to bring back."
    ).tag(sync=True)
    path = record_trait(
        RestoringPath,
        (
            "The path of the trace on screen, so far while it is looked for; None while "
            "there is none."
        ),
    )
    flow = record_trait(
        Flow, "The flow with the selection restored, once its page was turned to; else None."
    )
    lens = record_trait(
        Lens, "The lens with the selection restored, once its page was turned to; else None."
    )
    _path = t.Dict().tag(sync=True)
    """The path for the page; `{}` while there is none."""
    _flow = t.Dict().tag(sync=True)
    """The flow of `_flow["selection"]`; `{}` while there is none."""
    _lens = t.Dict().tag(sync=True)
    """The lens of `_lens["selection"]`; `{}` while there is none."""

    @takes(wait=truth)
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
        self._wait_for([self._slots["path"]], self.stop_path, search)
        return search.path

    def stop_path(self) -> None:
        """Stop looking for a path; the set so far stays on screen."""
        with self._writing:
            search = self._search
            if self._worker.cancel(self._slots["path"]) and search is not None:
                self._path_stopped(search, Cancelled("The search never began."))

    def to_text(self) -> str:
        """The trace in words, and its path."""
        return "\n".join([super().to_text(), *self._path_in_words()])

    def to_html_table(self) -> str:
        """The trace as tables, and its path."""
        path = "".join(f"<p>{fallback.shown(line)}</p>" for line in self._path_in_words())
        return super().to_html_table() + path

    def _path_in_words(self) -> list[str]:
        if self._search is None or self.path is None:
            return []
        tokens, path = self._trace["tokens"], self.path
        steps = [
            f"{kind} layer {layer} at “{tokens[pos].strip()}” → {p:.4f}"
            for (pos, layer, kind), p in zip(path.states, path.scores, strict=True)
        ]
        name = "path so far" if self._search.running else "path"
        return [f"  {name}: {', '.join(steps)}"] if steps else []

    def _start_search(self) -> AskedPath:
        basis = self._basis
        if basis is None:
            raise StateError(
                "Nothing is traced yet.", "A path is looked for in a trace.", "Run one first."
            )
        basis.check(self._engine)
        self._settle("path")
        self._search = search = AskedPath(basis, _no_path(self._trace, self.recovery))
        job = Job(
            search,
            partial(_find_path, self._engine),
            on_progress=self._path_told,
            on_done=self._path_found,
            on_cancelled=self._path_stopped,
            on_failed=self._path_failed,
            is_current=self._is_search,
            latest=False,
        )
        self._submit("path", job)
        self._put_path(search)
        return search

    def _put(self, described: dict[str, Any], trace: CausalTrace | None) -> None:
        """Another trace: what explained the old one must not survive it."""
        if self._basis is None or self._basis != self._explained:
            self._explained, self._search = self._basis, None
            for name in ("path", "page"):
                self._worker.cancel(self._slots[name])
            for name in ("path", "flow", "lens"):
                self._put_page(name)
        super()._put(described, trace)

    def _put_page(
        self, name: str, made: object = None, described: dict[str, Any] | None = None
    ) -> None:
        """Show a path, a flow or a lens, as a record and as the page is told of it."""
        setattr(self, f"_{name}", described or {})
        self.set_trait(name, made)

    def _put_path(self, search: AskedPath) -> None:
        said = {**fields_of(search.path, "tokens"), "running": search.running}
        self._put_page("path", search.path, said)

    @t.observe("page")
    def _ask_for_page(self, change: dict | None = None) -> None:
        """Ask for what the page shows, once the selection is answered; only the latest counts."""
        basis, answer = self._basis, self._restoration
        answered = self._is_of_selection(answer or {"selection": []}) and not answer.get("message")
        current = basis is not None and basis.weights == self._engine.identity
        if self.page == "grid" or not (answered and current) or self._closed:
            self._worker.cancel(self._slots["page"])
        elif basis is not None and not self._is_of_selection(getattr(self, f"_{self.page}")):
            job = Job(
                CellsAsked(basis, tuple(self._cells), self._is_single, self.page),
                partial(_make_page, self._engine),
                on_done=self._page_made,
                on_failed=self._page_failed,
                is_current=self._is_shown,
            )
            self._submit("page", job, quick=True)

    def _is_of_selection(self, described: Mapping[str, Any]) -> bool:
        """Whether an answer, as the page is told of it, is that to the selection on screen."""
        cells = [list(cell) for cell in self._cells]
        same_meaning = not cells or described.get("single", False) == self._is_single
        return described.get("selection") == cells and same_meaning

    def _is_search(self, search: AskedPath) -> bool:
        return self._search is search

    def _path_told(self, search: AskedPath, path: RestoringPath) -> None:
        self._put_path(search)

    def _path_found(self, search: AskedPath, path: RestoringPath) -> None:
        search.path, search.error, search.running = path, None, False
        self._put_path(search)

    def _path_stopped(self, search: AskedPath, stopped: Cancelled) -> None:
        search.error, search.running = Cancelled("The search for a path was stopped."), False
        self._put_path(search) if search.path.states else self._put_page("path")

    def _path_failed(self, search: AskedPath, error: Exception) -> None:
        search.error, search.running = error, False
        with self.hold_sync():
            self._put_page("path")
            self._report("path", describe_error(error))

    def _is_shown(self, asked: CellsAsked) -> bool:
        return asked.basis == self._basis

    def _page_made(self, asked: CellsAsked, made: Flow | Lens) -> None:
        if self._is_of_selection({"selection": encodable(asked.selection), "single": asked.single}):
            self._settle(asked.page)
            said = describe_flow(made) if isinstance(made, Flow) else fields_of(made)
            said |= {"selection": encodable(asked.selection), "single": asked.single}
            self._put_page(asked.page, made, said)

    def _page_failed(self, asked: CellsAsked, error: Exception) -> None:
        self._report(asked.page, describe_error(error))


def _find_path(
    engine: TraceEngine, search: AskedPath, progress: Tell[RestoringPath], stop: Stop
) -> RestoringPath:
    def told(path: RestoringPath) -> None:
        search.path = path
        progress(path)

    search.basis.check(engine)
    path = engine.find_path(search.basis.settings, search.path.target, told, stop)
    search.basis.check(engine)
    return path


def _make_page(
    engine: TraceEngine, asked: CellsAsked, progress: Tell[Any], stop: Stop
) -> Flow | Lens:
    asked.basis.check(engine)
    ask = engine.flow if asked.page == "flow" else engine.lens
    made = ask(asked.basis.settings, asked.selection, asked.single)
    asked.basis.check(engine)
    return made


def describe_flow(flow: Flow) -> dict[str, Any]:
    """The `_flow` trait but for its selection: float32, `[kind, pos, layer]` by `kinds`."""
    grids = ("written", "corrupted", "restored", "moved")
    return {
        "states": encodable(flow.states),
        "kinds": list(flow.kinds),
        **{name: pack_scores(getattr(flow, name), flow.kinds) for name in grids},
        "noise": np.asarray(flow.noise, "<f4").tobytes(),
    }


def _no_path(trace: Mapping[str, Any], target: float) -> RestoringPath:
    """Where a search starts."""
    ends = (trace["clean"], trace["corrupted"])
    clean, corrupted = (np.nan if each is None else each for each in ends)
    measured = {"metric": trace["metric"], "against": trace["against"]}
    return RestoringPath((), (), trace["answer"], clean, corrupted, target, False, 0, **measured)
