"""Any trace beside another: A, which was kept, and B, which is on screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rome_widgets.records.states import Kind
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets.live.traits import number, text
from rome_widgets.widgets.trace.before_after import Words, edits_in_words

NAMES = ("A", "B")
WORDS: dict[Kind, str] = {"hidden": "hidden state", "mlp": "MLP", "attn": "attention"}
ALIKE = {
    "token_ids": "other tokens",
    "answer_id": "another answer",
    "kinds": "other kinds of states",
    "n_layers": "another number of layers",
}
"""What two traces must agree in for their cells to stand side by side, and what is said if not."""


@dataclass(frozen=True, eq=False)
class KeptTrace:
    """What was kept as A."""

    trace: CausalTrace
    edits: int | None
    """How many were active; None where nobody knows."""
    restoration: dict[str, Any] = field(default_factory=dict)
    """The answer that was on screen, as the `restoration` trait held it; `{}` without one."""


def why_not_comparable(a: CausalTrace, b: CausalTrace) -> str:
    """Why the cells of two traces cannot be compared one by one; empty where they can."""
    other = [said for name, said in ALIKE.items() if getattr(a, name) != getattr(b, name)]
    return f"Not cell by cell: A has {' and '.join(other)}." if other else ""


def differences_in_words(a: KeptTrace, b: CausalTrace, edits: int) -> Words:
    """What differs between A and B, once in the words of each."""
    pairs = [(_subject(a.trace), _subject(b)), *zip(_settings(a.trace), _settings(b), strict=True)]
    if a.edits is not None:
        pairs.append((edits_in_words(a.edits), edits_in_words(edits)))
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    if not differing:
        return "the same settings", "the same settings"
    was, now = zip(*differing, strict=True)
    return ", ".join(was), ", ".join(now)


def _subject(trace: CausalTrace) -> str:
    start, stop = trace.subject_span
    return f"noise on “{''.join(trace.tokens[start:stop]).strip()}”"


def _settings(trace: CausalTrace) -> list[str]:
    windows = {trace.windows[kind] for kind in trace.kinds if kind != "hidden"}
    return [
        f"noise {trace.noise.get('text', '')}",
        f"{trace.samples} samples",
        f"seed {trace.seed}",
        f"window {max(windows, default=1)}",
    ]


def describe_kept(a: KeptTrace, b: CausalTrace | None, beside: bool) -> dict[str, Any]:
    """The `kept` trait: A in words and numbers, and what of it can be compared with B."""
    reason = why_not_comparable(a.trace, b) if beside and b is not None else ""
    return {
        "prompt": text(a.trace.prompt),
        "tokens": [text(token) for token in a.trace.tokens],
        "answer": text(a.trace.answer),
        "comparing": beside,
        "reason": reason,
        "rows": _rows(a.trace, b) if reason and b is not None else [],
        "restoration": a.restoration,
    }


def _rows(a: CausalTrace, b: CausalTrace) -> list[list[Any]]:
    """Numbers that mean the same in any two traces: `[what, A's, B's, where in A, where in B]`."""
    rows: list[list[Any]] = [
        [name, number(getattr(a, name)), number(getattr(b, name)), "", ""]
        for name in ("clean", "corrupted")
    ]
    for kind in a.kinds:
        if kind in b.kinds:
            (best_a, where_a), (best_b, where_b) = _best(a, kind), _best(b, kind)
            rows.append([f"best {WORDS[kind]}", best_a, best_b, where_a, where_b])
    return rows


def _best(trace: CausalTrace, kind: Kind) -> tuple[float | None, str]:
    """The strongest state among the subject's tokens, and where it is."""
    found = trace.strongest(kind)
    if found is None:
        return None, ""
    pos, layer, score = found
    return score, f"“{text(trace.tokens[pos]).strip()}”, layer {layer}"
