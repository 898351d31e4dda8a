"""Heat maps as HTML tables of coloured cells, for hosts that draw nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from rome_widgets.charts import palettes
from rome_widgets.records.html import label, paragraph, shown, table
from rome_widgets.records.states import TITLES, Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.trace import CausalTrace
from rome_widgets.records.trace_metric import SHORT

MOST_CELLS = 1500
"""Above this the strongest states are listed instead of drawn."""
STRONGEST = 20

_CELL = "padding:0;border:0;min-width:14px;width:20px;height:16px"
_HEAD = "padding:2px 8px 2px 0;border:0;text-align:right;font-weight:normal;white-space:nowrap"


def trace_table(trace: CausalTrace) -> str:
    """The whole trace: what was run, and a heat map per kind, or a list where that is too much."""
    pale = paragraph(trace.why_pale) if trace.why_pale else ""
    if len(trace.kinds) * len(trace.tokens) * trace.n_layers > MOST_CELLS:
        return trace_head(trace) + strongest_states(trace) + pale
    grids = "".join(_scores(trace, kind, trace.colour_ends) for kind in trace.kinds)
    return trace_head(trace) + grids + pale


def trace_head(trace: CausalTrace) -> str:
    """What was run, in a paragraph."""
    ends = f"clean {trace.clean:.4f}, corrupted {trace.corrupted:.4f}"
    samples = "" if "subject" in trace.noise else f", {trace.samples} samples"
    return (
        f"<p><b>{shown(trace.prompt)}</b> → {shown(trace.answer.strip())}<br>"
        f"{shown(trace.symbol)}: {ends}{_whole(trace)}"
        f" · {shown(str(trace.noise.get('text', '')))}{samples}"
        f" · {shown(trace.model)}{' · <b>estimate</b>' if trace.estimated else ''}</p>"
    )


def _whole(trace: CausalTrace) -> str:
    """What there is to say of an answer of several tokens, of which the rest is the first's."""
    return "" if trace.whole is None else f"<br>{shown(str(trace.whole))}"


def _scores(trace: CausalTrace, kind: Kind, ends: tuple[float, float]) -> str:
    grid = trace.scores[kind]
    titles = [[_title(trace, kind, *cell) for cell in enumerate(row)] for row in grid.tolist()]
    return trace_heat_map(trace, kind, grid, (kind, *ends), titles)


def trace_heat_map(
    trace: CausalTrace,
    kind: Kind,
    grid: np.ndarray,
    scale: tuple[str, float, float],
    titles: Sequence[Sequence[str]],
) -> str:
    """The heat map of one kind; a star marks the tokens of the subject. See `heat_map`."""
    caption = f"{TITLES[kind]} · {layers_restored(trace, kind)}"
    return heat_map(caption, trace.tokens, grid, scale, titles, trace.subject_positions)


def layers_restored(trace: CausalTrace | Sweep, kind: Kind) -> str:
    """What a cell of the kind restores, in words."""
    window = trace.windows.get(kind, 1)
    return "single restored layer" if window == 1 else f"centre of {window} restored layers"


def heat_map(
    caption: str,
    tokens: Sequence[str],
    grid: np.ndarray,
    scale: tuple[str, float, float],
    titles: Sequence[Sequence[str]],
    starred: Sequence[int] = (),
) -> str:
    """A grid as a table of coloured cells.

    Args:
        caption: What the cells show.
        tokens: The names of the rows.
        grid: `[pos, layer]`; NaN is grey.
        scale: Name of a ramp, and the values at its two ends.
        titles: By position and layer, what a cell says when it is pointed at.
        starred: Rows marked with a star.
    """
    rows = []
    for pos, token in enumerate(tokens):
        cells = "".join(
            f'<td title="{shown(title)}" style="{_CELL};{_fill(value, *scale)}"></td>'
            for title, value in zip(titles[pos], grid[pos].tolist(), strict=True)
        )
        star = "*" if pos in starred else ""
        rows.append(
            f'<tr><th style="{_HEAD}"><bdi>{shown(label(token))}</bdi>{star}</th>{cells}</tr>'
        )
    layers = "".join(
        f'<td style="{_CELL};text-align:center;font-size:10px">'
        f"{layer if layer % 5 == 0 else ''}</td>"
        for layer in range(grid.shape[1])
    )
    return (
        f'<table style="border-collapse:collapse;display:inline-table;margin:0 16px 8px 0">'
        f"<caption>{shown(caption)}</caption>{''.join(rows)}"
        f'<tr><th style="{_HEAD}">layer</th>{layers}</tr></table>'
    )


def _title(trace: CausalTrace, kind: Kind, layer: int, score: float) -> str:
    if np.isnan(score):
        return f"{TITLES[kind]} layer {layer}: not computed"
    if trace.estimated:
        return f"{TITLES[kind]} layer {layer}: estimate ≈ {score:.2f}"
    name = SHORT[trace.metric]
    return f"{TITLES[kind]} layer {layer}: {name} {score:.4f}, {score - trace.corrupted:+.4f}"


def strongest_states(trace: CausalTrace) -> str:
    """The states that bring most back, as a table."""
    found: list[tuple[float, Kind, int, int]] = [
        (float(score), kind, pos, layer)
        for kind in trace.kinds
        for (pos, layer), score in np.ndenumerate(trace.scores[kind])
        if not np.isnan(score)
    ]
    rows = [
        [TITLES[kind], label(trace.tokens[pos]), layer, score, f"{score - trace.corrupted:+.4f}"]
        for score, kind, pos, layer in sorted(found, reverse=True)[:STRONGEST]
    ]
    caption = f"The {len(rows)} strongest of {len(found)} states"
    name = SHORT[trace.metric]
    return table(rows, ["kind", "token", "layer", name, "over corrupted"], caption)


@cache
def _channels(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Places of a ramp's colours, in [0, 1], and their red, green and blue."""
    colours = [[*bytes.fromhex(colour[1:])] for colour in palettes.ramp(name)]
    return np.linspace(0, 1, len(colours)), np.transpose(colours)


def _fill(score: float, ramp: str, low: float, high: float) -> str:
    if np.isnan(score):
        return "background-color:rgba(128,128,128,.3)"
    places, channels = _channels(ramp)
    place = (score - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(float(np.interp(place, places, channel))) for channel in channels)
    return f"background-color:#{red:02x}{green:02x}{blue:02x}"
