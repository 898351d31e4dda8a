"""Two traces in words and numbers: before and after the model changed, or A, kept, beside B."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rome_widgets.errors import StateError
from rome_widgets.records.html import plural
from rome_widgets.records.states import Kind, State
from rome_widgets.records.trace import CausalTrace, predictions
from rome_widgets.widgets.live.traits import ROWS, describe_rows, encodable, number, text
from rome_widgets.widgets.trace.trace_run import Basis

SAME = (
    "prompt",
    "token_ids",
    "subject_span",
    "answer_id",
    "metric",
    "against_id",
    "kinds",
    "windows",
    "n_layers",
    "samples",
    "seed",
)
"""What two traces must agree in besides their noise, or their cells mean different things."""

Words = tuple[str, str]
"""What the model was before and is after, as in `("without the edit", "with 1 edit")`."""
NAMES = ("before", "after")
"""What the two are called, in a sentence."""

A_AND_B = ("A", "B")
WORDS: dict[Kind, str] = {"hidden": "hidden state", "mlp": "MLP", "attn": "attention"}
ALIKE = {
    "token_ids": "other tokens",
    "answer_id": "another answer",
    "metric": "another metric",
    "against_id": "another second answer",
    "kinds": "other kinds of states",
    "n_layers": "another number of layers",
}
"""What two traces must agree in for their cells to stand side by side, and what is said if not."""


def check_comparable(before: CausalTrace, after: CausalTrace) -> None:
    """Refuse, with a `StateError`, two traces that differ in something besides the model."""
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in SAME]
    pairs.append(("noise", str(before.noise.get("text")), str(after.noise.get("text"))))
    for name, was, now in pairs:
        if was != now:
            raise StateError(
                f"The trace before has the {name} {was!r}, the trace after {now!r}.",
                "Two traces of one prompt with the same settings were wanted.",
                "Trace again with the settings of the first; its answer, too.",
            )


def in_words(before: int, after: int) -> Words:
    """How the model was and is edited, from the numbers of active edits."""
    was, now = edits_in_words(before), edits_in_words(after)
    if before == after:
        return f"{was}, as the model was", f"{now}, as the model is now"
    the_others = f"without the edit{'' if before + after == 1 else 's'}"
    return was if before else the_others, now if after else the_others


def edits_in_words(count: int) -> str:
    """How many edits a model has."""
    return f"with {plural(count, 'edit')}" if count else "without edits"


@dataclass(frozen=True, eq=False)
class TraceComparison:
    """Two traces of one prompt whose cells mean the same, and what sets them apart in words."""

    before: CausalTrace
    after: CausalTrace | None
    """None while it is being computed."""
    words: Words = ("", "")
    """What each was made with that the other was not."""
    names: Words = NAMES

    @property
    def same(self) -> bool:
        """Whether every number is, bit for bit, what it was."""
        was, now = self.before, self.after
        return (
            now is not None
            and (was.clean, was.corrupted) == (now.clean, now.corrupted)
            and all(np.array_equal(was.scores[kind], now.scores[kind]) for kind in now.kinds)
        )

    @property
    def changes(self) -> dict[Kind, np.ndarray]:
        """By kind `[pos, layer]`: after minus before; NaN where either is."""
        if self.after is None:
            return {}
        return {
            kind: self.after.scores[kind] - self.before.scores[kind] for kind in self.after.kinds
        }

    @property
    def largest_change(self) -> tuple[State, float] | None:
        """Where the largest difference is, whichever its sign, and how large."""
        found: list[tuple[State, float]] = []
        for kind, grid in self.changes.items():
            if not np.isnan(grid).all():
                pos, layer = np.unravel_index(int(np.nanargmax(np.abs(grid))), grid.shape)
                found.append((State(int(pos), int(layer), kind), float(grid[pos, layer])))
        return max(found, key=lambda each: abs(each[1]), default=None)

    def describe(self) -> dict[str, Any]:
        """As the page is told of it."""
        return {
            "names": list(self.names),
            **{name: text(said) for name, said in zip(NAMES, self.words, strict=True)},
            **{name: number(getattr(self.before, name)) for name in ("clean", "corrupted")},
            "same": self.same,
        }


@dataclass(frozen=True, eq=False)
class KeptTrace:
    """What was kept as A."""

    trace: CausalTrace
    edits: int | None
    """How many were active; None where nobody knows."""
    restoration: dict[str, Any] = field(default_factory=dict)
    """Its answer to a selection, as the page is told of it; `{}` without one."""
    answer: Any = None
    """The same as a `Restoration`."""
    own: bool = True
    """The answer is the one that was on screen when A was kept, and goes on standing for it."""
    basis: Basis | None = None
    """What A was made of, where it can be asked again."""

    def beside(self, other: Any) -> dict[str, Any]:
        """The answer for the page, also with the tokens that the answer beside it names."""
        if self.answer is None or other is None:
            return self.restoration
        rows = self.restoration["rows"]
        known = {row["id"] for row in rows}
        texts = {row.id: row.token for row in other.top(ROWS) if row.id not in known}
        more = predictions(self.answer.distributions, texts, texts)
        return {**self.restoration, "rows": [*rows, *describe_rows(more)]}


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
    every = ", every mention" if len(trace.subject_spans) > 1 else ""
    corrupted = "another subject for" if "subject" in trace.noise else "noise on"
    return f"{corrupted} “{''.join(trace.tokens[start:stop]).strip()}”{every}"


def _settings(trace: CausalTrace) -> list[str]:
    windows = {trace.windows[kind] for kind in trace.kinds if kind != "hidden"}
    by = trace.noise.get("text", "")
    return [
        by if "subject" in trace.noise else f"noise {by}",
        f"{trace.samples} samples",
        f"seed {trace.seed}",
        f"window {max(windows, default=1)}",
    ]


def describe_kept(
    a: KeptTrace, b: CausalTrace | None, beside: bool, answer: Any = None
) -> dict[str, Any]:
    """The `kept` trait: A in words and numbers, and what of it can be compared with B.

    `answer` is B's restoration, where there is one.
    """
    reason = why_not_comparable(a.trace, b) if beside and b is not None else ""
    return {
        **{name: encodable(getattr(a.trace, name)) for name in ("prompt", "tokens", "answer")},
        "comparing": beside,
        "reason": reason,
        "rows": _rows(a.trace, b) if reason and b is not None else [],
        "restoration": a.beside(answer) if beside else a.restoration,
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
