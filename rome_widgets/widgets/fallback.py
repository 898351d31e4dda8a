"""Results as text and HTML tables with inline styles, for hosts where no widget survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rome_widgets.charts.heat_table import (
    MOST_CELLS,
    STRONGEST,
    heat_map,
    layers_restored,
    strongest_states,
    trace_head,
    trace_heat_map,
    trace_table,
)
from rome_widgets.charts.still import changes_picture, sweep_picture, trace_picture
from rome_widgets.records.explanations import Heads
from rome_widgets.records.html import label, paragraph, plural, shown, table
from rome_widgets.records.states import TITLES, Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import ROLE_TITLES, ROLES, SweptFact
from rome_widgets.records.trace import CausalTrace
from rome_widgets.records.trace_metric import LEAST_RANGE
from rome_widgets.widgets.trace.comparison import TraceComparison


def still_trace(trace: CausalTrace) -> str:
    """A trace as a picture and its strongest states: small, whatever its size."""
    pale = paragraph(trace.why_pale) if trace.why_pale else ""
    return trace_head(trace) + trace_picture(trace) + pale + strongest_states(trace)


def heads_table(heads: Heads | None) -> str:
    """What each head brings back, where some are open."""
    return "" if heads is None else heads._repr_html_()


def still_comparison(compared: TraceComparison, after: CausalTrace) -> str:
    """Two traces of one prompt as pictures, and where they differ most."""
    both = _each_side(compared, after, trace_picture)
    return trace_head(after) + both + _list_changes(compared, after)


def comparison_table(compared: TraceComparison, after: CausalTrace) -> str:
    """Two traces of one prompt and their difference as escaped HTML."""
    both = _each_side(compared, after, trace_table)
    changes = compared.changes
    if sum(grid.size for grid in changes.values()) > MOST_CELLS:
        return both + _list_changes(compared, after)
    most = compared.largest_change
    largest = abs(most[1]) if most else 0.0
    scale = max(LEAST_RANGE[after.metric], largest)
    colours = ("change", -scale, scale)
    grids = "".join(
        trace_heat_map(after, kind, grid, colours, _change_titles(compared, after, kind))
        for kind, grid in changes.items()
    )
    was, now = compared.names
    return f"{both}<p><b>Difference: {now} − {was}</b>, at most ±{largest:.4f}</p>{grids}"


def _each_side(
    compared: TraceComparison, after: CausalTrace, draw: Callable[[CausalTrace], str]
) -> str:
    """Both traces, each under its name and what is said of it."""
    sides = zip(compared.names, compared.words, (compared.before, after), strict=True)
    return "".join(
        f"<p><b>{shown(': '.join(filter(None, [name.capitalize(), said])))}</b></p>{draw(trace)}"
        for name, said, trace in sides
    )


def _change_titles(compared: TraceComparison, after: CausalTrace, kind: Kind) -> list[list[str]]:
    before, change = compared.before.scores[kind], compared.changes[kind]
    was, now = compared.names
    return [
        [
            f"{TITLES[kind]} layer {layer}: not computed"
            if np.isnan(change[pos, layer])
            else f"{TITLES[kind]} layer {layer}: {was} {before[pos, layer]:.4f}, "
            f"{now} {after.scores[kind][pos, layer]:.4f}, {change[pos, layer]:+.4f}"
            for layer in range(after.n_layers)
        ]
        for pos in range(len(after.tokens))
    ]


def _list_changes(compared: TraceComparison, after: CausalTrace) -> str:
    found: list[tuple[float, Kind, tuple[int, ...]]] = [
        (float(size), kind, place)
        for kind, grid in compared.changes.items()
        for place, size in np.ndenumerate(grid)
        if not np.isnan(size)
    ]
    found.sort(key=lambda each: (abs(each[0]), *each[1:]), reverse=True)
    rows = [
        [
            TITLES[kind],
            label(after.tokens[place[0]]),
            place[1],
            float(compared.before.scores[kind][place]),
            float(after.scores[kind][place]),
            f"{size:+.4f}",
        ]
        for size, kind, place in found[:STRONGEST]
    ]
    was, now = compared.names
    caption = f"The {len(rows)} largest of {len(found)} differences, {now} − {was}"
    return table(rows, ["kind", "token", "layer", was, now, "difference"], caption)


def still_sweep(sweep: Sweep) -> str:
    """The averages of a sweep as a picture, and what was not traced: small, whatever its size."""
    return sweep_head(sweep) + (sweep_picture(sweep) if sweep.traced else "")


def sweep_head(sweep: Sweep) -> str:
    """How many facts were traced, and how many were not, in a paragraph."""
    left = [(sweep.unknown, "not known to the model"), (sweep.failed, "failed")]
    out = "".join(f", {len(some)} {why}" for some, why in left if some)
    traced = plural(len(sweep.traced), "fact")
    return f"<p><b>{shown(sweep.model)}</b> · {traced} traced{out}</p>"


def sweep_table(sweep: Sweep) -> str:
    """The averages of each kind as a table of coloured cells, roles by layers."""
    if not sweep.traced:
        return sweep_head(sweep)
    return sweep_head(sweep) + "".join(_averages(sweep, kind) for kind in sweep.kinds)


def _averages(sweep: Sweep, kind: Kind) -> str:
    found = sweep.effects(kind)
    names = [ROLE_TITLES[role] for role in ROLES]
    titles = [
        [
            f"{name}, layer {layer}: {found.at(row, layer):+.4f}"
            if found.n[row]
            else f"{name}: none of these"
            for layer in range(sweep.n_layers)
        ]
        for row, name in enumerate(names)
    ]
    caption = f"{TITLES[kind]} · {layers_restored(sweep, kind)}"
    return heat_map(caption, names, found.mean, (kind, *sweep.colour_ends), titles)


def facts_table(
    found: Sequence[tuple[SweptFact, float]], n_all: int, cell: str, selected: SweptFact | None
) -> str:
    """The facts with the greatest effects at a cell; the selected one is marked."""
    rows = [
        [fact.prompt + ("  ←" if fact is selected else ""), fact.answer.strip(), f"{effect:+.4f}"]
        for fact, effect in found
    ]
    caption = f"{cell}; the {len(rows)} of {n_all} facts with the greatest effects"
    return table(rows, ["prompt", "answer", "effect"], caption)


# Edits, predictions and generations arrive as the plain data of their widgets' traits.

_LEFT = "text-align:left;padding:1px 10px 1px 0"
Rows = Sequence[dict[str, Any]]
ARROWS = {1: "▲", -1: "▼", 0: "·"}


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign and an arrow: `+0.376 ▲`, `−0.170 ▼`."""
    if value is None:
        return "–"
    size = f"{abs(value):.{digits}f}"
    way = 0 if float(size) == 0 else 1 if value > 0 else -1
    return f"{'−' if way < 0 else '+' if way else ''}{size} {ARROWS[way]}"


def weights_in_words(ledger: dict[str, Any]) -> str:
    """Whether the weights are the original ones, or what the history says, in the page's words."""
    matches = ledger.get("fingerprint_ok")
    if matches is None:
        return "weights not checked"
    if not matches:
        return "weights do not match the history ✗"
    return "original weights ✓" if ledger.get("original") else "weights match the history ✓"


def edits_text(name: str, edits: Rows, rows: Rows, ledger: dict[str, Any]) -> str:
    """History and predictions, line by line."""
    if not edits:
        return f"{name}: no edits yet"
    lines = [
        f"{name}: {plural(ledger.get('n_active', 0), 'active edit')}, {weights_in_words(ledger)}"
    ]
    lines += [f"  {' '.join(_edit_cells(edit))}" for edit in edits]
    lines += [f"  {' | '.join(_change_cells(row))}" for row in rows]
    return "\n".join(lines)


def edits_table(model: str, edits: Rows, rows: Rows, ledger: dict[str, Any]) -> str:
    """History and predictions as two tables."""
    if not edits:
        return "<p>No edits yet.</p>"
    active = ledger.get("n_active", 0)
    head = f"<p><b>{shown(model)}</b> · {'EDITED · ' if active else ''}"
    head += f"{plural(active, 'active edit')} · {weights_in_words(ledger)}</p>"
    columns = ["", "edit", "layer", "‖Δ‖/‖W‖", "scores"]
    history = table(map(_edit_cells, edits), columns, "Edits")
    if not rows:
        return head + history
    columns = ["kind", "prompt", "before", "after", "Δ", ""]
    return head + history + table(map(_change_cells, rows), columns, "Before and after")


def still_edits(model: str, edits: Rows, rows: Rows, ledger: dict[str, Any]) -> str:
    """What the edits did as a picture, and the history and the predictions as tables."""
    return changes_picture(rows) + edits_table(model, edits, rows, ledger)


def _edit_cells(edit: dict) -> list[str]:
    request = edit["request"]
    strength = "" if edit["strength"] == 1 else f" × {edit['strength']:.2f}"
    scores = [f"{name} {value:.2f}" for name, value in edit["scores"].items() if value is not None]
    return [
        f"applied{strength}" if edit["applied"] else "reverted",
        f"{request['template'].replace('{}', request['subject'], 1)} → {request['target']}",
        f"layer {edit['layer']}",
        _p(edit["norm_ratio"]),
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
    return f"{label(outcome['token'])} {_p(outcome['probability'])}"


def predictions_text(name: str, runs: Sequence[str], rows: Rows) -> str:
    """Tokens with their probability in each run."""
    if not rows:
        return f"{name}: nothing to compare yet"
    lines = [
        f"  {label(row['token'])!r}: "
        + ", ".join(f"{run} {_p(p)}" for run, p in zip(runs, row["probs"], strict=True))
        for row in rows
    ]
    return "\n".join([f"{name}: {', '.join(runs)}", *lines])


def predictions_table(runs: Sequence[str], rows: Rows, baseline: int) -> str:
    """Tokens by runs, each with its rank, and the difference to the baseline."""
    if not rows:
        return "<p>Nothing to compare yet.</p>"
    columns = ["next token"]
    for at, run in enumerate(runs):
        columns += [run] if at == baseline else [run, "Δ"]
    return table([_prediction_cells(row, baseline) for row in rows], columns, "Predictions")


def _prediction_cells(row: dict, baseline: int) -> list[str]:
    cells = [label(row["token"])]
    base = row["probs"][baseline]
    for at, (p, rank) in enumerate(zip(row["probs"], row["ranks"], strict=True)):
        cells.append(f"{_p(p)}{'' if rank is None else f' (rank {rank})'}")
        if at != baseline:
            cells.append(signed(None if p is None or base is None else p - base))
    return cells


def generations_text(name: str, columns: Sequence[str], rows: Rows) -> str:
    """Prompts and what follows them."""
    lines = [f"{name}: {plural(len(rows), 'prompt')}"]
    for row in rows:
        lines.append(f"  {row['prompt']}")
        lines += [
            f"    {column}:{''.join(piece for _, piece in spans)}"
            for column, spans in zip(columns, row["spans"], strict=True)
        ]
    return "\n".join(lines)


def generations_table(columns: Sequence[str], rows: Rows) -> str:
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


def _p(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.3f}"
