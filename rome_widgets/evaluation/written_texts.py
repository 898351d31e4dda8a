"""Texts that a model writes after some prompts, and whether it ends them by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rome_widgets.model.generation import IncrementalDecoder, end_tokens
from rome_widgets.model.language_model import LanguageModel


class Written(NamedTuple):
    """One text that a model wrote."""

    text: str
    """Without its prompt."""
    whole: str
    """The prompt's tokens and the text's decoded as one: some decoders strip the space of the first
    token, so that to join both strings would make one word of two."""
    n_tokens: int
    """Of the text, the end token among them; 0 where the prompt fills the context."""
    stops: bool | None
    """Whether the model ended it; None of a model that has no end token."""


def write_texts(
    lm: LanguageModel,
    prompts: Sequence[str],
    n_tokens: int,
    *,
    top_k: int = 1,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> list[Written]:
    """Let the model go on from each prompt; prompts of one length are written side by side.

    Args:
        lm: The model, as it is.
        prompts: Each gives one text.
        n_tokens: Of a text, at most; fewer where the model ends it, or its context does.
        top_k: How many of the likeliest tokens are drawn from, in proportion; 1 is greedy.
        seed: Of the draws; each text has its own, whichever others are written beside it.
        check: Called before each token, and raises where the work should stop.

    Raises:
        NonFinite: The model predicts NaN or infinity.

    Example:
        >>> write_texts(lm, ["The Space Needle is in the city of"], 1)[0].text
        ' Seattle'
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    rows = [lm.prompt_ids(prompt) for prompt in prompts]
    for number, row in enumerate(rows):
        by_length[len(row)].append(number)
    found: dict[int, Written] = {}
    for length, numbers in by_length.items():
        at_once = max(1, lm.tokens_per_call // (length + n_tokens))
        for start in range(0, len(numbers), at_once):
            some = numbers[start : start + at_once]
            drawing = [_drawing(top_k, seed, number) for number in some]
            texts = _write(lm, [rows[number] for number in some], n_tokens, drawing, check)
            found.update(zip(some, texts, strict=True))
    return [found[number] for number in range(len(prompts))]


Draw = Callable[[Tensor], int]
"""From `[vocab]` logits to the next token."""


def _drawing(top_k: int, seed: int, number: int) -> Draw:
    if top_k == 1:
        return lambda logits: int(logits.argmax())
    generator = torch.Generator().manual_seed((seed + 7919 * number) % 2**32)

    def draw(logits: Tensor) -> int:
        top = logits.topk(min(top_k, len(logits)))
        chosen = torch.multinomial(top.values.softmax(dim=-1), 1, generator=generator)
        return int(top.indices[chosen])

    return draw


def _write(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    n_tokens: int,
    drawing: Sequence[Draw],
    check: Callable[[], None],
) -> list[Written]:
    length = len(rows[0])
    if lm.n_positions is not None:
        n_tokens = min(n_tokens, lm.n_positions - length)
    ids, writer, ends = lm.rows(rows), IncrementalDecoder(lm), end_tokens(lm)
    for _ in range(n_tokens):
        check()
        logits = lm.run(lambda ids=ids: writer.logits(ids)).float().cpu()
        after = [draw(each) for draw, each in zip(drawing, logits, strict=True)]
        ids = torch.cat([ids, ids.new_tensor(after)[:, None]], dim=1)
        if all(ends & {*row} for row in ids[:, length:].tolist()):
            break
    return [_text(lm, row, length, ends) for row in ids.tolist()]


def _text(lm: LanguageModel, row: list[int], length: int, ends: frozenset[int]) -> Written:
    """Of a row whose first `length` tokens are the prompt."""
    written = row[length:]
    stop = next((place for place, token in enumerate(written) if token in ends), None)
    kept = written[:stop]
    return Written(
        _decoded(lm, kept),
        _decoded(lm, row[:length] + kept),
        len(written) if stop is None else stop + 1,
        stop is not None if ends else None,
    )


def _decoded(lm: LanguageModel, ids: list[int]) -> str:
    decode: Any = lm.tokenizer.decode
    return decode(ids, skip_special_tokens=True) if ids else ""
