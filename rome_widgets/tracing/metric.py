"""A metric of the runs, computed from logits: see `records.trace_metric`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rome_widgets.model.language_model import upcast
from rome_widgets.records.trace_metric import Metric


class Means(NamedTuple):
    """What is predicted of some cells, as means over the draws."""

    probabilities: Tensor
    """`[cell, vocab]`"""
    scores: Tensor
    """`[cell]`: the metric."""


@dataclass(frozen=True)
class Measure:
    """Measures predictions of the next token by one number."""

    answer_id: int
    metric: Metric = "probability"
    against_id: int | None = None
    """The second answer; only a difference of logits has one."""

    def of(self, logits: Tensor) -> Tensor:
        """`[...]` from `[..., vocab]` logits, in float32 or float64; gradients pass.

        A difference of logits is not taken from probabilities, which may round to 0.
        """
        logits = upcast(logits)
        answer = logits[..., self.answer_id]
        if self.metric == "logit_difference":
            return answer - logits[..., self.against_id]
        log_p = answer - logits.logsumexp(dim=-1)
        return log_p.exp() if self.metric == "probability" else log_p

    def totals(self, logits: Tensor) -> Means:
        """Of `[cell, sample, vocab]` logits the sums over the samples, yet to be divided."""
        probabilities = upcast(logits).softmax(dim=-1)
        # The very probability that is shown beside the score, without another rounding.
        plain = self.metric == "probability"
        scores = probabilities[..., self.answer_id] if plain else self.of(logits)
        return Means(probabilities.sum(dim=1), scores.sum(dim=1))


def added(pieces: list[Means]) -> Means:
    """The sum of totals over some draws each."""
    return Means(*(torch.stack([*each]).sum(dim=0) for each in zip(*pieces, strict=True)))
