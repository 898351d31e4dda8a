"""A trace as an HTML table with inline styles, for hosts where no widget and no svg survives."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from pathlib import Path

import numpy as np

from rome_widgets.results import CausalTrace, Kind

MOST_CELLS = 1500
"""Above this the strongest states are listed instead of drawn."""
STRONGEST = 20

TITLES: dict[Kind, str] = {"hidden": "Hidden state", "mlp": "MLP", "attn": "Attention"}

_CELL = "padding:0;border:0;min-width:14px;width:20px;height:16px"
_HEAD = "padding:2px 8px 2px 0;border:0;text-align:right;font-weight:normal;white-space:nowrap"


def trace_table(trace: CausalTrace) -> str:
    """The whole trace as escaped HTML."""
    head = (
        f"<p><b>{escape(trace.prompt)}</b> → {escape(trace.answer.strip())}<br>"
        f"p({escape(trace.answer.strip())}): "
        f"clean {trace.clean:.4f}, corrupted {trace.corrupted:.4f}"
        f" · {escape(str(trace.noise.get('text', '')))}, {trace.samples} samples"
        f" · {escape(trace.model)}{' · <b>estimate</b>' if trace.estimated else ''}</p>"
    )
    cells = len(trace.kinds) * len(trace.tokens) * trace.n_layers
    body = (
        _list(trace) if cells > MOST_CELLS else "".join(_grid(trace, kind) for kind in trace.kinds)
    )
    return head + body


def strongest(trace: CausalTrace, kind: Kind) -> tuple[int, int, float] | None:
    """Position, layer and probability of the best state among the subject's tokens."""
    start, stop = trace.subject_span
    part = trace.scores[kind][start:stop]
    if part.size == 0 or np.isnan(part).all():
        return None
    pos, layer = np.unravel_index(int(np.nanargmax(part)), part.shape)
    return start + int(pos), int(layer), float(part[pos, layer])


def _grid(trace: CausalTrace, kind: Kind) -> str:
    low = trace.corrupted
    high = max(
        [
            trace.clean,
            *(float(np.nanmax(g)) for g in trace.scores.values() if not np.isnan(g).all()),
        ]
    )
    window = trace.windows.get(kind, 1)
    caption = "single restored layer" if window == 1 else f"centre of {window} restored layers"
    rows = []
    for pos, token in enumerate(trace.tokens):
        star = "*" if trace.subject_span[0] <= pos < trace.subject_span[1] else ""
        cells = "".join(
            f'<td title="{_title(trace, kind, layer, score)}"'
            f' style="{_CELL};{_fill(kind, score, low, high)}"></td>'
            for layer, score in enumerate(trace.scores[kind][pos].tolist())
        )
        rows.append(
            f'<tr><th style="{_HEAD}"><bdi>{escape(label(token))}</bdi>{star}</th>{cells}</tr>'
        )
    layers = "".join(
        f'<td style="{_CELL};text-align:center;font-size:10px">'
        f"{layer if layer % 5 == 0 else ''}</td>"
        for layer in range(trace.n_layers)
    )
    return (
        f'<table style="border-collapse:collapse;display:inline-table;margin:0 16px 8px 0">'
        f"<caption>{TITLES[kind]} · {caption}</caption>{''.join(rows)}"
        f'<tr><th style="{_HEAD}">layer</th>{layers}</tr></table>'
    )


def _title(trace: CausalTrace, kind: Kind, layer: int, score: float) -> str:
    if np.isnan(score):
        return f"{TITLES[kind]} layer {layer}: not computed"
    if trace.estimated:
        return f"{TITLES[kind]} layer {layer}: estimate ≈ {score:.2f}"
    return f"{TITLES[kind]} layer {layer}: p {score:.4f}, {score - trace.corrupted:+.4f}"


def _list(trace: CausalTrace) -> str:
    found: list[tuple[float, Kind, int, int]] = [
        (score, kind, pos, layer)
        for kind in trace.kinds
        for pos, row in enumerate(trace.scores[kind].tolist())
        for layer, score in enumerate(row)
        if not np.isnan(score)
    ]
    rows = "".join(
        f"<tr><td>{TITLES[kind]}</td><td><bdi>{escape(label(trace.tokens[pos]))}</bdi></td>"
        f"<td>{layer}</td><td>{score:.4f}</td><td>{score - trace.corrupted:+.4f}</td></tr>"
        for score, kind, pos, layer in sorted(found, reverse=True)[:STRONGEST]
    )
    return (
        f"<table><caption>The {min(STRONGEST, len(found))} strongest of {len(found)} states"
        "</caption><tr><th>kind</th><th>token</th><th>layer</th><th>p</th><th>over corrupted</th>"
        f"</tr>{rows}</table>"
    )


def label(token: str) -> str:
    """A token as a row label: leading space dropped, controls drawn, never longer than 40."""
    word = token[1:] if token.startswith(" ") and len(token) > 1 else token
    shown = "".join(
        "⏎" if c == "\n" else chr(0x2400 + ord(c)) if ord(c) < 0x20 else "␡" if c == "\x7f" else c
        for c in word
    )
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _ramp(kind: Kind) -> list[tuple[int, int, int]]:
    path = Path(__file__).parent / "palettes.json"
    anchors = json.loads(path.read_text("utf-8"))["light"][kind]
    return [(int(a[1:3], 16), int(a[3:5], 16), int(a[5:7], 16)) for a in anchors]


def _fill(kind: Kind, score: float, low: float, high: float) -> str:
    if np.isnan(score):
        return "background-color:#ddd"
    stops = _ramp(kind)
    place = min(1.0, max(0.0, (score - low) / (high - low) if high > low else 0.0)) * (
        len(stops) - 1
    )
    at = min(len(stops) - 2, int(place))
    red, green, blue = (
        round(a + (b - a) * (place - at)) for a, b in zip(stops[at], stops[at + 1], strict=True)
    )
    return f"background-color:#{red:02x}{green:02x}{blue:02x}"
