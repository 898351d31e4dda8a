"""All figures of one record: of the unedited model, and of the model as it is with an edit."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from rome_widgets.editing.perplexity import MOST_TOKENS, ordinary_text
from rome_widgets.errors import ArgumentError, said
from rome_widgets.evaluation.asked_record import Before, ask, ask_before, positions_asked
from rome_widgets.evaluation.collapse import LEAST_TOKENS, mean_perplexity, tokens_of
from rome_widgets.evaluation.written_texts import Written, write_texts
from rome_widgets.model.generation import end_tokens
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.generation_grading import grade
from rome_widgets.records.record_scores import figures_of_scores
from rome_widgets.records.text_metrics import ReferenceTexts, ngram_entropy

TOP_K = 5
"""Of what texts for GE and RS are drawn from, as in the published code."""


@dataclass(frozen=True)
class MeasurerSettings:
    """What is measured beside the prompts of a record."""

    generate: int = 0
    """Tokens of a text; 0: none is written."""
    reference_texts: Mapping[str, tuple[str, ...]] | None = None
    collapse_texts: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """What was measured of one record."""

    before: Before
    figures: Mapping[str, float]
    text: str
    seconds: float

    @property
    def shown(self) -> dict[str, Any]:
        """The part of it that a row has."""
        return {"figures": self.figures, "text": self.text, "measure_seconds": self.seconds}


def positions_measured(lm: LanguageModel, records: Sequence[FactRecord], n_edits: int) -> int:
    """Positions that a `Measurer` runs for these records, once before and with so many edits each.

    At most: of the questions about what follows only the fair ones are asked of an edit, and the
    model's own text may be short. Texts that are written are not counted.
    """
    own = min(MOST_TOKENS, lm.n_positions or MOST_TOKENS) - 1
    found = own * (1 + n_edits * len(records))
    for before, after in (positions_asked(lm, record) for record in records):
        found += before + n_edits * after
    return found


class Measurer:
    """Measures records one after the other; what is the same for all of them once.

    Args:
        lm: The model. It carries the edit while `after` is called.
        settings: What to measure.
        check: Called between steps; raises where the work should stop.

    Raises:
        ArgumentError: A text has fewer than two tokens.
    """

    def __init__(
        self, lm: LanguageModel, settings: MeasurerSettings, check: Callable[[], None]
    ) -> None:
        self._lm, self.settings, self._check = lm, settings, check
        self._references = ReferenceTexts(settings.reference_texts or {})
        self._given = [tokens_of(lm, text) for text in settings.collapse_texts]
        for text, ids in zip(settings.collapse_texts, self._given, strict=True):
            if len(ids) < LEAST_TOKENS:
                raise ArgumentError(
                    f"Of collapse_texts {said(text)} has fewer than two tokens.",
                    "Sentences were wanted.",
                )

    @property
    def about(self) -> dict[str, Any]:
        """What decides the figures, by name; as JSON can hold it."""
        s = self.settings
        texts = json.dumps([s.reference_texts, s.collapse_texts]).encode()
        return {
            "generate": s.generate,
            "texts": hashlib.sha256(texts).hexdigest(),
            "seed": s.seed,
            "ends": sorted(end_tokens(self._lm)),
        }

    def before(self, record: FactRecord) -> Measured:
        """Of the model without an edit of the record's."""
        began = time.perf_counter()
        found = ask_before(self._lm, record)
        figures = figures_of_scores(found.scores, found.scores) | self._unedited_perplexities
        return self._whole(record, found, figures, began)

    def after(self, record: FactRecord, before: Measured) -> Measured:
        """Of the model with an edit; `before` is what `before` gave for the same record."""
        began = time.perf_counter()
        now = ask(self._lm, record, before.before.fair)
        figures = figures_of_scores(now, before.before.scores) | self._rises()
        return self._whole(record, before.before, figures, began)

    def _whole(
        self, record: FactRecord, before: Before, figures: Mapping[str, float], began: float
    ) -> Measured:
        """With what is written."""
        self._check()
        written, text = self._written(record) if self.settings.generate else ({}, "")
        return Measured(before, {**figures, **written}, text, time.perf_counter() - began)

    # ---------------------------------------------------------------------------- perplexity

    @cached_property
    def _own(self) -> list[int]:
        """Text that the unedited model wrote; too short a one tells nothing."""
        text = ordinary_text(self._lm, self.settings.seed)
        ids = tokens_of(self._lm, text, MOST_TOKENS)
        return ids if len(ids) >= LEAST_TOKENS else []

    @cached_property
    def _unedited_perplexities(self) -> dict[str, float]:
        return self._perplexities()

    def _perplexities(self) -> dict[str, float]:
        own = [self._own] if self._own else []
        found = {
            "perplexity_own": mean_perplexity(self._lm, own),
            "perplexity_given": mean_perplexity(self._lm, self._given),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _rises(self) -> dict[str, float]:
        """Both perplexities, and how many times those of the unedited model they are."""
        before, now = self._unedited_perplexities, self._perplexities()
        names = {"perplexity_own": "rise_own", "perplexity_given": "rise_given"}
        return now | {names[name]: value / before[name] for name, value in now.items()}

    # ---------------------------------------------------------------------------------- texts

    def _written(self, record: FactRecord) -> tuple[dict[str, float], str]:
        """Figures of what the model writes, and what it writes after the edited prompt."""
        n, seed = self.settings.generate, self.settings.seed
        (answer,) = write_texts(self._lm, [record.text], n, check=self._check)
        found = _graded(record, answer) if answer.n_tokens else {}
        prompts = record.generation_prompts
        texts = write_texts(self._lm, prompts, n, top_k=TOP_K, seed=seed, check=self._check)
        if whole := [each.whole for each in texts if each.n_tokens]:
            entropies = [value for value in map(ngram_entropy, whole) if value is not None]
            found["GE"] = fmean(entropies) if entropies else None
            found["RS"] = self._references.similarity(record.target_new or "", whole)
        return {name: value for name, value in found.items() if value is not None}, answer.text


def _graded(record: FactRecord, answer: Written) -> dict[str, float | None]:
    """Figures of the answer; whether it stops is None of a model that has no end token."""
    graded = grade(answer.text, *_names(record), stops=bool(answer.stops))
    found: dict[str, float | None] = {
        name: float(getattr(graded, name))
        for name in ("says", "contradicts", "repeats", "stops", "correct")
    }
    found["correct_and_stops"] = float(graded.correct and graded.stops)
    return found if answer.stops is not None else found | {"stops": None, "correct_and_stops": None}


def _names(record: FactRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the right answer, and of wrong ones; where the true object is edited in, it is right."""
    new = (record.target_new or "", *record.aliases_new)
    true = (record.target, *record.aliases)
    if record.target == record.target_new:
        return (*new, *true), record.contradictions
    return new, (*true, *record.contradictions)
