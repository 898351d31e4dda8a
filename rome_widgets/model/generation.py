"""Incremental decoding: where texts start, and logits after rows that grow token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from rome_widgets.model.language_model import LanguageModel, check_finite
from rome_widgets.model.replay import cache_argument
from rome_widgets.model.stand_in import standing_in

FIRST_WORDS = ("The", "Therefore", "Because", "I", "You")
"""What texts start with that have no start token, or need more than that to be ordinary ones.

Source:
    EasyEdit, which has its prefixes begin with these.
"""


def start_token(lm: LanguageModel) -> int | None:
    """What a text of this model starts with; None where it has no such token."""
    tokens = (getattr(lm.tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    return next((int(token) for token in tokens if token is not None), None)


def start_ids(lm: LanguageModel, number: int, first_words: Sequence[str] = ()) -> list[int]:
    """The start of the text with this number: the start token, and a word's first, if wanted.

    Args:
        lm: The model.
        number: Of the text; the words are taken in turn.
        first_words: What to begin with; where there is no start token, there is always a word.
    """
    token = start_token(lm)
    start = [] if token is None else [token]
    words = first_words or (FIRST_WORDS if token is None else ())
    firsts = [ids[:1] for word in words if (ids := lm.encode_alone(word))]  # some it may not have
    if firsts:
        start += firsts[number % len(firsts)]
    return start or [0]


def end_tokens(lm: LanguageModel) -> frozenset[int]:
    """The tokens by which a text of this model ends, one of them or another; often one."""
    config: Any = getattr(lm.model, "generation_config", None)
    end = getattr(config, "eos_token_id", None)
    return frozenset() if end is None else frozenset(np.atleast_1d(end).tolist())


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
            return check_finite(self._lm.last_logits(ids, 1)[:, -1])
        output = standing_in(self._model)(
            input_ids=ids[:, self._done :],
            attention_mask=torch.ones_like(ids),
            **{cache_argument(self._model): self._cache},
            use_cache=True,
            **self._lm.keeping(1),
        )
        self._done = ids.shape[1]
        return check_finite(output.logits[:, -1])
