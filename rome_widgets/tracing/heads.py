"""Restore what single attention heads write: a grid of one layer, tokens by heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from rome_widgets.model.hooks import Seen
from rome_widgets.model.language_model import LanguageModel, to_numpy
from rome_widgets.model.memory import in_pieces
from rome_widgets.model.structure.attention_heads import AttentionHeads, find_attention_heads
from rome_widgets.tracing.metric import Measure
from rome_widgets.tracing.runs import Check, Held, Runs


def attention_heads_of(lm: LanguageModel) -> AttentionHeads:
    """The heads of a model, looked for once; see `find_attention_heads`."""
    return lm.remember(
        "attention heads",
        lm.identity,
        lambda: lm.run(lambda: find_attention_heads(lm.model, lm.geometry)),
    )


def restore_heads(
    runs: Runs,
    heads: AttentionHeads,
    layer: int,
    positions: Sequence[int],
    measure: Measure,
    held: Held,
    check: Check = lambda: None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """`[cell]`, some at a time: the metric with what one head writes at one token restored.

    By whole passes: what a head reads into the block's last matrix of attention is replaced by its
    clean value, and what the other heads write stays corrupted.

    Args:
        runs: Of the prompt.
        heads: Of the model.
        layer: Whose heads.
        positions: At which tokens; the cells are these by heads.
        measure: What to follow.
        held: See `Runs.predict`. Not the outputs of this attention: up to it nothing is restored,
            so that they are what is held, and what is restored by name goes first.
        check: See `Check`.

    Raises:
        OutOfMemory: No room for one cell with all its draws.
    """
    lm, name = runs.lm, heads.matrices[layer]
    clean: list[Tensor] = []
    lm.next_token_logits(runs.ids, [(name, lambda seen: clean.append(_entering(seen).clone()))])
    held = {at: kept for at, kept in held.items() if (at.kind, at.layer) != ("attn", layer)}
    cells = [(pos, head) for pos in positions for head in range(heads.n_heads)]

    def some_cells(numbers: slice) -> np.ndarray:
        check()
        some = cells[numbers]

        def put(seen: Seen) -> Tensor:
            changed = seen.output.clone()
            read = _entering(seen).view(len(some), runs.samples, runs.length, -1)
            out = changed.view(len(some), runs.samples, runs.length, -1)
            for cell, (pos, head) in enumerate(some):
                own = heads.slice_of(head)
                missing = clean[0].view(runs.length, -1)[pos, own] - read[cell, :, pos, own]
                out[cell, :, pos] += heads.written(lm.model, layer, head, missing).to(out)
            return changed

        visitors = [*runs.corrupting_cells(len(some), held), (name, put)]
        rows = runs.corrupted_ids.expand(len(some) * runs.samples, -1)
        logits = lm.next_token_logits(rows, visitors).unflatten(0, (len(some), runs.samples))
        return to_numpy(measure.totals(logits).scores) / runs.samples

    at_once = max(1, runs.tokens_per_pass // (runs.samples * runs.length))
    return in_pieces(len(cells), at_once, some_cells, "restore one head")


def _entering(seen: Seen) -> Tensor:
    """What a matrix was called with."""
    assert seen.entering is not None
    return seen.entering
