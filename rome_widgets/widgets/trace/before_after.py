"""Two traces of one prompt, before and after the model changed: in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rome_widgets.errors import StateError
from rome_widgets.records.html import plural
from rome_widgets.records.states import Kind, State
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets.live.traits import number, text

SAME = (
    "prompt",
    "token_ids",
    "subject_span",
    "answer_id",
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
        """By kind `[pos, layer]`: after minus before, in [-1, 1]; NaN where either is."""
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
            "before": text(self.words[0]),
            "after": text(self.words[1]),
            "clean": number(self.before.clean),
            "corrupted": number(self.before.corrupted),
            "same": self.same,
        }
