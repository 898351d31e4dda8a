"""A metric of the runs, computed from logits: see `records.trace_metric`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rome_widgets.model.language_model import upcast
from rome_widgets.records.trace_metric import Metric

NUMBERS_IN_CACHE = 500_000


class Means(NamedTuple):
    """What is predicted of some cells, as means over the draws."""

    probabilities: Tensor
    """`[cell, vocab]`; `[cell, 0]` where the scores alone were asked for."""
    scores: Tensor
    """`[cell]`: the metric."""


@dataclass(frozen=True)
class Measure:
    """Measures predictions of the next token by one number."""

    answer_id: int
    metric: Metric = "probability"
    against_id: int | None = None
    """The second answer; only a difference of logits has one."""
    alone: bool = False
    """Whether nothing but the scores is wanted: the probabilities of all tokens are not kept."""

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
        if self.alone:
            rows = logits.flatten(0, 1).split(_rows_in_cache(logits))
            scores = torch.cat([self._of_rows(upcast(some)) for some in rows])
            return Means(logits[:, 0, :0], scores.unflatten(0, logits.shape[:2]).sum(dim=1))
        probabilities = upcast(logits).softmax(dim=-1)
        # The very probability that is shown beside the score, without another rounding.
        plain = self.metric == "probability"
        scores = probabilities[..., self.answer_id] if plain else self.of(logits)
        return Means(probabilities.sum(dim=1), scores.sum(dim=1))

    def _of_rows(self, logits: Tensor) -> Tensor:
        """`[row]`, bit for bit what `totals` has for these rows beside the probabilities."""
        if self.metric == "probability":
            return logits.softmax(dim=-1)[:, self.answer_id]
        return self.of(logits)


def _rows_in_cache(logits: Tensor) -> int:
    """Rows whose softmax a CPU takes in its caches: twice as fast as of many at once."""
    if logits.device.type != "cpu":
        return logits.shape[0] * logits.shape[1]
    return max(1, NUMBERS_IN_CACHE // logits.shape[-1])


def added(pieces: list[Means]) -> Means:
    """The sum of totals over some draws each."""
    return Means(*(torch.stack([*each]).sum(dim=0) for each in zip(*pieces, strict=True)))
