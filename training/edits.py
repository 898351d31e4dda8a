"""What edits of a trained model do: the new object, new sentences, neighbours, other facts.

Each fact is edited by itself, from the unedited model. Shares are of the likeliest token: the new
object for the sentence itself and for held-out ones, the own, true object for neighbours and for
what else the model was taught of the subject. "success" counts as the paper does: the new object
more probable than the true one, or for a neighbour less. As in CounterFact's tables, a share is the
mean of the facts' own shares, so that a fact with many neighbours counts once.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, harmonic_mean
from typing import Any

import torch
from torch import Tensor

from rome_widgets.editing.edit import Edit
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.edit import EditReport
from rome_widgets.records.fact import Fact

Record = dict[str, Any]
"""In CounterFact's form; see `bundled.facts`."""
KINDS = ("efficacy", "paraphrase", "neighborhood")


@dataclass
class EditTable:
    """What became of every prompt."""

    top: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Per kind, and "others": of each fact that has such prompts, the share in which the wanted
    token is the likeliest."""
    success: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Per kind: the share in which the wanted object is the more probable one of the two."""
    probability: list[float] = field(default_factory=list)
    """Of the new object, after the sentence itself."""
    prompts: Counter[str] = field(default_factory=Counter)
    """How many were asked, per kind."""
    reports: list[EditReport] = field(default_factory=list)

    def count(self, kind: str, top: Sequence[bool], success: Sequence[bool] = ()) -> None:
        """Count the prompts of one fact."""
        self.prompts[kind] += len(top)
        if top:
            self.top[kind].append(fmean(top))
        if success:
            self.success[kind].append(fmean(success))

    def share(self, kind: str) -> float:
        """Mean share of the likeliest token, of a kind or of "others"; NaN if none was asked."""
        return _mean(self.top[kind])

    def figures(self) -> dict[str, Any]:
        """The table, rounded."""
        success = {kind: round(_mean(self.success[kind]), 4) for kind in KINDS}
        return {
            "facts": len(self.probability),
            "top-1": {kind: round(self.share(kind), 4) for kind in KINDS},
            "success": success,
            "S": round(harmonic_mean(success.values()), 4),
            "other facts of the subject kept, top-1": round(self.share("others"), 4),
            "prompts": dict(self.prompts),
            "mean probability of the target": round(_mean(self.probability), 4),
            "seconds per edit": round(_mean([report.seconds for report in self.reports]), 3),
        }


def _mean(shares: Sequence[float]) -> float:
    return fmean(shares) if shares else math.nan


def measure(
    lm: LanguageModel,
    facts: Sequence[Record],
    records: Sequence[Record],
    make: Callable[[Record], Edit],
) -> EditTable:
    """Edit each fact by itself and ask what changed.

    Args:
        lm: The model; bitwise as it was afterwards.
        facts: What to edit.
        records: Everything the model was taught, for the subjects' other facts.
        make: Computes the edit of a fact.
    """
    table = EditTable()
    for record in facts:
        rewrite = record["requested_rewrite"]
        prompt = Fact.from_record(record).text
        new, true = (
            lm.answer_ids(prompt, rewrite[target]["str"])[0]
            for target in ("target_new", "target_true")
        )
        edit = make(record)
        table.reports.append(edit.report)
        asked = {
            "efficacy": [prompt],
            "paraphrase": record["paraphrase_prompts"],
            "neighborhood": record["neighborhood_prompts"],
        }
        kept = others_of(record, records)
        with edit:
            for kind, prompts in asked.items():
                wanted, other = (true, new) if kind == "neighborhood" else (new, true)
                predicted = next_tokens(lm, prompts)
                table.count(
                    kind,
                    [int(p.argmax()) == wanted for p in predicted],
                    [bool(p[wanted] > p[other]) for p in predicted],
                )
                if kind == "efficacy":
                    table.probability += [float(p[new]) for p in predicted]
            predicted = next_tokens(lm, [text for text, _ in kept])
        right = [
            int(p.argmax()) == lm.answer_ids(text, known)[0]
            for (text, known), p in zip(kept, predicted, strict=True)
        ]
        table.count("others", right)
    return table


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


def next_tokens(lm: LanguageModel, prompts: Sequence[str]) -> list[Tensor]:
    """Probabilities of the next token after each prompt; prompts of one length run together."""
    rows = defaultdict(list)
    for number, prompt in enumerate(prompts):
        ids = lm.encode(prompt, (0, len(prompt))).ids
        rows[len(ids)].append((number, ids))
    found: dict[int, Tensor] = {}
    for some in rows.values():
        predicted = lm.next_token_probabilities(torch.tensor([ids for _, ids in some]))
        found |= {number: row for (number, _), row in zip(some, predicted, strict=True)}
    return [found[number] for number in range(len(prompts))]


def relation_of(record: Record) -> str:
    """The name of the relation."""
    return record["requested_rewrite"]["relation_id"]
