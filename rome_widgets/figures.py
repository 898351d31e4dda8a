"""Figures of a trace for papers and reports, drawn by Altair.

The widgets draw their own grid; this is for what is printed, saved or joined with other charts.
"""

from __future__ import annotations

from typing import Literal

import altair as alt
import pandas as pd

from rome_widgets.results import CausalTrace, Kind

RAMP: dict[Kind, Literal["purples", "greens", "reds"]] = {
    "hidden": "purples",
    "mlp": "greens",
    "attn": "reds",
}
"""ColorBrewer ramps of the paper's figure 1."""

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
