"""An Altair chart that follows a grid, and that a grid follows.

Outlined cells and the rule at a layer are params of the chart, set when the grid's selection or
cursor changes; a click on the chart is a selection of Vega, and becomes the grid's. Neither answers
its own change: Vega keeps its selection, and the params are not selections.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import altair as alt

from rome_widgets.charts.offline import to_svg
from rome_widgets.charts.trace_charts import linked_trace_chart, place_of, recovery_chart
from rome_widgets.errors import MissingExtra, StateError, said
from rome_widgets.records.states import State
from rome_widgets.records.trace import CausalTrace

if TYPE_CHECKING:
    from rome_widgets.widgets.trace.trace_grid import TraceGrid

Figure = Literal["trace", "recovery"]
_FIGURES = {"trace": linked_trace_chart, "recovery": recovery_chart}


def linked_chart(grid: TraceGrid, figure: Figure) -> alt.JupyterChart:
    """A chart of the trace on screen; see `TraceGrid.linked_chart`."""
    if not isinstance(figure, str) or figure not in _FIGURES:
        raise StateError(
            f"There is no chart {said(figure)}.", f"{' or '.join(map(repr, _FIGURES))} was wanted."
        )
    trace = grid._traced("draw it")
    try:
        alt.JupyterChart.enable_offline()
    except ImportError:
        raise MissingExtra.drawing() from None
    chart = LinkedChart(_FIGURES[figure](trace))
    _Link(grid, trace, chart)
    return chart


class LinkedChart(alt.JupyterChart):
    """A chart that is a widget, with its picture beside it for where no widget runs."""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        made = super()._repr_mimebundle_(**kwargs)
        if made is None:
            return None
        data, metadata = made
        chart: Any = self.chart
        return {**data, "image/svg+xml": to_svg(chart)}, metadata


class _Link:
    """Ties a grid and a chart of one of its traces, until either is closed.

    Held by the observers alone, and holding neither widget.
    """

    def __init__(self, grid: TraceGrid, trace: CausalTrace, chart: alt.JupyterChart) -> None:
        self._grid, self._chart = weakref.ref(grid), weakref.ref(chart)
        self._words = _words(trace)
        self._observed: list[tuple[weakref.ref[Any], Any, list[str]]] = []
        self._observe(grid, self._mark, ["selection", "cursor"])
        self._observe(chart.selections, self._select, list(chart.selections.trait_names()))
        for widget in (grid, chart):
            self._observe(widget, self._end_if_closed, ["comm"])
        self._mark()

    def _observe(self, owner: Any, handler: Any, names: list[str]) -> None:
        owner.observe(handler, names)
        self._observed.append((weakref.ref(owner), handler, names))

    def _mark(self, change: Any = None) -> None:
        """Show the grid's selection and cursor in the chart."""
        grid, chart = self._both()
        if grid is not None and chart is not None:
            selection: Any = grid.selection
            cells = [State(*cell) for cell in selection]
            at = grid.cursor or (cells[-1] if cells else None)
            params: Any = chart.params
            params.selected = [place_of(cell) for cell in cells]
            params.cursor_layer = -1 if at is None else at[1]

    def _select(self, change: Any) -> None:
        """Make the points picked in the chart the grid's selection."""
        grid, _ = self._both()
        if grid is not None and change["new"].value:
            points = change["new"].value
            grid.selection = [(int(p["pos"]), int(p["layer"]), p["kind"]) for p in points]

    def _both(self) -> tuple[TraceGrid | None, alt.JupyterChart | None]:
        """The widgets; none while the grid shows another prompt than the chart."""
        grid, chart = self._grid(), self._chart()
        shown = None if grid is None else grid._arriving
        if shown is None or _words(shown) != self._words:
            return None, None
        return grid, chart

    def _end_if_closed(self, change: Any) -> None:
        if change["new"] is None:
            for reference, handler, names in self._observed:
                if (owner := reference()) is not None:
                    with suppress(ValueError):  # Somebody called `unobserve_all`.
                        owner.unobserve(handler, names)
            self._observed = []


def _words(trace: CausalTrace) -> tuple[Any, ...]:
    return trace.token_ids, trace.n_layers, trace.kinds
