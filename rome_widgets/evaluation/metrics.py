"""Measure what an edit did to a model, by the metrics of the paper.

`rome_widgets.records.metrics` holds their definitions over plain numbers; here a model is asked for
those. For a prompt p and a word y with the tokens y₁ … yₙ,

    P(p, y) = exp( mean over i of log p(yᵢ | p, y₁ … yᵢ₋₁) )

    ES = [P(p, o*) > P(p, oᶜ)],  EM = P(p, o*) - P(p, oᶜ)   on the edited sentence
    PS, PM                       the same                   on its paraphrases
    NS = [P(p, oᶜ) > P(p, o*)],  NM = P(p, oᶜ) - P(p, o*)   on neighborhood prompts
    S  = harmonic mean of the means of ES, PS and NS over all records

with o* the new object and oᶜ the true one; a record's own figure is the mean over its prompts.

Source:
    Meng et al. 2022, section 3.3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.tokens import check_ids
from rome_widgets.records.fact import Fact
from rome_widgets.records.metrics import EditMetrics, PromptKind, PromptScore, WordScore

Row = Sequence[int]
"""Token ids of a prompt."""
Predict = Callable[[Sequence[Row]], Iterable[tuple[Sequence[int], Tensor]]]
"""From rows to the numbers of some of them and `[row, vocab]`, the probabilities of what follows
those; until all rows were there."""


class Question(NamedTuple):
    """A prompt, the word that is right after it, and the other word of the fact."""

    prompt: str
    right: str
    other: str | None = None


def measure_record(
    lm: LanguageModel, record: Mapping[str, Any], others: Iterable[tuple[str, str]] = ()
) -> EditMetrics:
    """Ask the model as it is, edited or not, all prompts of a CounterFact record.

    `others` are prompts that say something else about the subject, each with its right word.

    Example:
        >>> with rw.edit(lm, record):
        ...     metrics = measure_record(lm, record)
        >>> metrics.efficacy.success, metrics.neighborhood.accuracy
    """
    rewrite = record["requested_rewrite"]
    new, true = rewrite["target_new"]["str"], rewrite["target_true"]["str"]
    return measure(
        lm,
        {
            "efficacy": [Question(Fact.from_record(record).text, new, true)],
            "paraphrase": [Question(p, new, true) for p in record["paraphrase_prompts"]],
            "neighborhood": [Question(p, true, new) for p in record["neighborhood_prompts"]],
            "others": [Question(prompt, word) for prompt, word in others],
        },
    )


def measure(
    lm: LanguageModel,
    questions: Mapping[PromptKind, Sequence[Question]],
    predict: Predict | None = None,
) -> EditMetrics:
    """Ask questions of each kind.

    Args:
        lm: The model, whose tokenizer the words are read with.
        questions: By kind.
        predict: What to ask in place of the model as it is, such as the model with an edit that it
            does not carry.
    """
    every = [question for some in questions.values() for question in some]
    asked = [(q.prompt, word) for q in every for word in (q.right, q.other) if word is not None]
    prompts, words = [prompt for prompt, _ in asked], [word for _, word in asked]
    found = iter(score_words(lm, prompts, words, predict))
    return EditMetrics.of(
        {
            kind: [PromptScore(next(found), None if q.other is None else next(found)) for q in some]
            for kind, some in questions.items()
        }
    )


def score_words(
    lm: LanguageModel, prompts: Sequence[str], words: Sequence[str], predict: Predict | None = None
) -> list[WordScore]:
    """How the model goes on from each prompt to its word, each token after the right ones before.

    Rows are a prompt, and a prompt with the first tokens of a word; each runs once, however many
    words it is asked about. So the two objects of a fact, of one token each, are one pass. Which
    tokens a word has says `LanguageModel.answer_ids`; of `predict`, see `measure`.

    Raises:
        ContextTooLong: A prompt with its word has more tokens than the model has positions.
        NonFinite: NaN or infinity in the logits.

    Example:
        >>> (score,) = score_words(lm, ["The capital of France is"], ["Paris"])
        >>> score.probability, score.likeliest
    """
    numbers: dict[tuple[int, ...], int] = {}
    steps_of_words: list[list[tuple[int, int]]] = []
    tokens_after: dict[int, set[int]] = defaultdict(set)
    for prompt, word in zip(prompts, words, strict=True):
        before, ids = lm.encode(prompt, (0, len(prompt))).ids, lm.answer_ids(prompt, word)
        steps = [
            (numbers.setdefault((*before, *ids[:at]), len(numbers)), token)
            for at, token in enumerate(ids)
        ]
        steps_of_words.append(steps)
        for row, token in steps:
            tokens_after[row].add(token)
    found: dict[tuple[int, int], tuple[float, bool]] = {}
    for some, probabilities in (predict or _asking(lm))(list(numbers)):
        for row, likeliest, each in zip(
            some, probabilities.argmax(dim=-1).tolist(), probabilities, strict=True
        ):
            for token in tokens_after[row]:
                found[row, token] = _log(float(each[token])), token == likeliest
    return [
        WordScore(*map(fmean, zip(*(found[step] for step in steps), strict=True)))
        for steps in steps_of_words
    ]


def likeliest_tokens(lm: LanguageModel, prompts: Sequence[str]) -> list[int]:
    """The likeliest next token after each prompt, with any number of prompts.

    Example:
        >>> [lm.token_text(token) for token in likeliest_tokens(lm, ["The capital of France is"])]
        [' Paris']
    """
    likeliest = [0] * len(prompts)
    for some, probabilities in _asking(lm)([lm.encode_text(prompt) for prompt in prompts]):
        for number, token in zip(some, probabilities.argmax(dim=-1).tolist(), strict=True):
            likeliest[number] = token
    return likeliest


def _asking(lm: LanguageModel) -> Predict:
    """The model as it is; rows of one length run together, so that none is padded."""

    def predict(rows: Sequence[Row]) -> Iterator[tuple[Sequence[int], Tensor]]:
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            check_ids(list(row), max_tokens=lm.n_positions)
            by_length[len(row)].append(number)
        for length, numbers in by_length.items():
            at_once = max(1, lm.tokens_per_call // length)
            for start in range(0, len(numbers), at_once):
                some = numbers[start : start + at_once]
                ids = torch.tensor([rows[number] for number in some])
                yield some, lm.next_token_probabilities(ids)

    return predict


def _log(probability: float) -> float:
    """-∞ for what is too improbable for a float: such words tie, and a tie is a failure."""
    return math.log(probability) if probability else -math.inf
