"""Pages of the live grid that explain its trace: the path on the grid, heads, the flow, the lens.

A path is looked for, and an attention opened into its heads, when somebody asks. Flow and lens are
made while their page is shown, after the restoration of the same selection. All of them go with the
trace that they were made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import traitlets as t

from rome_widgets.errors import Cancelled, StateError
from rome_widgets.records.arguments import takes, truth
from rome_widgets.records.explanations import Flow, Heads, Lens, RestoringPath
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
from rome_widgets.widgets.trace.lasting import (
    AskedHeads,
    AskedPath,
    Lasting,
    look_inside,
    no_heads,
    no_path,
)
from rome_widgets.widgets.trace.trace_grid import TraceGrid
from rome_widgets.widgets.trace.trace_run import Basis

Page = Literal["grid", "flow", "lens"]
Asked = TypeVar("Asked", bound=Lasting[Any])


@dataclass(frozen=True, eq=False)
class CellsAsked:
    """Cells of a grid that the model is asked about, and what the grid is made of."""

    basis: Basis
    selection: tuple[State, ...]
    single: bool
    """They are single states, without windows."""
    page: str = ""


class ExplainedGrid(LiveWidget, TraceGrid):
    """A live grid with the path, the heads, the flow and the lens of its trace.

    Says nothing itself about how a trace is made: `TraceExplorer` fills in what is declared here.
    """

    _engine: TraceEngine
    _basis: Basis | None = None
    """What the grid on screen was or is being made of."""
    _lasting: dict[str, Lasting[Any]]
    """By name what is being looked for, or was last in this trace."""
    _explained: Basis | None = None
    """What path, heads, flow and lens are of."""

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
    heads = record_trait(
        Heads,
        (
            "The heads of the attention that `open_heads` opened, so far while they are "
            "restored; None while there are none."
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
    _heads = t.Dict().tag(sync=True)
    """The heads for the page; `{}` while there are none."""
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
            basis = self._basis_for("A path is looked for in a trace.")
            asked = self._look_for(AskedPath(basis, no_path(self._trace, self.recovery)))
        if not wait:
            return None
        self._wait_for([self._slots["path"]], self.stop_path, asked)
        return asked.found

    def stop_path(self) -> None:
        """Stop looking for a path; the set so far stays on screen."""
        self._stop_looking("path")

    @takes(wait=truth)
    def open_heads(self, wait: bool = False) -> Heads | None:
        """Open the selected attention into its heads: what each of them brings back alone.

        The selection has attention cells of one layer, whose heads are restored one by one at each
        of their tokens, as `CausalTracer.heads` does. Those so far are in `heads` while it runs.
        Other heads, and another trace, supersede it.

        Args:
            wait: Return when all are restored. Ctrl-C then stops.

        Returns:
            The heads when waited for, else None.

        Raises:
            StateError: Nothing is traced yet, or not attention of one layer is selected.
            ModelChanged: The model is no longer the one of the trace on screen.
            UnsupportedModel: The attention of this model cannot be taken apart into heads.
            Cancelled: The heads waited for were stopped.
        """
        self._refuse_to_wait(wait)
        with self._writing:
            basis = self._basis_for("Heads are restored in the runs of a trace.")
            asked = self._look_for(AskedHeads(basis, no_heads(self._trace, self._cells)))
        if not wait:
            return None
        self._wait_for([self._slots["heads"]], self.stop_heads, asked)
        return asked.found

    def stop_heads(self) -> None:
        """Stop restoring heads; those so far stay on screen."""
        self._stop_looking("heads")

    def close_heads(self) -> None:
        """Put the heads away."""
        with self._writing:
            self.stop_heads()
            self._lasting.pop("heads", None)  # What it still tells is not heard.
            self._put_page("heads")

    def to_text(self) -> str:
        """The trace in words, its path, and the strongest of the heads that are open."""
        return "\n".join([super().to_text(), *self._path_in_words(), *self._heads_in_words()])

    def to_html_table(self) -> str:
        """The trace as tables, its path, and the heads that are open."""
        path = "".join(f"<p>{fallback.shown(line)}</p>" for line in self._path_in_words())
        return super().to_html_table() + path + fallback.heads_table(self.heads)

    def _path_in_words(self) -> list[str]:
        if self.path is None:
            return []
        tokens, path = self._trace["tokens"], self.path
        steps = [
            f"{kind} layer {layer} at “{tokens[pos].strip()}” → {p:.4f}"
            for (pos, layer, kind), p in zip(path.states, path.scores, strict=True)
        ]
        name = "path so far" if self._lasting["path"].running else "path"
        return [f"  {name}: {', '.join(steps)}"] if steps else []

    def _heads_in_words(self) -> list[str]:
        if self.heads is None:
            return []
        pos, head, score = self.heads.strongest()
        so_far = " so far" if self._lasting["heads"].running else ""
        return [
            f"  strongest head of attention layer {self.heads.layer}{so_far}: head {head} at "
            f"“{self._trace['tokens'][pos].strip()}” → {score:.4f}"
        ]

    def _basis_for(self, wanted: str) -> Basis:
        """The basis of the trace on screen, if the model is still that of it."""
        basis = self._basis
        if basis is None:
            raise StateError("Nothing is traced yet.", wanted, "Run one first.")
        basis.check(self._engine)
        return basis

    def _look_for(self, asked: Asked) -> Asked:
        """Have it looked for; another of its kind is superseded."""
        self._settle(asked.name)
        self._lasting[asked.name] = asked
        job = Job(
            asked,
            partial(look_inside, self._engine),
            on_progress=self._lasting_told,
            on_done=self._lasting_found,
            on_cancelled=self._lasting_stopped,
            on_failed=self._lasting_failed,
            is_current=self._is_looked_for,
            latest=False,
        )
        self._submit(asked.name, job)
        self._put_lasting(asked)
        return asked

    def _stop_looking(self, name: str) -> None:
        with self._writing:
            asked = self._lasting.get(name)
            if self._worker.cancel(self._slots[name]) and asked is not None:
                self._lasting_stopped(asked, Cancelled("It never began."))

    def _put(self, described: dict[str, Any], trace: CausalTrace | None) -> None:
        """Another trace: what explained the old one must not survive it."""
        if self._basis is None or self._basis != self._explained:
            self._explained = self._basis
            self._lasting.clear()
            for name in ("path", "heads", "page"):
                self._worker.cancel(self._slots[name])
            for name in ("path", "heads", "flow", "lens"):
                self._put_page(name)
        super()._put(described, trace)

    def _put_page(
        self, name: str, made: object = None, described: dict[str, Any] | None = None
    ) -> None:
        """Show a path, heads, a flow or a lens, as a record and as the page is told of it."""
        setattr(self, f"_{name}", described or {})
        self.set_trait(name, made)

    def _put_lasting(self, asked: Lasting[Any]) -> None:
        found = None if isinstance(asked, AskedHeads) and asked.is_empty else asked.found
        self._put_page(asked.name, found, asked.describe())

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

    def _is_looked_for(self, asked: Lasting[Any]) -> bool:
        return self._lasting.get(asked.name) is asked

    def _lasting_told(self, asked: Lasting[Any], found: Any) -> None:
        self._put_lasting(asked)

    def _lasting_found(self, asked: Lasting[Any], found: Any) -> None:
        asked.found, asked.error, asked.running = found, None, False
        self._put_lasting(asked)

    def _lasting_stopped(self, asked: Lasting[Any], stopped: Cancelled) -> None:
        so_far = None if asked.is_empty else asked.found
        asked.error, asked.running = Cancelled(asked.stopped, so_far), False
        self._put_page(asked.name) if asked.is_empty else self._put_lasting(asked)

    def _lasting_failed(self, asked: Lasting[Any], error: Exception) -> None:
        asked.error, asked.running = error, False
        with self.hold_sync():
            self._put_page(asked.name)
            self._report(asked.name, describe_error(error))

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
