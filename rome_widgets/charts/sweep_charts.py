"""Altair charts of a sweep: the paper's figures 2, 3 and 5, and what its averages hide.

Source:
    Meng et al. 2022, figures 2, 3, 5 and appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from rome_widgets.charts.heat_table import layers_restored
from rome_widgets.charts.offline import ConcatChart, VConcatChart
from rome_widgets.charts.palettes import ramp
from rome_widgets.charts.trace_charts import (
    BARE,
    CELL,
    EMPTY,
    INK,
    LINE,
    SHADE,
    cell_width,
    layers_axis,
    ramp_scale,
    ramps_legend,
)
from rome_widgets.errors import ArgumentError, StateError, said
from rome_widgets.records.html import plural
from rome_widgets.records.states import TITLES, Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import ROLE_TITLES, ROLES, Role, check_role
from rome_widgets.records.trace_metric import SHORT
from rome_widgets.records.trace_metric import TITLES as METRIC_TITLES

Figure = Literal["effects", "severed", "curves", "peaks"]
ROW = CELL + 4
"""Height of a role's row, pixels."""
WIDE, TALL = 210, 150
"""Pixels of a plot of curves."""
PADDING = {"left": 24, "right": 48, "top": 5, "bottom": 5}
"""Room for the words of an SVG in a font that is wider than the one it was measured in."""
WORDS_WIDE = 80
"""Characters of a line below a title: figure 3 is not wider."""
ROLE_COLOURS = ("#56b4e9", "#0072b2", "#d55e00", "#e69f00", "#999999", "#000000")
"""Of the roles, in their order; told apart by every eye (Okabe and Ito)."""
SITE_COLUMNS = ("role", "layer", "metric", "value")
SEVERED_NAMES: dict[Kind | None, str] = {
    None: "nothing severed",
    "mlp": "MLP severed",
    "attn": "attention severed",
}


def sweep_chart(
    sweep: Sweep, figure: Figure = "effects", role: Role = "last subject"
) -> alt.HConcatChart | alt.VConcatChart:
    """A figure of a sweep; see `Sweep.chart`."""
    if not isinstance(figure, str) or figure not in _FIGURES:
        raise StateError(
            f"There is no figure {said(figure)}.",
            f"Figures are {', '.join(map(repr, _FIGURES))}.",
        )
    role = check_role(role)
    if not sweep.traced:
        raise StateError(
            "No fact of this sweep was traced.",
            "One at least was wanted, to draw it.",
            "Read .facts_to_frame() for what became of each.",
        )
    return _peaks(sweep, role) if figure == "peaks" else _FIGURES[figure](sweep)


def _effects(sweep: Sweep) -> alt.HConcatChart:
    """A heat map of averages per kind, one scale for all: figure 2."""
    ends = sweep.colour_ends
    panels = [_panel(sweep, kind, ends) for kind in sweep.kinds]
    legend = ramps_legend(sweep.kinds, ends, "effect", ROW * len(ROLES))
    title = f"Average indirect effect on the {METRIC_TITLES[sweep.metric]} of the answer"
    return _beside([*panels, legend], _title(sweep, title))


def _panel(sweep: Sweep, kind: Kind, ends: tuple[float, float]) -> alt.Chart:
    averages = sweep.effects(kind)
    rows = [
        {
            "role": ROLE_TITLES[role],
            "layer": layer,
            "effect": _known(averages.mean[row, layer]),
            "interval": _known(averages.interval[row, layer]),
            "tokens": int(averages.n[row]),
        }
        for row, role in enumerate(ROLES)
        for layer in range(sweep.n_layers)
    ]
    roles = alt.Axis(labelLimit=200, **BARE) if kind == sweep.kinds[0] else None
    return (
        alt.Chart(alt.InlineData(values=rows), title=TITLES[kind])
        .mark_rect(stroke=LINE, strokeWidth=0.5)
        .encode(
            x=alt.X(
                "layer:O",
                title=layers_restored(sweep, kind),
                axis=layers_axis(sweep.n_layers),
                scale=alt.Scale(domain=list(range(sweep.n_layers))),
            ),
            y=alt.Y("role:O", title=None, sort=_ROWS, axis=roles),
            color=alt.Color("effect:Q", legend=None, scale=ramp_scale(kind, ends)),
            tooltip=[
                "role:N",
                "layer:O",
                alt.Tooltip("effect:Q", format="+.4f"),
                alt.Tooltip("interval:Q", format=".4f", title="± 95 %"),
                "tokens:Q",
            ],
        )
        .properties(
            width=cell_width(sweep.n_layers) * sweep.n_layers,
            height=ROW * len(ROLES),
            view=alt.ViewBackground(fill=EMPTY, stroke=None),
        )
    )


def _severed(sweep: Sweep) -> alt.HConcatChart:
    """Bars by layer of the effect at the subject's last token, with modules severed: figure 3."""
    found = sweep.severed_effects()
    rows = [
        {
            "graph": SEVERED_NAMES[kind],
            "layer": layer,
            "effect": float(mean),
            **_ends(mean, half),
        }
        for kind, averages in found.items()
        for layer, (mean, half) in enumerate(
            zip(averages.mean[0], averages.interval[0], strict=True)
        )
    ]
    names = [SEVERED_NAMES[kind] for kind in found]
    shades = [SHADE[kind or "hidden"] for kind in found]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("layer:O", title="layer of the restored hidden state", axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("graph:N", sort=names),
    )
    bars = base.mark_bar().encode(
        y=alt.Y("effect:Q", title="average indirect effect", axis=alt.Axis(grid=False)),
        color=alt.Color(
            "graph:N", title=None, sort=names, scale=alt.Scale(domain=names, range=shades)
        ),
        tooltip=["graph:N", "layer:O", alt.Tooltip("effect:Q", format="+.4f")],
    )
    intervals = base.mark_rule(color=INK).encode(y=alt.Y("low:Q", title=""), y2="high:Q")
    wide = max(360, 3 * 7 * sweep.n_layers)
    chart = alt.layer(bars, intervals, width=wide, height=1.4 * TALL)
    title = "Effect at the subject's last token, with modules severed"
    return _beside([chart], _title(sweep, title))


def _curves(sweep: Sweep) -> alt.HConcatChart:
    """The averages of each role over the layers, with their bands: appendix B."""
    plots = [_lines(sweep, kind) for kind in sweep.kinds]
    chart: Any = _beside(plots, _title(sweep, "Average indirect effect by layer, ± 95 %"))
    return chart.resolve_scale(y="shared", color="shared")


def _lines(sweep: Sweep, kind: Kind) -> alt.LayerChart:
    averages = sweep.effects(kind)
    rows = [
        {
            "role": ROLE_TITLES[role],
            "layer": layer,
            "effect": float(averages.mean[row, layer]),
            **_ends(averages.mean[row, layer], averages.interval[row, layer]),
        }
        for row, role in enumerate(ROLES)
        if averages.n[row]
        for layer in range(sweep.n_layers)
    ]
    first = kind == sweep.kinds[0]
    y = alt.Y("effect:Q", title="effect" if first else "", axis=alt.Axis(grid=False))
    return _banded(rows, TITLES[kind], layers_restored(sweep, kind), y)


def _banded(rows: list[dict[str, Any]], title: str, below: str, y: alt.Y) -> alt.LayerChart:
    """A line per role over its layers in a band from low to high, where these are known."""
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("layer:Q", title=below, axis=alt.Axis(tickMinStep=1, grid=False)),
        color=alt.Color(
            "role:N",
            title=None,
            sort=_ROWS,
            scale=alt.Scale(domain=_ROWS, range=list(ROLE_COLOURS)),
            legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1),
        ),
    )
    bands = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=""), y2="high:Q")
    lines = base.mark_line(point=alt.OverlayMarkDef(size=14)).encode(
        y=y, tooltip=["role:N", "layer:Q", alt.Tooltip(f"{y['shorthand']}", format=".4f")]
    )
    both: Any = alt.layer(bands, lines, title=title, width=WIDE, height=TALL)
    return both


def _peaks(sweep: Sweep, role: Role) -> alt.VConcatChart:
    """Where single facts peak: beside the averages, and over the layers of one role."""
    ends = sweep.colour_ends
    above = [_with_peaks(sweep, kind, ends) for kind in sweep.kinds]
    legend = ramps_legend(sweep.kinds, ends, "effect", ROW * len(ROLES))
    title = "Averages (colour), and where single facts peak (a circle's area: how many)"
    below = [_best_layers(sweep, kind, role) for kind in sweep.kinds]
    rows = [
        _beside([*above, legend], _title(sweep, title), alt.Undefined),
        _beside(
            below,
            _title(None, f"Best layer of each fact at the {ROLE_TITLES[role].lower()}"),
            alt.Undefined,
        ),
    ]
    return VConcatChart(vconcat=rows, spacing=24, padding=PADDING)


def _with_peaks(sweep: Sweep, kind: Kind, ends: tuple[float, float]) -> alt.LayerChart:
    rows = [
        {"role": ROLE_TITLES[ROLES[row]], "layer": int(layer), "facts": int(count)}
        for (row, layer), count in np.ndenumerate(sweep.peaks(kind))
        if count
    ]
    circles = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(color="#fff", stroke="#000", strokeWidth=1, opacity=0.9)
        .encode(
            x="layer:O",
            y=alt.Y("role:O", sort=_ROWS),
            size=alt.Size(
                "facts:Q",
                legend=None,
                scale=alt.Scale(domain=[0, len(sweep.traced)], range=[0, 300]),
            ),
            tooltip=["role:N", "layer:O", "facts:Q"],
        )
    )
    both: Any = alt.layer(_panel(sweep, kind, ends), circles)
    return both.resolve_scale(color="independent")


def _best_layers(sweep: Sweep, kind: Kind, role: Role) -> alt.LayerChart:
    """Bars of how many facts are best at each layer, and the line of the averages."""
    counts = sweep.best_layers(kind, role)
    means = sweep.effects(kind).mean[ROLES.index(role)]
    rows = [
        {"layer": layer, "facts": int(count), "effect": _known(mean)}
        for layer, (count, mean) in enumerate(zip(counts, means, strict=True))
    ]
    first, last = kind == sweep.kinds[0], kind == sweep.kinds[-1]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("layer:O", title=layers_restored(sweep, kind), axis=layers_axis(sweep.n_layers)),
        tooltip=["layer:O", "facts:Q", alt.Tooltip("effect:Q", format="+.4f")],
    )
    bars = base.mark_bar(color=ramp(kind)[4]).encode(
        y=alt.Y("facts:Q", title="facts (bars)" if first else "", axis=alt.Axis(grid=False))
    )
    line = base.mark_line(color=INK, point=alt.OverlayMarkDef(color=INK, size=18)).encode(
        y=alt.Y(
            "effect:Q", title="average effect (line)" if last else "", axis=alt.Axis(grid=False)
        )
    )
    both: Any = alt.layer(
        bars,
        line,
        title=TITLES[kind],
        width=max(120, cell_width(sweep.n_layers) * sweep.n_layers),
        height=0.6 * TALL,
    )
    return both.resolve_scale(y="independent")


def sites_chart(frame: pd.DataFrame) -> alt.HConcatChart:
    """How edits turn out by the layer and the token that are edited, a plot per metric: figure 5.

    Args:
        frame: Columns role (one of `ROLES`), layer, metric (a name), value, and if there are any
            interval, half the width of a 95 % interval of each value.

    Raises:
        ArgumentError: It has no rows, lacks a column, or names a role that there is not.

    Example:
        >>> rows = [("last subject", layer, "ES", layer / 8) for layer in range(8)]
        >>> chart = sites_chart(pd.DataFrame(rows, columns=["role", "layer", "metric", "value"]))

    Source:
        Meng et al. 2022, figure 5.
    """
    _check_sites(frame)
    columns = [*SITE_COLUMNS, *(["interval"] if "interval" in frame else [])]
    by_metric: dict[Any, list[dict[str, Any]]] = {}
    found: Any = frame[columns]
    for row in sorted(found.to_dict("records"), key=lambda row: row["layer"]):
        known = {"value": _known(row["value"]), **_ends(row["value"], row.get("interval", np.nan))}
        by_metric.setdefault(row["metric"], []).append(
            {"layer": row["layer"], "role": ROLE_TITLES[row["role"]], **known}
        )
    y = alt.Y("value:Q", title="", axis=alt.Axis(grid=False))
    plots = [
        _banded(by_metric[metric], str(metric), "edited layer", y)
        for metric in dict.fromkeys(frame["metric"])
    ]
    return _beside(plots, _title(None, "Edits by layer and token")).resolve_scale(color="shared")


def _check_sites(frame: Any) -> None:
    lacks = [name for name in SITE_COLUMNS if name not in getattr(frame, "columns", ())]
    if lacks or frame.empty:
        found = f"has no {', '.join(lacks)}" if lacks else "has no rows"
        raise ArgumentError(
            f"The table of edits {found}.",
            f"Columns {', '.join(SITE_COLUMNS)}, and perhaps interval, were wanted.",
        )
    for role in frame["role"].unique():
        if role not in ROLES:
            raise ArgumentError(
                f"The table of edits has a role {said(role)}.",
                f"Roles are {', '.join(map(repr, ROLES))}.",
            )


def _known(value: float) -> float | None:
    """As JSON has it: null where nothing is known, and a mark is left out."""
    return None if np.isnan(value) else float(value)


def _ends(mean: float, half: float) -> dict[str, float | None]:
    return {"low": _known(mean - half), "high": _known(mean + half)}


def _beside(parts: Sequence[Any], title: alt.Title, padding: Any = PADDING) -> alt.HConcatChart:
    chart: Any = ConcatChart(hconcat=list(parts), spacing=14, title=title, padding=padding)
    return chart.resolve_scale(color="independent")


def _title(sweep: Sweep | None, text: str) -> alt.Title:
    """What a figure shows; below, of what and how it was measured."""
    how = [] if sweep is None else [part for line in _how(sweep) for part in wrap(line, WORDS_WIDE)]
    look: Any = {"fontSize": 14, "subtitleColor": INK, "subtitlePadding": 4}
    return alt.Title(text, subtitle=how, anchor="start", offset=14, **look)


def _how(sweep: Sweep) -> list[str]:
    seed = "" if sweep.seed is None else f", seed {sweep.seed}"
    noise = f"noise on the subject: {sweep.noise.get('text', 'unknown')}"
    if "subject" in sweep.noise:
        noise = f"in place of the subject: “{sweep.noise['subject']}”"
    effect = f"total effect on {SHORT[sweep.metric]} {sweep.total_effect:.3f}"
    return [
        f"{sweep.model} · {plural(len(sweep.traced), 'fact')} · {effect}",
        noise,
        f"{plural(sweep.samples, 'sample')}{seed}",
    ]


_ROWS = list(ROLE_TITLES.values())
_FIGURES: dict[str, Callable[..., Any]] = {
    "effects": _effects,
    "severed": _severed,
    "curves": _curves,
    "peaks": _peaks,
}
