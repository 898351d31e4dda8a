"""What a model is asked for the metrics: against loops over whole passes."""

import math

import pytest
import torch

from rome_widgets.editing.compare import compare_strengths
from rome_widgets.evaluation.metrics import Question, measure, measure_record
from rome_widgets.records.fact import Fact
from tests.helpers import world
from tests.helpers.word_scores import PROMPTS, by_whole_passes

NEW, TRUE = "w8 w9", "w5"
RECORD = {
    "requested_rewrite": {
        "prompt": world.PROMPT,
        "subject": world.SUBJECT,
        "target_new": {"str": NEW},
        "target_true": {"str": TRUE},
    },
    "paraphrase_prompts": ["w1 w14 w15 w2", "w14 w15"],
    "neighborhood_prompts": ["w3 w6 w26 w5", "w3 w11 w12 w26 w5", "w3 w2 w26 w5"],
}
OTHERS = [("w14 w15 w20", "w21"), ("w14 w15 w22", "w23 w24")]


def metrics_by_loops(lm):
    """The record's, as the paper defines them."""
    new = {"right": NEW, "other": TRUE}
    true = {"right": TRUE, "other": NEW}
    asked = {
        "efficacy": [(Fact.from_record(RECORD).text, new)],
        "paraphrase": [(p, new) for p in RECORD["paraphrase_prompts"]],
        "neighborhood": [(p, true) for p in RECORD["neighborhood_prompts"]],
    }
    found = {}
    for kind, questions in asked.items():
        success = magnitude = accuracy = 0.0
        for prompt, words in questions:
            right, hits = by_whole_passes(lm, prompt, words["right"])
            other, _ = by_whole_passes(lm, prompt, words["other"])
            success += (right > other) / len(questions)
            magnitude += (math.exp(right) - math.exp(other)) / len(questions)
            accuracy += (hits == 1) / len(questions)
        found[kind] = (success, magnitude, accuracy)
    return found


@pytest.mark.parametrize("name", world.SHAPES)
def test_a_record_is_measured_as_the_paper_defines_it(name):
    lm = world.make_lm(name, torch.float64)
    close = 1e-6 if "gptj" in name else 1e-9
    with world.made_up_edit(lm, 0):
        found, wanted = measure_record(lm, RECORD, OTHERS), metrics_by_loops(lm)
        others = [by_whole_passes(lm, *other)[1] == 1 for other in OTHERS]
    for kind, figures in wanted.items():
        assert getattr(found, kind)[:3] == pytest.approx(figures, abs=close)
    assert found.others.accuracy == sum(others) / len(others)
    assert [metrics.n_prompts for _, metrics in found] == [1, 2, 3, 2]


def test_the_objects_exchanged_are_the_opposite():
    """No tie here: what fails for the one succeeds for the other."""
    lm = world.make_lm("gpt2", torch.float64)
    questions = [Question(prompt, "w8", "w5") for prompt in PROMPTS[:3]]
    exchanged = [Question(q.prompt, q.other, q.right) for q in questions]
    one = measure(lm, {"efficacy": questions}).efficacy
    other = measure(lm, {"efficacy": exchanged}).efficacy
    assert one.success + other.success == 1
    assert one.magnitude == pytest.approx(-other.magnitude)
    same = [Question(prompt, "w8", "w8") for prompt in PROMPTS[:3]]
    assert measure(lm, {"efficacy": same}).efficacy[:2] == (0, 0), "ties"


def test_an_edit_that_is_not_applied_is_measured_as_the_applied_one():
    lm = world.make_lm("gpt2", torch.float64)
    made = world.made_up_edit(lm, 0)
    questions = {"efficacy": [Question(prompt, "w8 w9", "w5") for prompt in PROMPTS]}
    ahead = compare_strengths(lm, made, (1.0,))
    found = measure(lm, questions, lambda rows: [(range(len(rows)), ahead.probabilities(rows)[0])])
    unedited = measure(lm, questions)
    with made:
        applied = measure(lm, questions)
    assert found.efficacy == pytest.approx(applied.efficacy, abs=1e-6)
    assert unedited.efficacy.magnitude != pytest.approx(applied.efficacy.magnitude, abs=1e-6)


def test_nothing_asked_is_nothing_measured():
    metrics = measure(world.make_lm("gpt2"), {})
    assert {figures.n_prompts for _, figures in metrics} == {0}
