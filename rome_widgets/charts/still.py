"""Small pictures of results as `<img>`, for pages where no widget runs: a kilobyte or a few each.

An image carries its own ground and its own letters, is not touched by a host's style sheet, and
runs nothing. Where a chart is to be printed or joined with others, see `trace_charts`.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from rome_widgets.charts import palettes
from rome_widgets.charts.heat_table import layers_restored
from rome_widgets.records.html import label, plural, shortened, shown, visible
from rome_widgets.records.states import TITLES, Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import ROLE_TITLES, ROLES
from rome_widgets.records.trace import CausalTrace
from rome_widgets.records.trace_metric import SHORT, symbol

INK, FAINT, LINE = "#1d1d1f", "#63636b", "#d8d8d4"
_MISSING = b"\xd8\xd8\xd8"
LEVELS = 64
"""Colours of a ramp that are told apart."""
_MOST_WIDE, _MOST_TALL = 420, 900
"""Pixels of one heat map, at most."""
_BAR, _GAP = 74, 18


def trace_picture(trace: CausalTrace) -> str:
    """The heat maps of a trace on one scale, with its tokens, layers and colour bar, as `<img>`."""
    grids: dict[Kind, np.ndarray] = {kind: trace.scores[kind] for kind in trace.kinds}
    names = [
        shortened(label(token), 18) + ("*" if pos in trace.subject_positions else "")
        for pos, token in enumerate(trace.tokens)
    ]
    answer, against = (shortened(label(each), 20) for each in (trace.answer, trace.against))
    name = symbol(trace.metric, answer, against)
    bar = name if trace.metric == "probability" else SHORT[trace.metric]
    noise = f"noise on * : {trace.noise.get('text', '')}, {trace.samples} samples"
    if "subject" in trace.noise:
        noise = f"in place of * : “{visible(trace.noise['subject'])}”"
    noise += f" · {trace.model}{' · estimate' if trace.estimated else ''}"
    return _heat_maps(
        names,
        grids,
        {kind: layers_restored(trace, kind) for kind in trace.kinds},
        (bar, *trace.colour_ends),
        (
            f"{visible(trace.prompt)} → {answer}",
            f"{name}: clean {trace.clean:.3f}, corrupted {trace.corrupted:.3f} · {noise}",
        ),
        f"Causal trace of {trace.prompt!r}: {name} by token and layer",
    )


def sweep_picture(sweep: Sweep) -> str:
    """The average effects of a sweep by role and layer, one scale for all kinds, as `<img>`."""
    grids: dict[Kind, np.ndarray] = {kind: sweep.effects(kind).mean for kind in sweep.kinds}
    return _heat_maps(
        [ROLE_TITLES[role] for role in ROLES],
        grids,
        {kind: layers_restored(sweep, kind) for kind in sweep.kinds},
        ("effect", *sweep.colour_ends),
        (
            f"Average indirect effect, {plural(len(sweep.traced), 'fact')} on {sweep.model}",
            f"total effect on {SHORT[sweep.metric]} {sweep.total_effect:.3f}",
        ),
        f"Average indirect effects of {len(sweep.traced)} facts by role of the token and layer",
    )


def _heat_maps(
    names: Sequence[str],
    grids: Mapping[Kind, np.ndarray],
    captions: Mapping[Kind, str],
    scale: tuple[str, float, float],
    heads: tuple[str, str],
    said: str,
) -> str:
    """A heat map per kind, rows named on the left, and the colour bar on the right.

    Args:
        names: Of the rows.
        grids: `[row, layer]` per kind; NaN is grey.
        captions: What stands below each.
        scale: What the colours say, and the values at their two ends.
        heads: A line over the picture, and a smaller one below it.
        said: The picture in words.
    """
    bar, low, high = scale
    rows, columns = len(names), next(iter(grids.values())).shape[1]
    height = max(2, min(18, _MOST_TALL // rows))
    width = max(2, min(20, _MOST_WIDE // columns))
    left, top = 12 + 7 * max(map(len, names)), 58
    every = math.ceil(11 / height)  # Not every token has room for its name in a long prompt.
    parts = [
        _text(left - 6, top + (pos + 0.72) * height, name, min(12, max(8, height - 4)), "end")
        for pos, name in enumerate(names)
        if pos % every == 0
    ]
    x = left
    step = max(1, math.ceil(20 / width))
    for kind, grid in grids.items():
        wide, tall = width * columns, height * rows
        parts += [
            _text(x + wide / 2, top - 8, TITLES[kind], 12, "middle"),
            _image(x, top, wide, tall, grid, (kind, low, high)),
            *(
                _text(x + (layer + 0.5) * width, top + tall + 13, str(layer), 10, "middle", FAINT)
                for layer in range(0, columns, step)
            ),
            _text(x + wide / 2, top + tall + 28, captions[kind], 10, "middle", FAINT),
        ]
        x += wide + _GAP
    parts += _colour_bar(x, top, min(160, height * rows), [*grids], low, high, bar)
    total = max(x + _BAR, 420)
    fits = int(total / 6.6)
    parts += [
        _text(8, 18, shortened(heads[0], fits), 13),
        _text(8, 34, shortened(heads[1], int(fits * 1.2)), 10, "start", FAINT),
    ]
    return _picture(total, top + height * rows + 38, parts, said)


def changes_picture(rows: Sequence[dict[str, Any]]) -> str:
    """Before and after of each prompt of an edit, from a hollow dot to a full one, as `<img>`.

    Args:
        rows: Of an `EditPanel`. Those without a followed word are left out.
    """
    drawn = [(row, ends) for row in rows if (ends := _followed(row)) is not None]
    if not drawn:
        return ""
    left, wide, height = 330, 260, 20
    parts = [
        _text(left, 16, "0", 10, "middle", FAINT),
        _text(left + wide, 16, "1", 10, "middle", FAINT),
        _text(left + wide / 2, 16, "probability: ○ before, ● after", 10, "middle", FAINT),
    ]
    for at, (row, (before, after)) in enumerate(drawn):
        y = 32 + at * height
        said = f"{shortened(visible(row['text']), 40)} → {shortened(label(row['followed']), 14)}"
        ends = [left + wide * min(1.0, max(0.0, p)) for p in (before, after)]
        colour = "#1c5fc4" if after > before else "#b0480f" if after < before else FAINT
        parts += [
            _text(left - 12, y + 4, said, 11, "end"),
            f"<path d='M{left} {y}h{wide}' stroke='{LINE}'/>",
            f"<path d='M{ends[0]:.1f} {y}H{ends[1]:.1f}' stroke='{colour}' stroke-width='2'/>",
            f"<circle cx='{ends[0]:.1f}' cy='{y}' r='4' fill='#fff' stroke='{colour}'/>",
            f"<circle cx='{ends[1]:.1f}' cy='{y}' r='4' fill='{colour}' stroke='{colour}'/>",
        ]
    return _picture(left + wide + 20, 32 + height * len(drawn), parts, "Before and after the edit")


def _followed(row: dict[str, Any]) -> tuple[float, float] | None:
    """The probabilities of the word that the row follows, before and after."""
    which = "target" if row["followed"] == row["words"]["target"] else "true"
    before, after = row["before"].get(which), row["after"].get(which)
    return (before, after) if row["followed"] and None not in (before, after) else None


def _image(
    x: float, y: float, wide: float, tall: float, grid: np.ndarray, scale: tuple[str, float, float]
) -> str:
    """A grid in the colours of a ramp; `scale` is its name and the values at its two ends."""
    ramp, low, high = scale
    share = (grid - low) / (high - low) if high > low else np.zeros_like(grid)
    levels = np.clip(np.round(np.nan_to_num(share) * (LEVELS - 1)), 0, LEVELS - 1)
    levels[np.isnan(grid)] = LEVELS
    picture = _png(levels.astype(np.uint8), _palette(ramp))
    place = f"x='{x:g}' y='{y:g}' width='{wide:g}' height='{tall:g}'"
    return (
        f"<image {place} preserveAspectRatio='none' style='image-rendering:pixelated' "
        f"href='{picture}'/><rect {place} fill='none' stroke='{LINE}'/>"
    )


@cache
def _palette(ramp: str) -> bytes:
    """The colours of a ramp from low to high, and last that of what was not computed."""
    stops = [[*bytes.fromhex(colour[1:])] for colour in palettes.ramp(ramp)]
    at = np.linspace(0, len(stops) - 1, LEVELS)
    channels = [np.interp(at, range(len(stops)), channel) for channel in np.transpose(stops)]
    return np.round(np.stack(channels, -1)).astype(np.uint8).tobytes() + _MISSING


def _colour_bar(
    x: float, y: float, tall: float, kinds: Sequence[Kind], low: float, high: float, name: str
) -> list[str]:
    upwards = np.linspace(high, low, 32)[:, None]
    wide = 8
    ends = [(y + 9, high), (y + tall, low)] if high > low else [(y + 9, high)]
    return [
        _text(x, y - 8, name, 10, "start", FAINT),
        *(
            _image(x + at * wide, y, wide, tall, upwards, (kind, low, high))
            for at, kind in enumerate(kinds)
        ),
        *(
            _text(x + len(kinds) * wide + 4, at, f"{value:.2f}", 10, "start", FAINT)
            for at, value in ends
        ),
    ]


def _text(
    x: float, y: float, words: str, size: float, anchor: str = "start", colour: str = INK
) -> str:
    return (
        f"<text x='{x:g}' y='{y:g}' font-size='{size:g}' text-anchor='{anchor}' fill='{colour}'>"
        f"{shown(words)}</text>"
    )


def _picture(wide: float, tall: float, parts: Sequence[str], said: str) -> str:
    drawn = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{wide:g}' height='{tall:g}' "
        f"font-family='Helvetica Neue,Arial,sans-serif'>"
        f"<rect width='100%' height='100%' fill='#fff'/>{''.join(parts)}</svg>"
    )
    data = base64.b64encode(drawn.encode()).decode()
    return (
        f'<img alt="{shown(said)}" width="{wide:g}" height="{tall:g}" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


def _png(levels: np.ndarray, palette: bytes) -> str:
    """A grid of colour numbers as a data URI; a small one in large pixels, so that none blurs."""
    each = 8 if levels.size <= 400 else 1
    large = levels.repeat(each, 0).repeat(each, 1)
    tall, wide = large.shape
    lines = np.concatenate([np.zeros((tall, 1), np.uint8), large], 1)  # 0: no filter in any line.
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", wide, tall, 8, 3, 0, 0, 0),
        b"PLTE": palette,
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts.items()
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
