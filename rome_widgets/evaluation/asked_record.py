"""All that is asked about one record, in one batch: its prompts, and the questions beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rome_widgets.editing.compare import SideBySide, SidesAfter
from rome_widgets.evaluation.metrics import Question
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.word_scores import rows_of_words, score_words
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.metrics import PromptKind, PromptScore, WordScore
from rome_widgets.records.record_scores import ProbeScore, RecordScores
from rome_widgets.records.schemas import Probe

Pair = tuple[str, str]
"""A prompt, and a word after it."""


class Before(NamedTuple):
    """What the unedited model says about a record."""

    scores: RecordScores
    fair: tuple[Probe, ...]
    """Questions whose answer follows from the edit, and whose conditions the model knows."""


def questions_of(record: FactRecord) -> dict[PromptKind, list[Question]]:
    """The prompts of a record by kind.

    Where no true object is named, or it is the one that is edited in (as in zsRE), there is nothing
    to compare the new one with, and neighborhood prompts have no right word.
    """
    new, true = record.target_new or "", record.target
    other = true if true != new else ""
    return {
        "efficacy": [Question(record.text, new, other or None)],
        "paraphrase": [Question(p, new, other or None) for p in record.paraphrase_prompts],
        "neighborhood": [Question(p, other, new) for p in record.neighborhood_prompts if other],
    }


def ask_before(lm: LanguageModel, record: FactRecord) -> Before:
    """Ask the unedited model, also whether the questions about what follows are fair ones.

    Raises:
        ContextTooLong: A prompt is too long for the model.
        NonFinite: It predicts NaN or infinity.
    """
    found = _asked(lm, record, _of_what_follows(record))
    fair = tuple(
        probe
        for probe in record.portability
        if all(_answered(given, found).right for given in probe.given)
    )
    return Before(_scores(record, fair, found), fair)


def ask(lm: LanguageModel, record: FactRecord, fair: Sequence[Probe] = ()) -> RecordScores:
    """Ask the model as it is; of what follows only the fair questions.

    Raises:
        ContextTooLong: A prompt is too long for the model.
        NonFinite: It predicts NaN or infinity.
    """
    return _scores(record, fair, _asked(lm, record, fair))


def positions_asked(lm: LanguageModel, record: FactRecord) -> tuple[int, int]:
    """Positions that `ask_before` runs, and `ask` where all questions about what follows are fair.

    Rows go together, so each is as long as the longest.
    """
    before, after = (
        rows_of_words(lm, *zip(*_pairs(record, probes), strict=True))[0]
        for probes in (_of_what_follows(record), record.portability)
    )
    return len(before) * max(map(len, before)), len(after) * max(map(len, after))


def _of_what_follows(record: FactRecord) -> list[Probe]:
    """The questions about it, and the conditions of each."""
    conditions = [probe for each in record.portability for probe in each.given]
    return [*record.portability, *conditions]


def _asked(lm: LanguageModel, record: FactRecord, probes: Iterable[Probe]) -> dict[Pair, WordScore]:
    """Every pair, and prompts of all lengths together."""
    as_it_is = SidesAfter(SideBySide(lm, (), n_sides=1)).side(0)
    pairs = _pairs(record, probes)
    prompts, words = zip(*pairs, strict=True)
    return dict(zip(pairs, score_words(lm, prompts, words, as_it_is), strict=True))


def _pairs(record: FactRecord, probes: Iterable[Probe]) -> list[Pair]:
    """Every pair once: of the prompts, of what should stay, and of these probes."""
    return list(dict.fromkeys(_every_pair(record, [*record.locality, *probes])))


def _every_pair(record: FactRecord, probes: Iterable[Probe]) -> Iterator[Pair]:
    for some in questions_of(record).values():
        for question in some:
            yield question.prompt, question.right
            if question.other is not None:
                yield question.prompt, question.other
    for probe in probes:
        yield from ((probe.prompt, name) for names in probe.answers for name in names)


def _scores(
    record: FactRecord, fair: Sequence[Probe], found: dict[Pair, WordScore]
) -> RecordScores:
    def score(question: Question) -> PromptScore:
        prompt, right, other = question
        return PromptScore(found[prompt, right], None if other is None else found[prompt, other])

    return RecordScores(
        {kind: [*map(score, some)] for kind, some in questions_of(record).items()},
        tuple(_answered(probe, found) for probe in record.locality),
        tuple(_answered(probe, found) for probe in fair),
    )


def _answered(probe: Probe, found: dict[Pair, WordScore]) -> ProbeScore:
    answers = tuple(tuple(found[probe.prompt, name] for name in names) for names in probe.answers)
    return ProbeScore(probe.group, answers)
