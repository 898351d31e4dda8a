"""Figures of a trace for papers and reports, drawn by Altair.

The widgets draw their own grid; this is for what is printed, saved or joined with other charts.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import altair as alt
import pandas as pd

from rome_widgets.errors import StateError
from rome_widgets.results import CausalTrace, Kind, State, recovery

RAMP: dict[Kind, Literal["purples", "greens", "reds"]] = {
    "hidden": "purples",
    "mlp": "greens",
    "attn": "reds",
}
"""ColorBrewer ramps of the paper's figure 1."""

SHADE: dict[Kind, str] = {"hidden": "#6a51a3", "mlp": "#238b45", "attn": "#cb181d"}
"""A dark step of each ramp, for lines."""

TITLE: dict[Kind, str] = {"hidden": "Hidden state", "mlp": "MLP", "attn": "Attention"}


def trace_chart(trace: CausalTrace) -> alt.HConcatChart:
    """One heat map per traced kind on a common scale, from corrupted to clean.

    Args:
        trace: Any trace; places that were not computed stay empty.

    Returns:
        A chart with tooltips; `chart.save("trace.svg")` writes it.

    Source:
        Meng et al. 2022, figure 1 e-g; the scale starts at the corrupted run's probability.
    """
    frame = trace.to_frame()
    highest = max(trace.clean, trace.corrupted, frame["score"].max())
    scale = {"domain": [trace.corrupted, highest], "clamp": True}
    panels = [_panel(trace, frame.query("kind == @kind"), kind, scale) for kind in trace.kinds]
    # Room on the right, or the title of the last legend is cut off.
    room = {"left": 5, "top": 5, "right": 40, "bottom": 5}
    return alt.hconcat(*panels, padding=room).resolve_scale(color="independent")


def linked_trace_chart(trace: CausalTrace) -> alt.HConcatChart:
    """The same with outlined cells, the param `selected`, and a selection `pick_<kind>` a panel."""
    chart = trace_chart(trace)
    chart.hconcat = [
        panel.encode(
            stroke=alt.when(_IS_SELECTED).then(alt.value("black")).otherwise(alt.value(None)),
            strokeWidth=alt.value(2),
        ).add_params(_pick(kind))
        for kind, panel in zip(trace.kinds, chart.hconcat, strict=True)
    ]
    return chart.add_params(*_cursor_and_selected())


def recovery_chart(trace: CausalTrace) -> alt.LayerChart:
    """The share of the answer that restoring each layer brings back, as lines.

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
            "Use trace.chart(), which shows probabilities.",
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
    chart: Any = alt.layer(  # Its type has the facets that `add_params` could make of it.
        rule,
        lines.mark_line().encode(strokeDash=dashes),
        points.add_params(_pick(None)),
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


def _panel(trace: CausalTrace, frame: pd.DataFrame, kind: Kind, scale: dict) -> alt.Chart:
    """One heat map; rows are addressed by position, so that repeated tokens stay apart."""
    start, stop = trace.subject_span
    names = [
        token.strip() + ("*" if start <= pos < stop else "")
        for pos, token in enumerate(trace.tokens)
    ]
    return (
        alt.Chart(
            alt.InlineData(values=frame.to_dict("records")),
            title=TITLE[kind] + (" (estimate)" if trace.estimated else ""),
        )
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title=_caption(trace, kind), axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "pos:O",
                title=None,
                axis=alt.Axis(labelExpr=f"{_js_array(names)}[datum.value]", ticks=False),
            ),
            color=alt.Color(
                "score:Q",
                title=f"p({trace.answer.strip()})",
                scale=alt.Scale(scheme=RAMP[kind], **scale),
            ),
            tooltip=[
                alt.Tooltip("token:N"),
                alt.Tooltip("layer:O"),
                alt.Tooltip("score:Q", format=".4f"),
                alt.Tooltip("indirect_effect:Q", format="+.4f", title="indirect effect"),
            ],
        )
        .properties(width=18 * trace.n_layers, height=18 * len(trace.tokens))
    )


def _caption(trace: CausalTrace, kind: Kind) -> str:
    if kind == "hidden":
        return "single restored layer"
    return f"centre of {trace.windows[kind]} restored layers"


def _js_array(texts: list[str]) -> str:
    """A Vega expression literal; every character is escaped, so a token is never code."""
    return "[" + ", ".join('"' + "".join(map(_escape, text)) + '"' for text in texts) + "]"


def _escape(char: str) -> str:
    if char.isascii() and (char.isalnum() or char in " *"):
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
