"""Perplexity of ordinary text: what an edit that disables a model shows in.

Source:
    Yang et al. 2024, "The Butterfly Effect of Model Editing": perplexity of ordinary sentences,
    mean over sentences. There, as in the published code of ROME, the sum over the N - 1 predicted
    tokens is divided by N; here by N - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from rome_widgets.editing.perplexity import MOST_NATS
from rome_widgets.model.language_model import LanguageModel

LEAST_TOKENS = 2
"""Of a text, for one of them to be predicted."""


def mean_perplexity(lm: LanguageModel, texts: Sequence[Sequence[int]]) -> float | None:
    """Mean over texts of exp(mean -log p per predicted token); None of no texts.

    Args:
        lm: The model, as it is.
        texts: As token ids, each of two tokens or more.

    Raises:
        NonFinite: The model predicts NaN or infinity.
    """
    return fmean(_perplexity(lm, ids) for ids in texts) if texts else None


def _perplexity(lm: LanguageModel, ids: Sequence[int]) -> float:
    read, wanted = ids[:-1], ids[1:]
    said = lm.probabilities_at_end(lm.rows([read]), len(read))[0].double()
    found = said.gather(1, said.new_tensor(wanted).long()[:, None])
    nats = -float(found.clamp_min(math.exp(-MOST_NATS)).log().mean())
    return math.exp(nats)


def tokens_of(lm: LanguageModel, text: str, most: int | None = None) -> list[int]:
    """Of a text, as many tokens as the model reads at once, and `most` at most."""
    limits = [limit for limit in (lm.n_positions, most) if limit is not None]
    return lm.encode_text(text)[: min(limits, default=None)] if text.strip() else []
