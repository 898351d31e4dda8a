"""Incremental decoding: next-token logits after rows that grow by one token at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.replay import cache_argument
from rome_widgets.model.structure.geometry import all_logits


class IncrementalDecoder:
    """Computes logits after growing rows, with a cache where the model runs with a plain one."""

    def __init__(self, lm: LanguageModel) -> None:
        self._model: Any = lm.model
        self._cache = DynamicCache() if lm.replay else None
        self._done = 0

    def logits(self, ids: Tensor) -> Tensor:
        """`[row, vocab]` after the last position."""
        if self._cache is None:
            return all_logits(self._model, ids)[:, -1]
        output = self._model(
            input_ids=ids[:, self._done :],
            attention_mask=torch.ones_like(ids),
            **{cache_argument(self._model): self._cache},
            use_cache=True,
        )
        self._done = ids.shape[1]
        return output.logits[:, -1]
