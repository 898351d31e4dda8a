"""What a trace measures of a prediction: a probability, its logarithm, or a difference of logits.

A metric is one number per run; of several draws it is the mean over them. Where a second answer is
named, the difference of the two answers' logits is how much one is preferred to the other, whatever
the rest of the vocabulary does.

Source:
    Zhang & Nanda 2024, "Towards best practices of activation patching in language models".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from rome_widgets.errors import ArgumentError, said
from rome_widgets.records.html import quoted

Metric = Literal["probability", "logprob", "logit_difference"]
METRICS: tuple[Metric, ...] = get_args(Metric)
TITLES: Mapping[Metric, str] = {
    "probability": "probability",
    "logprob": "log-probability",
    "logit_difference": "logit difference",
}
"""The metrics in words; logarithms are natural, so the last two are in nats."""
SHORT: Mapping[Metric, str] = {
    "probability": "p",
    "logprob": "log p",
    "logit_difference": "logit difference",
}
"""The metrics before a number, or over a column of them."""
LEAST_RANGE: Mapping[Metric, float] = {
    "probability": 0.1,
    "logprob": 0.5,
    "logit_difference": 0.5,
}
"""What the colours of a figure span at least: a smaller effect looks weak."""


def check_metric(metric: Any) -> Metric:
    """The metric, if there is one of that name.

    Raises:
        ArgumentError: There is none.
    """
    if isinstance(metric, str) and metric in METRICS:
        return metric
    raise ArgumentError(
        f"The metric is {said(metric)}.", f"One of {', '.join(map(repr, METRICS))} was wanted."
    )


def symbol(metric: Metric, answer: str, against: str = "") -> str:
    """What is measured, as a formula: `p(Rome)`, `log p(Rome)`, `logit(Rome) − logit(Paris)`."""
    answer, against = answer.strip(), against.strip()
    return {
        "probability": f"p({answer})",
        "logprob": f"log p({answer})",
        "logit_difference": f"logit({answer}) − logit({against})",
    }[metric]


def line_of_repr(metric: Metric, answer: str, against: str) -> str:
    """What is measured as a line of a repr; empty of a probability, which needs no words."""
    if metric == "probability":
        return ""
    return f"    {symbol(metric, quoted(answer.strip(), 24), quoted(against.strip(), 24))},\n"
