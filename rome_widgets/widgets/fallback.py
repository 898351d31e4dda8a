"""Results as text and HTML tables with inline styles, for hosts where no widget survives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

import numpy as np

from rome_widgets.charts import palettes
from rome_widgets.records.states import Kind
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets.live.traits import text
from rome_widgets.widgets.trace.before_after import NAMES, Words, change, largest_change

MOST_CELLS = 1500
"""Above this the strongest states are listed instead of drawn."""
STRONGEST = 20

TITLES: dict[Kind, str] = {"hidden": "Hidden state", "mlp": "MLP", "attn": "Attention"}

_UNSEEN = re.compile(
    "[\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]"
)

_CELL = "padding:0;border:0;min-width:14px;width:20px;height:16px"
_HEAD = "padding:2px 8px 2px 0;border:0;text-align:right;font-weight:normal;white-space:nowrap"


def trace_table(trace: CausalTrace) -> str:
    """The whole trace as escaped HTML."""
    head = (
        f"<p><b>{shown(trace.prompt)}</b> → {shown(trace.answer.strip())}<br>"
        f"p({shown(trace.answer.strip())}): "
        f"clean {trace.clean:.4f}, corrupted {trace.corrupted:.4f}"
        f" · {shown(str(trace.noise.get('text', '')))}, {trace.samples} samples"
        f" · {shown(trace.model)}{' · <b>estimate</b>' if trace.estimated else ''}</p>"
    )
    cells = len(trace.kinds) * len(trace.tokens) * trace.n_layers
    body = (
        _list(trace) if cells > MOST_CELLS else "".join(_grid(trace, kind) for kind in trace.kinds)
    )
    return head + body


def comparison_table(
    before: CausalTrace, after: CausalTrace, words: Words, names: Sequence[str] = NAMES
) -> str:
    """Two traces of one prompt and their difference as escaped HTML."""
    both = "".join(
        f"<p><b>{_said(side, said)}</b></p>{trace_table(trace)}"
        for side, said, trace in zip(names, words, (before, after), strict=True)
    )
    changes: dict[Kind, np.ndarray] = {k: change(before, after, k) for k in after.kinds}
    if sum(grid.size for grid in changes.values()) > MOST_CELLS:
        return both + _list_changes(before, after, changes, names)
    most = largest_change(before, after)
    scale = abs(most[3]) if most else 0.0
    grids = "".join(
        _draw(
            after,
            kind,
            grid,
            ("change", -scale, scale),
            _change_titles(before, after, kind, names),
        )
        for kind, grid in changes.items()
    )
    return f"{both}<p><b>Difference: {names[1]} − {names[0]}</b>, at most ±{scale:.4f}</p>{grids}"


def _said(name: str, words: str) -> str:
    return shown(f"{name.capitalize()}: {words}" if words else name.capitalize())


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
    titles = [
        [_title(trace, kind, layer, score) for layer, score in enumerate(row)]
        for row in trace.scores[kind].tolist()
    ]
    return _draw(trace, kind, trace.scores[kind], (kind, low, high), titles)


def _draw(
    trace: CausalTrace,
    kind: Kind,
    grid: np.ndarray,
    scale: tuple[str, float, float],
    titles: list[list[str]],
) -> str:
    """A grid as a table of coloured cells; `scale` is the ramp with its ends."""
    window = trace.windows.get(kind, 1)
    caption = "single restored layer" if window == 1 else f"centre of {window} restored layers"
    rows = []
    for pos, token in enumerate(trace.tokens):
        star = "*" if trace.subject_span[0] <= pos < trace.subject_span[1] else ""
        cells = "".join(
            f'<td title="{titles[pos][layer]}" style="{_CELL};{_fill(score, *scale)}"></td>'
            for layer, score in enumerate(grid[pos].tolist())
        )
        rows.append(
            f'<tr><th style="{_HEAD}"><bdi>{shown(label(token))}</bdi>{star}</th>{cells}</tr>'
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


def _change_titles(
    before: CausalTrace, after: CausalTrace, kind: Kind, names: Sequence[str]
) -> list[list[str]]:
    was, now, change_of = before.scores[kind], after.scores[kind], change(before, after, kind)
    return [
        [
            f"{TITLES[kind]} layer {layer}: not computed"
            if np.isnan(change_of[pos, layer])
            else f"{TITLES[kind]} layer {layer}: {names[0]} {was[pos, layer]:.4f}, "
            f"{names[1]} {now[pos, layer]:.4f}, {change_of[pos, layer]:+.4f}"
            for layer in range(after.n_layers)
        ]
        for pos in range(len(after.tokens))
    ]


def _list_changes(
    before: CausalTrace,
    after: CausalTrace,
    changes: Mapping[Kind, np.ndarray],
    names: Sequence[str],
) -> str:
    found: list[tuple[float, Kind, int, int]] = [
        (abs(float(size)), kind, pos, layer)
        for kind, grid in changes.items()
        for (pos, layer), size in np.ndenumerate(grid)
        if not np.isnan(size)
    ]
    rows = [
        [
            TITLES[kind],
            label(after.tokens[pos]),
            str(layer),
            f"{before.scores[kind][pos, layer]:.4f}",
            f"{after.scores[kind][pos, layer]:.4f}",
            f"{changes[kind][pos, layer]:+.4f}",
        ]
        for _, kind, pos, layer in sorted(found, reverse=True)[:STRONGEST]
    ]
    caption = f"The {len(rows)} largest of {len(found)} differences, {names[1]} − {names[0]}"
    return _table(caption, ["kind", "token", "layer", *names, "difference"], rows)


def _list(trace: CausalTrace) -> str:
    found: list[tuple[float, Kind, int, int]] = [
        (score, kind, pos, layer)
        for kind in trace.kinds
        for pos, row in enumerate(trace.scores[kind].tolist())
        for layer, score in enumerate(row)
        if not np.isnan(score)
    ]
    rows = "".join(
        f"<tr><td>{TITLES[kind]}</td><td><bdi>{shown(label(trace.tokens[pos]))}</bdi></td>"
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
    word = visible(token[1:] if token.startswith(" ") and len(token) > 1 else token)
    return word if len(word) <= 40 else f"{word[:39]}…"


def shown(words: str) -> str:
    """Words as HTML that shows them as they are."""
    return escape(visible(words))


def visible(words: str) -> str:
    """Words with what would not be seen, or would move others, written out, as the page does."""
    return text(_UNSEEN.sub(lambda found: _picture(found[0]), words))


def _picture(character: str) -> str:
    known = {"\n": "⏎", "\t": "⇥", "\x7f": "␡"}
    code = ord(character)
    return known.get(character) or (chr(0x2400 + code) if code < 0x20 else f"⟨{code:04X}⟩")


@cache
def _ramp(name: str) -> list[tuple[int, int, int]]:
    return [(int(a[1:3], 16), int(a[3:5], 16), int(a[5:7], 16)) for a in palettes.ramp(name)]


def _fill(score: float, ramp: str, low: float, high: float) -> str:
    if np.isnan(score):
        return "background-color:#ddd"
    stops = _ramp(ramp)
    place = min(1.0, max(0.0, (score - low) / (high - low) if high > low else 0.0)) * (
        len(stops) - 1
    )
    at = min(len(stops) - 2, int(place))
    red, green, blue = (
        round(a + (b - a) * (place - at)) for a, b in zip(stops[at], stops[at + 1], strict=True)
    )
    return f"background-color:#{red:02x}{green:02x}{blue:02x}"


# Edits, predictions and generations arrive as the plain data of their widgets' traits.

_LEFT = "text-align:left;padding:1px 10px 1px 0"
ARROWS = {1: "▲", -1: "▼", 0: "·"}


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign and an arrow: `+0.376 ▲`, `−0.170 ▼`."""
    if value is None:
        return "–"
    size = f"{abs(value):.{digits}f}"
    way = 0 if float(size) == 0 else 1 if value > 0 else -1
    return f"{'−' if way < 0 else '+' if way else ''}{size} {ARROWS[way]}"


def weights_match(ledger: dict[str, Any]) -> str:
    """Whether the weights are what the history says, in words."""
    known: dict[Any, str] = {True: "weights match ✓", False: "weights do not match ✗"}
    return known.get(ledger.get("fingerprint_ok"), "weights not checked")


def edits_text(
    name: str, edits: Sequence[dict], rows: Sequence[dict], ledger: dict[str, Any]
) -> str:
    """History and predictions, line by line."""
    if not edits:
        return f"{name}: no edits yet"
    lines = [f"{name}: {_count(ledger.get('n_active', 0), 'active edit')}, {weights_match(ledger)}"]
    lines += [f"  {' '.join(_edit_cells(edit))}" for edit in edits]
    lines += [f"  {' | '.join(_change_cells(row))}" for row in rows]
    return "\n".join(lines)


def edits_table(
    model: str, edits: Sequence[dict], rows: Sequence[dict], ledger: dict[str, Any]
) -> str:
    """History and predictions as two tables."""
    if not edits:
        return "<p>No edits yet.</p>"
    active = ledger.get("n_active", 0)
    head = f"<p><b>{shown(model)}</b> · {'EDITED · ' if active else ''}"
    head += f"{_count(active, 'active edit')} · {weights_match(ledger)}</p>"
    columns = ["", "edit", "layer", "‖Δ‖/‖W‖", "scores"]
    history = _table("Edits", columns, map(_edit_cells, edits))
    if not rows:
        return head + history
    columns = ["kind", "prompt", "before", "after", "Δ", ""]
    return head + history + _table("Before and after", columns, map(_change_cells, rows))


def _edit_cells(edit: dict) -> list[str]:
    request = edit["request"]
    strength = "" if edit["strength"] == 1 else f" × {edit['strength']:.2f}"
    scores = [f"{name} {value:.2f}" for name, value in edit["scores"].items() if value is not None]
    return [
        f"applied{strength}" if edit["applied"] else "reverted",
        f"{request['template'].replace('{}', request['subject'], 1)} → {request['target']}",
        f"layer {edit['layer']}",
        "–" if edit["norm_ratio"] is None else f"{edit['norm_ratio']:.3f}",
        ", ".join(scores),
    ]


def _change_cells(row: dict) -> list[str]:
    if row["message"]:
        return [row["group"], row["text"], "", "", "", row["message"]]
    return [
        row["group"],
        row["text"],
        *(_outcome(row[side]) for side in ("before", "after")),
        f"p({row['followed'].strip()}) {signed(row['delta'])}" if row["followed"] else "",
        row["verdict"],
    ]


def _outcome(outcome: dict) -> str:
    probability = outcome["probability"]
    return f"{label(outcome['token'])} {'–' if probability is None else f'{probability:.3f}'}"


def predictions_text(name: str, runs: Sequence[str], rows: Sequence[dict]) -> str:
    """Tokens with their probability in each run."""
    if not rows:
        return f"{name}: nothing to compare yet"
    lines = [
        f"  {label(row['token'])!r}: "
        + ", ".join(f"{run} {_p(p)}" for run, p in zip(runs, row["probs"], strict=True))
        for row in rows
    ]
    return "\n".join([f"{name}: {', '.join(runs)}", *lines])


def predictions_table(runs: Sequence[str], rows: Sequence[dict], baseline: int) -> str:
    """Tokens by runs, each with its rank, and the difference to the baseline."""
    if not rows:
        return "<p>Nothing to compare yet.</p>"
    columns = ["next token"]
    for at, run in enumerate(runs):
        columns += [run] if at == baseline else [run, "Δ"]
    return _table("Predictions", columns, (_prediction_cells(row, baseline) for row in rows))


def _prediction_cells(row: dict, baseline: int) -> list[str]:
    cells = [label(row["token"])]
    base = row["probs"][baseline]
    for at, (p, rank) in enumerate(zip(row["probs"], row["ranks"], strict=True)):
        cells.append(f"{_p(p)}{'' if rank is None else f' (rank {rank})'}")
        if at != baseline:
            cells.append(signed(None if p is None or base is None else p - base))
    return cells


def generations_text(name: str, columns: Sequence[str], rows: Sequence[dict]) -> str:
    """Prompts and what follows them."""
    lines = [f"{name}: {_count(len(rows), 'prompt')}"]
    for row in rows:
        lines.append(f"  {row['prompt']}")
        lines += [
            f"    {column}:{''.join(piece for _, piece in spans)}"
            for column, spans in zip(columns, row["spans"], strict=True)
        ]
    return "\n".join(lines)


def generations_table(columns: Sequence[str], rows: Sequence[dict]) -> str:
    """Prompts by columns; words that differ are bold and underlined."""
    head = "".join(f'<th style="{_LEFT}">{shown(each)}</th>' for each in ["prompt", *columns])
    body = "".join(
        f'<tr><td style="{_LEFT}">{shown(row["prompt"])}</td>'
        + "".join(f'<td style="{_LEFT}">{_spans(spans)}</td>' for spans in row["spans"])
        + "</tr>"
        for row in rows
    )
    return f"<table><caption>Generations</caption><tr>{head}</tr>{body}</table>"


def _spans(spans: Sequence[Sequence]) -> str:
    return "".join(
        f'<b style="text-decoration:underline">{shown(piece)}</b>' if differs else shown(piece)
        for differs, piece in spans
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th style="{_LEFT}">{shown(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_LEFT}">{shown(cell)}</td>' for cell in cells) + "</tr>"
        for cells in rows
    )
    return f"<table><caption>{shown(caption)}</caption><tr>{head}</tr>{body}</table>"


def _p(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.3f}"


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
