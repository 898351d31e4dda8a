"""Texts put before the prompt, so that the key stands for the subject and not for one sentence.

The model writes them itself, from its start token, by its five likeliest tokens at each place.
Drawn from a generator of our own: the same seed gives the same texts, and nobody else's random
numbers move. They are joined as text, so braces in them are only braces.

Source:
    Meng et al. 2022, appendix E.5; lengths count the start token, as in the published code.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from rome_widgets.editing.settings import EditSettings
from rome_widgets.model.generation import IncrementalDecoder
from rome_widgets.model.language_model import LanguageModel

TOP_K = 5
FIRST_WORDS = ("The", "Therefore", "Because", "I", "You")
"""Where texts start in models without a start token."""

_kept: weakref.WeakKeyDictionary[LanguageModel, dict[Hashable, tuple[str, ...]]]
_kept = weakref.WeakKeyDictionary()


def prefixes(
    lm: LanguageModel,
    settings: EditSettings,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """The prefixes of an edit: "" as often as `settings.bare` says, then sampled texts."""
    key = (lm.weights_version, settings.bare, settings.prefixes, seed)
    kept = _kept.setdefault(lm, {})
    if key not in kept:
        generator = torch.Generator().manual_seed(seed)
        lengths = [length for length, count in settings.prefixes for _ in range(count)]
        texts = _sample(lm, lengths, generator, check)
        kept.clear()  # of other weights or settings: those rarely come back
        kept[key] = ("",) * settings.bare + tuple(texts)
    return kept[key]


def _sample(
    lm: LanguageModel,
    lengths: Sequence[int],
    generator: torch.Generator,
    check: Callable[[], None],
) -> list[str]:
    """One text per length, in tokens, the start token among them; written side by side."""
    if not lengths:
        return []
    ids = torch.tensor([_start(lm, i) for i in range(len(lengths))], device=lm.device)
    writer = IncrementalDecoder(lm)
    while ids.shape[1] < max(lengths):
        check()
        logits = lm.run(lambda ids=ids: writer.logits(ids))
        top = logits.float().cpu().topk(min(TOP_K, logits.shape[1]))
        drawn = torch.multinomial(top.values.softmax(dim=-1), 1, generator=generator)
        ids = torch.cat([ids, top.indices.gather(1, drawn).to(ids.device)], dim=1)
    first = 0 if _start_token(lm) is None else 1
    decode: Any = lm.tokenizer.decode
    return [
        decode(row[first:length], skip_special_tokens=True).strip()
        for row, length in zip(ids.tolist(), lengths, strict=True)
    ]


def _start_token(lm: LanguageModel) -> int | None:
    for name in ("bos_token_id", "eos_token_id"):
        token = getattr(lm.tokenizer, name, None)
        if token is not None:
            return int(token)
    return None


def _start(lm: LanguageModel, number: int) -> list[int]:
    token = _start_token(lm)
    if token is not None:
        return [token]
    return lm.encode_alone(FIRST_WORDS[number % len(FIRST_WORDS)])[:1] or [0]
