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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.word_scores import Predict, score_words
from rome_widgets.records.fact_record import FactRecord, new_and_true
from rome_widgets.records.metrics import EditMetrics, PromptKind, PromptScore


class Question(NamedTuple):
    """A prompt, the word that is right after it, and the other word of the fact."""

    prompt: str
    right: str
    other: str | None = None


def measure_record(
    lm: LanguageModel,
    record: FactRecord | Mapping[str, Any],
    others: Iterable[tuple[str, str]] = (),
    predict: Predict | None = None,
) -> EditMetrics:
    """Ask the model as it is, edited or not, all prompts of a record of any form.

    `others` are prompts that say something else about the subject, each with its right word; for
    `predict` see `measure`.

    Raises:
        PromptError: The record does not name both objects of the fact.

    Example:
        >>> with rw.edit(lm, record):
        ...     metrics = measure_record(lm, record)
        >>> metrics.efficacy.success, metrics.neighborhood.accuracy
    """
    record = FactRecord.from_record(record)
    new, true = new_and_true(record)
    return measure(
        lm,
        {
            "efficacy": [Question(record.text, new, true)],
            "paraphrase": [Question(p, new, true) for p in record.paraphrase_prompts],
            "neighborhood": [Question(p, true, new) for p in record.neighborhood_prompts],
            "others": [Question(prompt, word) for prompt, word in others],
        },
        predict,
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
