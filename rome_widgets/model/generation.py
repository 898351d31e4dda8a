"""Incremental decoding: next-token logits after rows that grow by one token at a time."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache

from rome_widgets.model.language_model import LanguageModel, check_finite
from rome_widgets.model.replay import cache_argument
from rome_widgets.model.stand_in import standing_in
from rome_widgets.model.structure.geometry import all_logits


class IncrementalDecoder:
    """Computes logits after growing rows, with a cache where the model runs with a plain one."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm, self._model = lm, cast("Any", lm.model)
        self._cache = DynamicCache() if lm.replay else None
        self._done = 0

    def logits(self, ids: Tensor) -> Tensor:
        """`[row, vocab]` after the last position.

        Raises:
            ContextTooLong, VocabMismatch: They have grown beyond what the model can read.
            NonFinite: NaN or infinity in the logits.
        """
        ids = self._lm.rows(ids.tolist())
        if self._cache is None:
            return check_finite(all_logits(self._model, ids)[:, -1])
        output = standing_in(self._model)(
            input_ids=ids[:, self._done :],
            attention_mask=torch.ones_like(ids),
            **{cache_argument(self._model): self._cache},
            use_cache=True,
        )
        self._done = ids.shape[1]
        return check_finite(output.logits[:, -1])
