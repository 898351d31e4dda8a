"""Logits at chosen positions, and at no others where that can be: the head is a large matrix.

A vocabulary of 262,144 tokens is a megabyte of logits per position, and more work than the blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rome_widgets.model.hooks import Enough, Seen, run_until_enough
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure.geometry import all_logits


def logits_at(lm: LanguageModel, ids: Tensor, positions: Tensor) -> Tensor:
    """Logits after chosen positions of each row, differentiable; to be called within `lm.run`.

    Where the head can be called by itself it reads these positions alone; else the model gives no
    logits before the first of them, if it can do so.

    Args:
        lm: The model.
        ids: `[row, pos]` token ids.
        positions: `[row, n]`.

    Returns:
        `[row, n, vocab]`, as the model computes them, in its own dtype.
    """
    if (replay := lm.replay) is None:
        first = int(positions.min())
        later = lm.last_logits(ids, ids.shape[1] - first)
        return _chosen(later, positions - first)
    states = _chosen(_last_states(lm, ids), positions)
    return replay.logits(states.flatten(0, 1)).unflatten(0, positions.shape)


def _chosen(values: Tensor, positions: Tensor) -> Tensor:
    """`[row, n, width]` of `[row, pos, width]`."""
    positions = positions.to(values.device)
    return values[torch.arange(len(values), device=values.device)[:, None], positions]


def _last_states(lm: LanguageModel, ids: Tensor) -> Tensor:
    """`[row, pos, d_model]`: what leaves the last block; the head is not run."""
    left: list[Tensor] = []

    def stop(seen: Seen) -> None:
        left.append(seen.output)
        raise Enough

    stopping = lm.named([(lm.geometry.blocks[-1], stop)])
    run_until_enough(lambda: all_logits(lm.model, ids), stopping)
    return left[0]
