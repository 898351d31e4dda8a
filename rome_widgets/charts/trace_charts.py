"""Altair charts of a trace, for papers and reports.

The widgets draw their own grid; this is for what is printed, saved or joined with other charts.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from rome_widgets.charts.heat_table import layers_restored
from rome_widgets.charts.offline import ConcatChart, LayerChart
from rome_widgets.charts.palettes import ramp
from rome_widgets.errors import StateError
from rome_widgets.records.html import plural
from rome_widgets.records.states import KINDS, TITLES, Kind, State
from rome_widgets.records.trace import CausalTrace, recovery

SHADE: dict[Kind, str] = {kind: ramp(kind)[6] for kind in KINDS}
"""A dark step of each ramp, for lines."""

CELL = 18
"""Width and height of a cell, pixels; half as wide in a deep model."""
FEW_LAYERS = 16
"""Up to here cells are square and every layer is numbered, above every fifth."""
INK, LINE, EMPTY = "#555", "#e2e2de", "#ccc"
"""Of captions, between cells, and of what was not computed."""
BARE: Any = {"ticks": False, "domain": False, "titleFontWeight": "normal", "titleColor": INK}
"""An axis that is words and numbers alone."""


def trace_chart(trace: CausalTrace) -> alt.HConcatChart:
    """One heat map per traced kind on a common scale, from corrupted to clean, and its legend.

    Args:
        trace: Any trace; places that were not computed are grey.

    Returns:
        A chart with tooltips; `chart.save("trace.svg")` writes it.

    Source:
        Meng et al. 2022, figure 1 e-g; the scale starts at the corrupted run.
    """
    frame = trace.to_frame()
    ends = trace.colour_ends
    panels = [_panel(trace, frame.query("kind == @kind"), kind, ends) for kind in trace.kinds]
    legend = ramps_legend(trace.kinds, ends, trace.symbol, CELL * len(trace.tokens))
    return _beside([*panels, legend], trace)


def linked_trace_chart(trace: CausalTrace) -> alt.HConcatChart:
    """The same with outlined cells, the param `selected`, and a selection `pick_<kind>` a panel."""
    *panels, legend = trace_chart(trace).hconcat
    linked = [
        panel.encode(
            stroke=alt.when(_IS_SELECTED).then(alt.value("black")).otherwise(alt.value(LINE)),
            strokeWidth=alt.when(_IS_SELECTED).then(alt.value(2)).otherwise(alt.value(0.5)),
        ).add_params(_pick(kind), *_cursor_and_selected())
        for kind, panel in zip(trace.kinds, panels, strict=True)
    ]
    return _beside([*linked, legend], trace)


def _beside(parts: Sequence[Any], trace: CausalTrace) -> alt.HConcatChart:
    """One chart; made at once, since then every Altair lifts the params of the parts to it."""
    chart = ConcatChart(hconcat=list(parts), spacing=14, title=_title(trace))
    return chart.resolve_scale(color="independent")


def recovery_chart(trace: CausalTrace) -> alt.LayerChart:
    """The share of the effect that restoring each layer brings back, as lines.

    One line per kind for the subject's last token and one for the last token. A rule stands at the
    layer of the param `cursor_layer`, and the cells of the param `selected` are ringed; a click is
    the selection `pick`.

    Args:
        trace: Any trace; places that were not computed are left out.

    Raises:
        StateError: The corruption took nothing away, so there are no shares.
    """
    if math.isnan(recovery(trace.clean, trace.clean, trace.corrupted)):
        raise StateError(
            f"The corruption took nothing away: {trace.clean:.3g} → {trace.corrupted:.3g}.",
            "A total effect above 0 was wanted, to show shares of it.",
            "Use trace.chart(), which shows the scores themselves.",
        )
    places = dict.fromkeys([trace.subject_span[1] - 1, len(trace.tokens) - 1])
    rows = [
        {
            "kind": kind,
            "pos": pos,
            "token": trace.tokens[pos],
            "place": "last token" if pos == len(trace.tokens) - 1 else "last subject token",
            "layer": layer,
            "share": recovery(score, trace.clean, trace.corrupted),
        }
        for kind in trace.kinds
        for pos in places
        for layer, score in enumerate(trace.scores[kind][pos].tolist())
        if not math.isnan(score)
    ]
    lines = (
        alt.Chart(alt.InlineData(values=rows))
        .encode(
            x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, grid=False)),
            y=alt.Y("share:Q", title="share recovered", axis=alt.Axis(format="%")),
            color=alt.Color(
                "kind:N",
                title=None,
                scale=alt.Scale(domain=list(SHADE), range=list(SHADE.values())),
                legend=alt.Legend(values=list(trace.kinds)),
            ),
            tooltip=["token:N", "kind:N", "layer:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=400, height=240)
    )
    dashes = alt.StrokeDash("place:N", title=None, sort=["last subject token", "last token"])
    points = lines.mark_point(filled=True).encode(
        size=alt.when(_IS_SELECTED).then(alt.value(160)).otherwise(alt.value(30)),
    )
    layers = [{"layer": layer} for layer in range(trace.n_layers)]
    rule = (
        alt.Chart(alt.InlineData(values=layers))
        .mark_rule(color="gray")
        .encode(x="layer:Q")
        .transform_filter("datum.layer === cursor_layer")
    )
    chart: Any = LayerChart(  # Its type has the facets that `add_params` could make of it.
        layer=[
            rule,
            lines.mark_line().encode(strokeDash=dashes),
            points.add_params(_pick(None)),
        ],
        title="Estimate" if trace.estimated else "",
    )
    return chart.add_params(*_cursor_and_selected())


def place_of(cell: State) -> str:
    """A cell as the param `selected` names it."""
    return f"{cell.kind} {cell.pos} {cell.layer}"


_IS_SELECTED = "indexof(selected, datum.kind + ' ' + datum.pos + ' ' + datum.layer) >= 0"


def _cursor_and_selected() -> tuple[alt.Parameter, alt.Parameter]:
    return alt.param(name="cursor_layer", value=-1), alt.param(name="selected", value=[])


def _pick(kind: Kind | None) -> alt.Parameter:
    return alt.selection_point(
        name="pick" if kind is None else f"pick_{kind}",
        fields=["pos", "layer", "kind"],
        empty=False,
    )


def _title(trace: CausalTrace) -> alt.Title:
    """The prompt and its answer; below, how it was measured."""
    answer, noise = trace.answer.strip(), trace.noise.get("text", "unknown")
    seed = "" if trace.seed is None else f", seed {trace.seed}"
    how = f"noise on the tokens with *: {noise} · {plural(trace.samples, 'sample')}{seed}"
    if "subject" in trace.noise:
        how = f"in place of the tokens with *: “{trace.noise['subject']}”"
    # In characters: a title is not broken by itself. Beside the panels are tokens and a legend.
    ends = f"clean {trace.clean:.3g}, corrupted {trace.corrupted:.3g}"
    width = max(50, int((len(trace.kinds) * cell_width(trace.n_layers) * trace.n_layers + 100) / 6))
    return alt.Title(
        textwrap.wrap(f"{trace.prompt} → {answer}", width),
        subtitle=[
            f"{trace.model} · {trace.symbol}: {ends}",
            *textwrap.wrap("" if trace.whole is None else str(trace.whole), width),
            *textwrap.wrap(how, width),
            *textwrap.wrap(trace.why_pale, width),
        ],
        anchor="start",
        offset=14,
        fontSize=14,
        subtitleColor=INK,
        subtitlePadding=4,
    )


def cell_width(n_layers: int) -> float:
    """Pixels of a cell of a model of so many layers."""
    return CELL if n_layers <= FEW_LAYERS else CELL / 2


def layers_axis(n_layers: int) -> alt.Axis:
    """Names every layer, or every fifth of many."""
    numbered = list(range(0, n_layers, 1 if n_layers <= FEW_LAYERS else 5))
    return alt.Axis(labelAngle=0, values=numbered, **BARE)


def ramp_scale(kind: Kind, ends: tuple[float, float]) -> alt.Scale:
    """The colours of a kind between two values, as the widgets paint them."""
    colours = list(ramp(kind))
    domain = np.linspace(*ends, len(colours)).tolist()
    return alt.Scale(domain=domain, range=colours, interpolate="rgb", clamp=True)


def ramps_legend(
    kinds: Sequence[Kind], ends: tuple[float, float], title: str, height: float
) -> alt.LayerChart:
    """The ramps side by side, on one axis of what is measured."""
    low, high = ends
    axis = alt.Axis(orient="right", grid=False, tickCount=5, domain=False)
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)

    def stripe(at: int, kind: Kind) -> alt.Chart:
        places = np.linspace(0, 1, len(ramp(kind)))
        stops = [
            alt.GradientStop(color=color, offset=offset)
            for color, offset in zip(ramp(kind), places, strict=True)
        ]
        upwards = alt.Gradient(gradient="linear", stops=stops, x1=0, x2=0, y1=1, y2=0)
        return (
            alt.Chart(alt.InlineData(values=[{"low": low, "high": high, "at": at}]))
            .mark_rect(color=upwards)
            .encode(
                x=alt.X("at:O", axis=None),
                y=alt.Y("low:Q", title=None, scale=scale, axis=axis),
                y2="high:Q",
            )
        )

    chart: Any = alt.layer(  # Its type has the facets that Altair could make of it.
        *(stripe(at, kind) for at, kind in enumerate(kinds)),
        title=alt.Title(title, anchor="start", fontSize=11, fontWeight="normal", color=INK),
        width=8 * len(kinds),
        height=height,
        view=alt.ViewBackground(stroke=LINE),
    )
    return chart


def _panel(
    trace: CausalTrace, frame: pd.DataFrame, kind: Kind, ends: tuple[float, float]
) -> alt.Chart:
    """One heat map; rows are addressed by position, so that repeated tokens stay apart.

    Only the first names the tokens.
    """
    corrupted = set(trace.subject_positions)
    names = [
        token.strip() + ("*" if pos in corrupted else "") for pos, token in enumerate(trace.tokens)
    ]
    tokens = alt.Axis(labelExpr=f"{js_array(names)}[datum.value]", **BARE)
    return (
        alt.Chart(
            alt.InlineData(values=frame.to_dict("records")),
            title=TITLES[kind] + (" (estimate)" if trace.estimated else ""),
        )
        .mark_rect(stroke=LINE, strokeWidth=0.5)
        .encode(
            x=alt.X(
                "layer:O", title=layers_restored(trace, kind), axis=layers_axis(trace.n_layers)
            ).scale(domain=list(range(trace.n_layers))),
            y=alt.Y("pos:O", title=None, axis=tokens if kind == trace.kinds[0] else None).scale(
                domain=list(range(len(trace.tokens)))
            ),
            color=alt.Color("score:Q", legend=None, scale=ramp_scale(kind, ends)),
            tooltip=[
                "token:N",
                "layer:O",
                alt.Tooltip("score:Q", format=".4f"),
                alt.Tooltip("indirect_effect:Q", format="+.4f", title="indirect effect"),
            ],
        )
        .properties(
            width=cell_width(trace.n_layers) * trace.n_layers,
            height=CELL * len(trace.tokens),
            view=alt.ViewBackground(fill=EMPTY, stroke=None),
        )
    )


def js_array(texts: list[str]) -> str:
    """A Vega expression literal; every character is escaped, so a token is never code."""
    return "[" + ", ".join('"' + "".join(map(_escape, text)) + '"' for text in texts) + "]"


def _escape(char: str) -> str:
    if char.isascii() and (char.isalnum() or char in " *"):
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
