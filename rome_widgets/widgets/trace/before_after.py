"""Two traces of one prompt, before and after the model changed: in words and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rome_widgets.errors import StateError
from rome_widgets.records.states import Kind
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
    """Refuse two traces whose cells cannot be compared.

    Raises:
        StateError: They differ in something besides the model.
    """
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
    if before == after:
        edits = f"with {_edits(before)}" if before else "without edits"
        return f"{edits}, as the model was", f"{edits}, as the model is now"
    was = f"with {_edits(before)}" if before else f"without the edit{'' if after == 1 else 's'}"
    now = f"with {_edits(after)}" if after else f"without the edit{'' if before == 1 else 's'}"
    return was, now


def _edits(count: int) -> str:
    return f"{count} edit{'' if count == 1 else 's'}"


def describe_before(
    before: CausalTrace, after: CausalTrace | None, words: Words, names: Words = NAMES
) -> dict[str, Any]:
    """The `comparison` trait; `after` is None while it is being computed."""
    return {
        "names": list(names),
        "before": text(words[0]),
        "after": text(words[1]),
        "clean": number(before.clean),
        "corrupted": number(before.corrupted),
        "same": after is not None and _same(before, after),
    }


def _same(before: CausalTrace, after: CausalTrace) -> bool:
    """Whether every number is, bit for bit, what it was."""
    return (before.clean, before.corrupted) == (after.clean, after.corrupted) and all(
        np.array_equal(before.scores[kind], after.scores[kind]) for kind in after.kinds
    )


def change(before: CausalTrace, after: CausalTrace, kind: Kind) -> np.ndarray:
    """`[pos, layer]`: probability after minus before, in [-1, 1]; NaN where either is."""
    return after.scores[kind] - before.scores[kind]


def largest_change(before: CausalTrace, after: CausalTrace) -> tuple[Kind, int, int, float] | None:
    """Kind, position, layer and size of the largest difference, whichever its sign."""
    found: list[tuple[Kind, int, int, float]] = []
    for kind in after.kinds:
        grid = change(before, after, kind)
        if not np.isnan(grid).all():
            pos, layer = np.unravel_index(int(np.nanargmax(np.abs(grid))), grid.shape)
            found.append((kind, int(pos), int(layer), float(grid[pos, layer])))
    return max(found, key=lambda each: abs(each[3]), default=None)
