"""Perplexity of texts: against the model's own loss, and the published definition."""

import math

import pytest
import torch

from rome_widgets.evaluation.collapse import mean_perplexity, tokens_of
from tests.helpers import tiny, world

TEXTS = [[3, 14, 15, 9, 26], [5, 8], [1, 1, 2]]


def by_the_model(lm, ids):
    """exp of transformers' own loss."""
    rows = torch.tensor([ids])
    with torch.no_grad():
        return math.exp(lm.model(rows, labels=rows).loss)


def test_it_is_the_mean_over_texts_of_the_exponential_of_the_loss():
    lm = world.make_lm("gpt2", torch.float64)
    each = [by_the_model(lm, ids) for ids in TEXTS]
    assert mean_perplexity(lm, TEXTS) == pytest.approx(sum(each) / len(each))
    assert mean_perplexity(lm, []) is None


def test_the_published_code_divides_by_one_more():
    """There exp(-(sum of N - 1 log p) / N); ours is that to the power of N / (N - 1)."""
    lm = world.make_lm("gpt2", torch.float64)
    (ids, *_), n = TEXTS, len(TEXTS[0])
    with torch.no_grad():
        logs = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    total = sum(float(logs[at, ids[at + 1]]) for at in range(n - 1))
    assert mean_perplexity(lm, [ids]) == pytest.approx(math.exp(-total / n) ** (n / (n - 1)))


def test_a_text_is_cut_to_what_the_model_reads():
    lm = tiny.shared_lm()
    text = "w3 " * 40
    assert tokens_of(lm, text) == [3] * lm.n_positions
    assert tokens_of(lm, text, 5) == [3] * 5
    assert tokens_of(lm, "  ") == []
