"""Edits of a trained model, each from the unedited weights, and the metrics of them all.

What the metrics count is defined in `rome_widgets.records.metrics`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rome_widgets.editing.edit import Edit
from rome_widgets.evaluation.metrics import measure_record
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.edit import EditReport
from rome_widgets.records.fact import Fact
from rome_widgets.records.metrics import PROMPT_KINDS, SCORED, MetricsTotal

Record = dict[str, Any]
"""In CounterFact's form; see `bundled.facts`."""
COUNTED = {"success": SCORED, "magnitude": SCORED, "accuracy": PROMPT_KINDS}
"""What is counted, of which kinds of prompt."""


@dataclass(frozen=True)
class EditTable:
    """Metrics of the edits of some facts, and their reports."""

    metrics: MetricsTotal
    reports: Sequence[EditReport] = ()

    def accuracy(self, kind: str) -> float:
        """Mean share of the prompts of a kind with the right likeliest token; NaN of none."""
        return getattr(self.metrics, kind).accuracy.value

    def figures(self) -> dict[str, Any]:
        """The table, rounded; "intervals" are half the width of 95 % confidence intervals."""

        def each(part: str) -> dict[str, dict[str, float]]:
            return {
                name: {
                    kind: round(getattr(getattr(getattr(self.metrics, kind), name), part), 4)
                    for kind in kinds
                }
                for name, kinds in COUNTED.items()
            }

        efficacy = self.metrics.efficacy
        return {
            "facts": len(self.metrics.records),
            **each("value"),
            "S": round(self.metrics.score, 4),
            "intervals": each("interval"),
            "prompts": {kind: total.n_prompts for kind, total in self.metrics},
            "mean probability of the target": round(efficacy.probability.value, 4),
            "seconds per edit": round(fmean(report.seconds for report in self.reports), 3),
        }


def measure_edits(
    lm: LanguageModel,
    facts: Sequence[Record],
    records: Sequence[Record],
    make: Callable[[Record], Edit],
) -> EditTable:
    """Edit each fact by itself and ask what changed; the model is bitwise as it was afterwards.

    `records` are everything it was taught, for the subjects' other facts; `make` computes an edit.
    """
    metrics, reports = [], []
    for record in facts:
        edit = make(record)
        reports.append(edit.report)
        with edit:
            metrics.append(measure_record(lm, record, others_of(record, records)))
    return EditTable(MetricsTotal(tuple(metrics)), reports)


def drawn(records: Sequence[Record], count: int) -> list[Record]:
    """Facts drawn at random, the same in every run, with one of every relation before the rest."""
    shuffled = random.Random(0).sample(records, len(records))
    first = {relation_of(record): record for record in reversed(shuffled)}
    rest = [record for record in shuffled if first[relation_of(record)] is not record]
    return [*first.values(), *rest][:count]


def others_of(record: Record, records: Sequence[Record]) -> list[tuple[str, str]]:
    """(prompt, object) of what the model was taught of the same subject besides."""
    subject = record["requested_rewrite"]["subject"]
    return [
        (Fact.from_record(other).text, other["requested_rewrite"]["target_true"]["str"])
        for other in records
        if other["requested_rewrite"]["subject"] == subject
        and relation_of(other) != relation_of(record)
    ]


def relation_of(record: Record) -> str:
    """The name of the relation."""
    return record["requested_rewrite"]["relation_id"]
