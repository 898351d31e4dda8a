"""Waves of several prompts are run as one; of one prompt it is what `test_replayed_runs` tries."""

import math

import torch

from rome_widgets.tracing.metric import Means, Measure
from rome_widgets.tracing.replayed_waves import _totals, numbers_not_finite


def test_each_branch_is_measured_by_the_answer_of_its_prompt():
    logits = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    measures = [Measure(2), Measure(2), Measure(4), Measure(1, "logprob"), Measure(2)]
    found = _totals(logits, measures)
    for branch, measure in enumerate(measures):
        alone = measure.totals(logits[branch : branch + 1])
        torch.testing.assert_close(found.scores[branch], alone.scores[0])
        torch.testing.assert_close(found.probabilities[branch], alone.probabilities[0])


def test_nan_and_plus_infinity_are_not_finite_and_a_masked_logit_is_no_error():
    scores = torch.tensor([0.5, -math.inf, 0.25])
    nothing = torch.empty(3, 0)
    assert numbers_not_finite([7, 8, 9], Means(nothing, scores)) == []
    scores[2] = math.nan
    assert numbers_not_finite([7, 8, 9], Means(nothing, scores)) == [9]
