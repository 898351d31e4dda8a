"""The metrics by their names."""

import pytest

from rome_widgets.errors import ArgumentError
from rome_widgets.records.trace_metric import (
    LEAST_RANGE,
    METRICS,
    SHORT,
    TITLES,
    check_metric,
    symbol,
)


def test_each_metric_has_words_and_a_range():
    assert set(TITLES) == set(SHORT) == set(LEAST_RANGE) == set(METRICS)
    assert [check_metric(metric) for metric in METRICS] == list(METRICS)


@pytest.mark.parametrize("metric", ["logits", "", None, 1, ["probability"]])
def test_another_metric_is_refused_with_those_that_there_are(metric):
    with pytest.raises(ArgumentError, match="'logprob', 'logit_difference' was wanted"):
        check_metric(metric)


def test_a_formula_says_what_is_measured():
    assert [symbol(metric, " Rome", " Paris") for metric in METRICS] == [
        "p(Rome)",
        "log p(Rome)",
        "logit(Rome) − logit(Paris)",
    ]
