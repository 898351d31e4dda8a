"""How a model goes on from prompts to words of any number of tokens: the one place that asks.

Source:
    Meng et al. 2022: each token is read after the right ones before it (teacher forcing), as the
    published code does.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from statistics import fmean

from torch import Tensor

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.metrics import WordScore

Row = Sequence[int]
"""Token ids of a prompt."""
Predict = Callable[[Sequence[Row]], Iterable[tuple[Sequence[int], Tensor]]]
"""From rows to the numbers of some of them and `[row, vocab]`, the probabilities of what follows
those; until all rows were there."""


def score_words(
    lm: LanguageModel, prompts: Sequence[str], words: Sequence[str], predict: Predict | None = None
) -> list[WordScore]:
    """How the model goes on from each prompt to its word, each token after the right ones before.

    Rows are a prompt, and a prompt with the first tokens of a word; each runs once, however many
    words it is asked about. So the two objects of a fact, of one token each, are one pass.

    Args:
        lm: The model, whose tokenizer says which tokens a word has (`LanguageModel.answer_ids`).
        prompts: One for each word.
        words: Of any number of tokens.
        predict: What to ask in place of the model as it is, such as the model with an edit that it
            does not carry.

    Raises:
        ContextTooLong: A prompt with its word has more tokens than the model has positions.
        NonFinite: NaN or infinity in the logits.

    Example:
        >>> (score,) = score_words(lm, ["The capital of France is"], ["Paris"])
        >>> score.probability, score.likeliest
    """
    rows, steps_of_words = rows_of_words(lm, prompts, words)
    tokens_after: dict[int, set[int]] = defaultdict(set)
    for row, token in chain.from_iterable(steps_of_words):
        tokens_after[row].add(token)
    found: dict[tuple[int, int], tuple[float, bool]] = {}
    for some, probabilities in (predict or asking(lm))(rows):
        for row, likeliest, each in zip(
            some, probabilities.argmax(dim=-1).tolist(), probabilities, strict=True
        ):
            for token in tokens_after[row]:
                found[row, token] = _log(float(each[token])), token == likeliest
    scores = []
    for steps in steps_of_words:
        logs, hits = zip(*(found[step] for step in steps), strict=True)
        scores.append(WordScore(fmean(logs), fmean(hits), len(steps)))
    return scores


def rows_of_words(
    lm: LanguageModel, prompts: Sequence[str], words: Sequence[str]
) -> tuple[list[Row], list[list[tuple[int, int]]]]:
    """What runs for `score_words`: the rows, and by word, for each of its tokens, after which row.

    Example:
        >>> rows, steps_of_words = rows_of_words(lm, ["It is in"] * 2, ["Paris", "Rome"])
    """
    numbers: dict[tuple[int, ...], int] = {}
    steps_of_words = []
    for prompt, word in zip(prompts, words, strict=True):
        before, ids = lm.prompt_ids(prompt), lm.answer_ids(prompt, word)
        steps_of_words.append(
            [
                (numbers.setdefault((*before, *ids[:at]), len(numbers)), token)
                for at, token in enumerate(ids)
            ]
        )
    return list(numbers), steps_of_words


def likeliest_tokens(lm: LanguageModel, prompts: Sequence[str]) -> list[int]:
    """The likeliest next token after each prompt, with any number of prompts.

    Example:
        >>> [lm.token_text(token) for token in likeliest_tokens(lm, ["The capital of France is"])]
        [' Paris']
    """
    likeliest = [0] * len(prompts)
    for some, probabilities in asking(lm)([lm.encode_text(prompt) for prompt in prompts]):
        for number, token in zip(some, probabilities.argmax(dim=-1).tolist(), strict=True):
            likeliest[number] = token
    return likeliest


def asking(lm: LanguageModel) -> Predict:
    """The model as it is; rows of one length run together, the shortest first: none is padded."""

    def predict(rows: Sequence[Row]) -> Iterator[tuple[Sequence[int], Tensor]]:
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            by_length[len(row)].append(number)
        for length, numbers in sorted(by_length.items()):
            at_once = max(1, lm.tokens_per_call // length)
            for start in range(0, len(numbers), at_once):
                some = numbers[start : start + at_once]
                yield some, lm.next_token_probabilities(lm.rows(rows[number] for number in some))

    return predict


def _log(probability: float) -> float:
    """-∞ for what is too improbable for a float: such words tie, and a tie is a failure."""
    return math.log(probability) if probability else -math.inf
