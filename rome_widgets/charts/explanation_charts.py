"""Altair charts of what explains a trace: the flow of a restoration and the logit lens."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt

from rome_widgets.charts.offline import LayerChart, VConcatChart
from rome_widgets.charts.palettes import ramp
from rome_widgets.charts.trace_charts import js_array
from rome_widgets.errors import StateError, said
from rome_widgets.records.explanations import Flow, Lens
from rome_widgets.records.html import label
from rome_widgets.records.states import KINDS, TITLES

Run = Literal["clean", "corrupted", "restored"]
MEASURES: dict[str, tuple[str, str]] = {
    "clean": ("written", "what each part writes"),
    "corrupted": ("corrupted", "how far the noise moved each state"),
    "restored": ("moved", "how far the restoration moved each state back"),
}
"""By run, the number of a node and what it is; all in lengths of the clean state."""
PITCH, ROW = 44, 34
"""Pixels from one layer to the next, and from one token to the next."""
INK = "#555"
SHAPES = {"hidden": "circle", "mlp": "square", "attn": "square"}


def flow_chart(flow: Flow, run: Run | None = None) -> alt.LayerChart:
    """Every state as a node, as on the explorer's page: the stronger its colour, the more.

    Attention enters its state from above, the MLP from below; ringed states were restored.

    Args:
        flow: Any flow.
        run: "clean", "corrupted" or "restored"; None: restored where something was.

    Raises:
        StateError: No such run.
    """
    if run is None:
        run = "restored" if flow.states else "corrupted"
    if not isinstance(run, str) or run not in MEASURES:
        raise StateError(
            f"There is no run {said(run)}.", f"Runs are {', '.join(map(repr, MEASURES))}."
        )
    measure, words = MEASURES[run]
    restored = set(flow.states)
    rows = [
        {
            **row,
            "x": row["layer"] + (0 if row["kind"] == "hidden" else -0.5),
            "y": row["pos"] + {"hidden": 0, "attn": -0.24, "mlp": 0.24}[row["kind"]],
            "title": TITLES[row["kind"]],
            "restored here": (row["pos"], row["layer"], row["kind"]) in restored,
            "amount": 1.0 if run == "clean" and row["kind"] == "hidden" else row[measure],
        }
        for row in flow.to_frame().to_dict("records")
    ]
    n_pos, n_layers = flow.written[flow.kinds[0]].shape
    names = [label(token) for token in flow.tokens] or [str(pos) for pos in range(n_pos)]
    kinds = [TITLES[kind] for kind in KINDS if kind in flow.kinds]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(
            "x:Q",
            title="layer",
            scale=alt.Scale(domain=[-0.75, n_layers - 0.5], nice=False),
            axis=alt.Axis(values=list(range(n_layers)), grid=False, format="d"),
        ),
        y=alt.Y(
            "y:Q",
            title=None,
            scale=alt.Scale(domain=[n_pos - 0.5, -0.5], nice=False),
            axis=alt.Axis(
                values=list(range(n_pos)), grid=False, labelExpr=f"{js_array(names)}[datum.value]"
            ),
        ),
        shape=alt.Shape(
            "title:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=[SHAPES[kind] for kind in flow.kinds]),
        ),
        tooltip=["token:N", "title:N", "layer:O", *(f"{name}:Q" for name in _NUMBERS)],
    )
    nodes = base.mark_point(filled=True, size=90).encode(
        color=alt.Color(
            "title:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=[ramp(kind)[7] for kind in flow.kinds]),
        ),
        opacity=alt.Opacity(
            "amount:Q", title="of its length", scale=alt.Scale(range=[0.05, 1], clamp=True)
        ),
    )
    rings = base.mark_point(filled=False, size=200, color="black", strokeWidth=2)
    rings = rings.transform_filter("datum['restored here']")
    return LayerChart(
        layer=[nodes, rings],
        width=PITCH * (n_layers + 1),
        height=ROW * n_pos,
        title=alt.Title(f"{run}: {words}", anchor="start", subtitle=_restored(flow.states, names)),
    )


def lens_chart(lens: Lens) -> alt.VConcatChart:
    """The likeliest token after each layer of each run, and how p(answer) and its rank develop."""
    rows = lens.to_frame().to_dict("records")
    for row in rows:
        row["shown"] = label(row["token"])
    runs = [run.name for run in lens.runs]
    data = alt.InlineData(values=rows)
    layers = alt.X("layer:O", title="after layer", axis=alt.Axis(labelAngle=0))
    # An axis title becomes part of an expression, and an answer is any text: that is in the title.
    answer = f"The likeliest next token after each layer, and p({label(lens.answer)})"
    cells = alt.Chart(data).encode(
        x=layers,
        y=alt.Y("run:N", title=None, sort=runs),
        tooltip=["run:N", "layer:O", "token:N", "p:Q", "rank:Q"],
    )
    table = alt.layer(
        cells.mark_rect(stroke="#e2e2de").encode(
            color=alt.Color(
                "p:Q",
                title="p(answer)",
                scale=alt.Scale(domain=[0, 1], range=["#ffffff", "#6baed6"], interpolate="rgb"),
            )
        ),
        cells.mark_text(fontSize=11, color=INK).encode(text="shown:N"),
    ).properties(
        width=64 * len(lens.runs[0].top),
        height=26 * len(runs),
        title=alt.Title(answer, anchor="start"),
    )
    lines = [
        alt.Chart(data)
        .mark_line(point=True)
        .encode(x=layers, y=y, color=alt.Color("run:N", title=None, sort=runs))
        .properties(width=64 * len(lens.runs[0].top), height=110)
        for y in (
            alt.Y("p:Q", title="p(answer)"),
            alt.Y("rank:Q", title="rank", scale=alt.Scale(type="log", reverse=True)),
        )
    ]
    chart: Any = VConcatChart(vconcat=[table, *lines])
    return chart.resolve_scale(color="independent")


_NUMBERS = ("written", "corrupted", "restored", "moved")


def _restored(states: Any, names: list[str]) -> str:
    said = [f"{TITLES[kind]} {layer} at {names[pos]}" for pos, layer, kind in states]
    return f"restored: {', '.join(said[:6])}{' …' if len(said) > 6 else ''}" if said else ""
