"""Texts put before the prompt, so that the key stands for the subject and not for one sentence.

The model writes them itself, from its start token, by its five likeliest tokens at each place.
DrawnNoise from a generator of our own: the same seed gives the same texts, and nobody else's random
numbers move. They are joined as text, so braces in them are only braces.

Source:
    Meng et al. 2022, appendix E.5; lengths count the start token, as in the published code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rome_widgets.errors import SettingsError
from rome_widgets.model.generation import IncrementalDecoder, start_ids, start_token
from rome_widgets.model.language_model import LanguageModel

TOP_K = 5


def sample_prefixes(
    lm: LanguageModel,
    counts: Sequence[tuple[int, int]],
    seed: int,
    *,
    bare: int = 1,
    first_words: Sequence[str] = (),
    check: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """The prefixes of an edit: `bare` times "", then texts that the model writes.

    `counts` are (tokens, how many), and the start token counts; each text goes on from one of
    `first_words`, in turn. `check` is called before each token, and raises where the work should
    stop. The latest texts are kept, as edits of one model mostly ask for the same.
    """
    lengths = [length for length, count in counts for _ in range(count)]
    longest = max(lengths, default=0)
    if lm.n_positions is not None and longest > lm.n_positions:
        raise SettingsError(
            f"The prefixes are to have {longest} tokens.",
            f"This model reads at most {lm.n_positions}.",
            "Choose shorter prefixes in the settings.",
        )
    words = tuple(first_words)
    key = (lm.settled_identity, tuple(map(tuple, counts)), seed, words)
    sampled = lm.remember("prefixes", key, lambda: tuple(_sample(lm, lengths, seed, words, check)))
    return ("",) * bare + sampled


def _sample(
    lm: LanguageModel,
    lengths: Sequence[int],
    seed: int,
    first_words: Sequence[str],
    check: Callable[[], None],
) -> list[str]:
    """One text per length, in tokens, the start token among them; written side by side."""
    if not lengths:
        return []
    ids = lm.rows(start_ids(lm, i, first_words) for i in range(len(lengths)))
    writer, generator = IncrementalDecoder(lm), torch.Generator().manual_seed(seed)
    while ids.shape[1] < max(lengths):
        check()
        logits = lm.run(lambda ids=ids: writer.logits(ids))
        top = logits.float().cpu().topk(min(TOP_K, logits.shape[1]))
        drawn = torch.multinomial(top.values.softmax(dim=-1), 1, generator=generator)
        ids = torch.cat([ids, top.indices.gather(1, drawn).to(ids.device)], dim=1)
    first = 0 if start_token(lm) is None else 1
    decode: Any = lm.tokenizer.decode
    return [
        decode(row[first:length], skip_special_tokens=True).strip()
        for row, length in zip(ids.tolist(), lengths, strict=True)
    ]
