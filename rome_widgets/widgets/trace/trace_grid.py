"""A recorded trace as a picture that answers clicks. No model is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import traitlets as t

from rome_widgets.errors import StateError, said
from rome_widgets.records.arguments import several, takes
from rome_widgets.records.numbers import plain
from rome_widgets.records.states import Kind, State, check_states
from rome_widgets.records.trace import CausalTrace, Prediction, Restoration, recovery
from rome_widgets.records.trace_metric import SHORT
from rome_widgets.widgets import fallback
from rome_widgets.widgets.live.base import RomeWidget, Theme, bundle
from rome_widgets.widgets.live.traits import (
    RecordedRestoration,
    describe_restoration,
    describe_trace,
    pack_grid,
    pack_scores,
    record_trait,
    text,
    unanswered,
)
from rome_widgets.widgets.trace.comparison import (
    NAMES,
    TraceComparison,
    Words,
    check_comparable,
)

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COMBINE = "Recorded single-state effects; a live model is needed to combine them."
WINDOWS = "Cells with their windows were recorded; a live model is needed for single states."
NOT_COMPUTED = "This state was not computed."
ESTIMATED = "This trace is an estimate; a live model is needed to restore the state."
UNBOUNDED = 1 << 31
GridKind = Literal["all", "hidden", "mlp", "attn"]
Scale = Literal["probability", "effect", "share"]
Palette = Literal["kinds", "cividis"]


class TraceGrid(RomeWidget):
    """Shows a `CausalTrace`: tokens by layers, the three kinds on one scale.

    Args:
        trace: What to show; None shows an empty grid.
        kind: "all", or the one kind to show.
        selection: Cells to select, triples `(pos, layer, kind)`.
        before: A trace of the same prompt on other weights: both are shown, and their difference.
        cursor: The cell of the keyboard cursor, or None.
        scale: What a cell shows: the metric, by default the answer's "probability"; its rise over
            corrupted ("effect"); or the "share" of it that is back.
        palette: "kinds", a colour for each, as in the paper; "cividis", one ramp for every eye.
        values: Write the numbers into cells that have room for them.
        shortcuts: Single letters act while the grid has the focus.
        theme, layout, tooltip, tabbable: See `RomeWidget`.

    Example:
        >>> grid = rw.TraceGrid(rw.load_trace("needle.trace"))
        >>> grid.selection = [(6, 4, "hidden")]
        >>> grid.restoration.score
    """

    _esm, _css = bundle("grid")
    _view = t.Unicode("grid").tag(sync=True)
    _outputs = ("scores", "estimate", "before_scores")
    trace = record_trait(CausalTrace, "The trace on screen, as it ended; None while there is none.")
    _trace = t.Dict().tag(sync=True)
    """The words and numbers around the grid, also while it fills in; `{}` while there are none."""
    scores = t.Bytes(
        help=(
            "float32 `[kind, pos, layer]` in the order of the trace's kinds; NaN where not "
            "computed."
        )
    ).tag(sync=True)
    estimate = t.Bytes(
        help=("An estimate in the form of `scores`, shown where those are NaN; empty without one.")
    ).tag(sync=True)
    kind = t.Enum(
        get_args(GridKind), "all", help="All kinds of state beside each other, or the one to show."
    ).tag(sync=True)
    selection = t.List(
        help=("Selected cells, sorted triples `(pos, layer, kind)`; setting it asks for an answer.")
    ).tag(sync=True)
    single = t.List(
        help=(
            "The selection, where its cells are meant as single states, without their "
            "windows; else `[]`. `select_states` sets both."
        )
    ).tag(sync=True)
    cursor = t.Any(None, allow_none=True, help="The cell of the keyboard's cursor, or None.").tag(
        sync=True
    )
    restoration = t.Any(
        None,
        allow_none=True,
        read_only=True,
        help=(
            "The answer to the selection: a `Restoration` of a live model's, a "
            "`RecordedRestoration` of a recorded trace's; None while there is none, or only "
            "a sentence that says why."
        ),
    )
    _restoration = t.Dict().tag(sync=True)
    """The answer to `_restoration["selection"]`, or that sentence; `{}` while there is none."""
    scale = t.Enum(
        get_args(Scale),
        "probability",
        help=(
            "What a cell shows: probability, its rise over corrupted (effect), or the share back."
        ),
    ).tag(sync=True)
    palette = t.Enum(
        get_args(Palette),
        "kinds",
        help="A colour for each kind (kinds), or one ramp for every eye (cividis).",
    ).tag(sync=True)
    values = t.Bool(False, help="Write the numbers into cells that have room for them.").tag(
        sync=True
    )
    shortcuts = t.Bool(True, help="Single letters act while the grid has the focus.").tag(sync=True)
    comparison = record_trait(
        TraceComparison,
        (
            "The trace before, the trace on screen, and what sets them apart; None without "
            "one before."
        ),
    )
    _comparison = t.Dict().tag(sync=True)
    """The same in words and numbers for the page; `{}` without one."""
    before_scores = t.Bytes(help="The trace before in the form of `scores`.").tag(sync=True)

    _arriving: CausalTrace | None = None
    """What `trace` is, or will be once all that belongs to it is on screen."""

    @takes(selection=several)
    def __init__(
        self,
        trace: CausalTrace | None = None,
        kind: GridKind = "all",
        selection: Iterable[Iterable] = (),
        *,
        before: CausalTrace | None = None,
        cursor: Sequence[Any] | None = None,
        scale: Scale = "probability",
        palette: Palette = "kinds",
        values: bool = False,
        shortcuts: bool = True,
        theme: Theme = "auto",
        layout: Any = None,
        tooltip: str | None = None,
        tabbable: bool | None = None,
    ) -> None:
        for given in (trace, before):
            if given is not None and not isinstance(given, CausalTrace):
                raise StateError(
                    f"{type(given).__name__} is not a trace.",
                    "What rome_widgets.trace or load_trace returns was wanted.",
                    "For a live model, use rome_widgets.TraceExplorer(lm, prompt, subject).",
                )
        if before is not None and trace is not None:
            check_comparable(before, trace)
        view = {"kind": kind, "scale": scale, "palette": palette, "values": values}
        host = {"theme": theme, "layout": layout, "tooltip": tooltip, "tabbable": tabbable}
        super().__init__(**view, shortcuts=shortcuts, **host)
        if trace is not None:
            self._show(trace)
            self._put_before(before)
        if selection:
            self.selection = list(selection)
        if cursor is not None:
            self.cursor = cursor

    @property
    def before(self) -> CausalTrace | None:
        """The trace that `trace` is compared with; None where nothing is compared."""
        return None if self.comparison is None else self.comparison.before

    @property
    def selected_states(self) -> list[State]:
        """The states that the selection restores, each once, in order.

        What its cells did; of what `select_states` selected, these alone.
        """
        if self.trace is None:
            return []
        return list(self._cells) if self._is_single else _union(self.trace, self._cells)

    @property
    def _is_single(self) -> bool:
        return bool(self.selection) and self.single == self.selection

    @takes(states=several)
    def select_states(self, states: Iterable[Iterable]) -> None:
        """Select single states: what is restored is exactly these, without windows.

        Assigning `selection` selects cells, each of which restores what it did in the grid.

        Args:
            states: Triples `(pos, layer, kind)`, such as those of a path.

        Raises:
            TraitError: There is no such state.

        Example:
            >>> grid.select_states([(6, 3, "mlp")])
            >>> grid.selected_states
            [State(pos=6, layer=3, kind='mlp')]
        """
        with self._writing, self.hold_sync():
            self.single = list(states)
            self.selection = self.single

    def select(
        self,
        subject: int | str = "last",
        layers: int | slice | Iterable[int] | None = None,
        kind: str | None = None,
    ) -> None:
        """Select cells of one token.

        Args:
            subject: "last" or "first" token of the subject, or a position.
            layers: Which layers; a slice counts as in a list, None takes all.
            kind: Which kind; None takes every kind shown.

        Raises:
            StateError: Nothing is traced, or there is no such token, layer or kind.

        Example:
            >>> grid.select(layers=slice(14, 20), kind="mlp")
        """
        trace = self._traced("select states of it")
        start, stop = trace.subject_span
        ends = {"first": start, "last": stop - 1}
        if isinstance(subject, str) and subject not in ends:
            raise StateError(
                f"{subject!r} is no token to select.",
                '"last" or "first" (of the subject), or a position, was wanted.',
            )
        pos = ends[subject] if isinstance(subject, str) else subject
        if kind is None:
            kind = self.kind
        kinds = trace.kinds if isinstance(kind, str) and kind == "all" else (kind,)
        cells = [(pos, layer, each) for each in kinds for layer in _layers(layers, trace.n_layers)]
        states = check_states(cells, len(trace.tokens), trace.n_layers)
        _check_traced(trace.kinds, states)
        self.selection = states

    def value_at(self, pos: int, layer: int, kind: str) -> float:
        """What the grid shows of a cell, on its `scale`; NaN where it was not computed.

        Raises:
            StateError: Nothing is traced, or there is no such cell.
        """
        trace = self._traced("read it")
        (state,) = check_states([(pos, layer, kind)], len(trace.tokens), trace.n_layers)
        _check_traced(trace.kinds, [state])
        score = float(trace.scores[state.kind][state.pos, state.layer])
        if self.scale == "effect":
            return score - trace.corrupted
        if self.scale == "share":
            return recovery(score, trace.clean, trace.corrupted)
        return score

    def to_frame(self) -> pd.DataFrame:
        """The trace on screen as `CausalTrace.to_frame` gives it.

        Raises:
            StateError: Nothing is traced.
        """
        return self._traced("make a table of it").to_frame()

    def _traced(self, purpose: str) -> CausalTrace:
        if self.trace is None:
            raise StateError(
                "Nothing is traced yet.",
                f"A finished trace was wanted, to {purpose}.",
                "Give a trace, or wait for the one that is running.",
            )
        return self.trace

    @property
    def _cells(self) -> list[State]:
        """The selection; what the validator lets through are states."""
        return cast("list[State]", self.selection)

    @t.validate("selection")
    def _check_selection(self, proposal: dict) -> list[State]:
        return self._checked("selection", proposal["value"])

    @t.validate("single")
    def _check_single(self, proposal: dict) -> list[State]:
        return self._checked("single", proposal["value"])

    @t.validate("cursor")
    def _check_cursor(self, proposal: dict) -> State | None:
        value = proposal["value"]
        return None if value is None else self._checked("cursor", [value])[0]

    def _checked(self, name: str, cells: Iterable[Iterable]) -> list[State]:
        """`cells` as states of the grid on screen; any states while there is none."""
        shown = self._trace
        size = (len(shown["tokens"]), shown["n_layers"]) if shown else (UNBOUNDED, UNBOUNDED)
        try:
            states = list(check_states(cells, *size))
            if not shown and any(max(s.pos, s.layer) > UNBOUNDED // 2 for s in states):
                raise StateError(
                    "Places counted from the end need a trace to count in.",
                    "Positions and layers from 0 were wanted while nothing is traced.",
                )
            if shown:
                _check_traced(shown["kinds"], states)
        except StateError as error:
            raise t.TraitError(f"{type(self).__name__}.{name}: {error}") from error
        return states

    @t.observe("selection")
    def _selection_changed(self, change: dict) -> None:
        self._answer()

    @t.observe("single")
    def _meaning_changed(self, change: dict) -> None:
        if self.selection and self.selection in (change["old"], change["new"]):
            self._answer()

    def _answer(self) -> None:
        """Answer the selection from what was recorded."""
        if self.trace is None or not self.selection:
            self._put_answer(None)
        else:
            states = self.selected_states
            self._put_answer(*_recorded_answer(self.trace, self._cells, states, self._is_single))

    def _put_answer(
        self,
        restoration: Restoration | RecordedRestoration | None,
        described: dict[str, Any] | None = None,
    ) -> None:
        """Show an answer, as a record and as the page is told of it."""
        self._restoration = described or {}
        self.set_trait("restoration", restoration)

    def _show(self, trace: CausalTrace, **more: Any) -> None:
        """Put a trace on screen; `more` joins its description."""
        with self._writing, self.hold_sync():
            self._arriving = trace
            self._put({**describe_trace(trace), **more}, trace)
            self.set_trait("trace", trace)

    def _put(self, described: dict[str, Any], trace: CausalTrace | None) -> None:
        """Another grid: an answer, a selection or a cursor of the old one must not survive it."""
        before, now = self._trace.get("tokens"), described.get("tokens")
        if before and now and before != now:  # The same place of other words is another state.
            self.selection, self.cursor = [], None
        self._put_answer(None)
        self._trace = described
        self._paint(trace)
        for name, cells in (
            ("selection", self.selection),
            ("cursor", [self.cursor] if self.cursor else []),
        ):
            try:
                self._checked(name, cells)
            except t.TraitError:
                setattr(self, name, [] if name == "selection" else None)

    def _paint(self, trace: CausalTrace | None) -> None:
        """The numbers of the grid; none without a trace."""
        scores, self.estimate = pack_grid(trace)
        self.scores = scores

    def _put_before(
        self,
        before: CausalTrace | None,
        words: Words = ("", ""),
        names: Words = NAMES,
        *,
        running: bool = False,
    ) -> None:
        """Put another trace beside the one on screen; None: none."""
        after = None if running else self.trace
        compared = None if before is None else TraceComparison(before, after, words, names)
        with self.hold_sync():
            self.before_scores = b"" if before is None else pack_scores(before.scores, before.kinds)
            self._comparison = {} if compared is None else compared.describe()
            self.set_trait("comparison", compared)

    def linked_chart(self, figure: Literal["trace", "recovery"] = "recovery") -> alt.JupyterChart:
        """An Altair chart of the trace on screen, linked with the grid; it needs no network.

        The chart marks the selected cells and the cursor's layer; a click on it selects in the
        grid. Closing either ends that, and so does another prompt in the grid.

        Args:
            figure: "trace", the heat maps; "recovery", the share recovered by layer.

        Raises:
            MissingExtra: vl-convert-python is not installed.
            StateError: No such chart, nothing traced yet, or for "recovery" nothing taken away.

        Example:
            >>> grid = rw.TraceGrid(trace)
            >>> chart = grid.linked_chart("recovery")
            >>> chart.params.cursor_layer         # two-way, as Altair's own
        """
        from rome_widgets.widgets.trace.linked_chart import linked_chart

        return linked_chart(self, figure)

    def to_text(self) -> str:
        """The prompt, its answer, and the best state of each kind among the subject's tokens."""
        trace = self.trace
        if trace is None:
            return f"{type(self).__name__}: nothing traced yet"
        lines = [
            f"{type(self).__name__}: {trace.prompt!r} → {trace.answer!r}, "
            f"{SHORT[trace.metric]} clean {trace.clean:.4f}, corrupted {trace.corrupted:.4f}"
            f"{', the rest an estimate' if trace.estimated else ''}"
        ]
        if trace.whole is not None:
            lines.append(f"  {trace.whole}")
        for kind in trace.kinds:
            if best := trace.strongest(kind):
                pos, layer, score = best
                lines.append(f"  {kind}: {score:.4f} at {trace.tokens[pos]!r}, layer {layer}")
        if (compared := self.comparison) is not None:
            before, words = compared.before, compared.words[0]
            said = f" ({words})" if words else ""
            lines.append(
                f"  {compared.names[0]}{said}: {SHORT[before.metric]} clean {before.clean:.4f}, "
                f"corrupted {before.corrupted:.4f}"
            )
            if compared.same:
                lines.append("  nothing changed")
            elif most := compared.largest_change:
                (pos, layer, kind), size = most
                lines.append(
                    f"  largest difference: {size:+.4f} at {trace.tokens[pos]!r}, "
                    f"{kind} layer {layer}"
                )
        return text("\n".join(lines))

    def to_html_table(self) -> str:
        """The trace as tables with inline colours, all text escaped."""
        if self.trace is None:
            return super().to_html_table()
        if self.comparison is None:
            return fallback.trace_table(self.trace)
        return fallback.comparison_table(self.comparison, self.trace)

    def _still(self) -> str:
        if self.trace is None:
            return super()._still()
        if self.comparison is None:
            return fallback.still_trace(self.trace)
        return fallback.still_comparison(self.comparison, self.trace)


def _layers(layers: int | slice | Iterable[int] | None, n_layers: int) -> Iterable[int]:
    if layers is None:
        return range(n_layers)
    if isinstance(layers, slice):
        try:
            return range(n_layers)[layers]
        except (TypeError, ValueError):
            raise StateError(
                f"The layers are {said(layers)}.", "A slice of whole numbers was wanted."
            ) from None
    wanted: Any = plain(layers)
    return wanted if isinstance(wanted, Iterable) else [wanted]


def _union(trace: CausalTrace, cells: Iterable[State]) -> list[State]:
    return sorted({state for cell in cells for state in trace.cell(*cell)})


def _check_traced(kinds: Sequence[Kind], states: Iterable[State]) -> None:
    for state in states:
        if state.kind not in kinds:
            raise StateError(
                f"This trace has no {state.kind!r} scores.",
                f"It has {', '.join(map(repr, kinds))}.",
            )


def _recorded_answer(
    trace: CausalTrace, selection: list[State], states: list[State], single: bool
) -> tuple[RecordedRestoration | None, dict[str, Any]]:
    """What was recorded of the selection, and how the page is told of it."""
    if len(selection) > 1:
        return None, unanswered(selection, COMBINE, states, single)
    (cell,) = selection
    if states != trace.cell(*cell):
        return None, unanswered(selection, WINDOWS, states, single)
    score = float(trace.scores[cell.kind][cell.pos, cell.layer])
    if trace.estimated or np.isnan(score):
        return None, unanswered(
            selection, ESTIMATED if trace.estimated else NOT_COMPUTED, states, single
        )
    found = RecordedRestoration(
        tuple(states),
        trace.answer,
        trace.clean,
        trace.corrupted,
        score,
        _rows(trace, cell),
        metric=trace.metric,
    )
    return found, describe_restoration(
        found, selection, "recorded" if found.rows else "cell", single=single
    )


def _rows(trace: CausalTrace, cell: State) -> tuple[Prediction, ...]:
    """The next tokens that were recorded of a cell."""
    if cell.kind not in trace.recorded:
        return ()
    ids, probabilities = (each[cell.pos, cell.layer] for each in trace.recorded[cell.kind])
    known = {row.id: (row.clean, row.corrupted) for row in trace.baseline}
    known = {trace.answer_id: (trace.clean, trace.corrupted), **known}
    return tuple(
        Prediction(
            trace.recorded_tokens.get(token, f"[{token}]"),
            token,
            *known.get(token, (float("nan"), float("nan"))),
            restored,
        )
        for token, restored in zip(ids.tolist(), probabilities.tolist(), strict=True)
        if not np.isnan(restored)
    )
