"""What a model is asked for the metrics: against loops over whole passes."""

import math

import pytest
import torch

from rome_widgets import bundled
from rome_widgets.editing.compare import compare_strengths
from rome_widgets.errors import ContextTooLong
from rome_widgets.evaluation.metrics import (
    Question,
    likeliest_tokens,
    measure,
    measure_record,
    score_words,
)
from rome_widgets.records.fact import Fact
from tests.helpers import world

PROMPTS = ["w3 w14 w15 w26 w5", "w7", "w8 w9 w10", "w7", "w3 w14 w15 w26 w5"]
WORDS = ["w8", "w9 w11", "w12 w13 w2", "w4", "w8 w1"]
"""Of one to three tokens; prompts come twice, and words begin alike."""
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


def by_whole_passes(lm, prompt, word):
    """(mean log-probability, share of likeliest tokens): one whole pass per token."""
    ids, logs, hits = world.words(prompt), [], []
    for token in world.words(word):
        with torch.no_grad():
            after = lm.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        logs.append(float(after[token]))
        hits.append(int(after.argmax()) == token)
        ids = [*ids, token]
    return sum(logs) / len(logs), sum(hits) / len(hits)


@pytest.mark.parametrize("name", world.SHAPES)
def test_words_score_what_loops_over_whole_passes_give(name):
    lm = world.make_lm(name, torch.float64)
    words = [*WORDS[:4], said(lm, PROMPTS[4], 2)]
    for found, prompt, word in zip(score_words(lm, PROMPTS, words), PROMPTS, words, strict=True):
        log, share = by_whole_passes(lm, prompt, word)
        assert found.log_probability == pytest.approx(log, abs=1e-6 if "gptj" in name else 1e-9)
        assert found.token_accuracy == share
    assert found.likeliest


def said(lm, prompt, n_tokens):
    """The words that the model says next, so that something is the likeliest."""
    text = prompt
    for _ in range(n_tokens):
        text += f" w{likeliest_tokens(lm, [text])[0]}"
    return text.removeprefix(f"{prompt} ")


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


def test_each_row_runs_once_however_many_words_are_asked_of_it():
    lm = world.make_lm("gpt2", torch.float64)
    ran = []

    def predict(rows):
        ran.extend(map(tuple, rows))
        uniform = torch.full((len(rows), 29), 1 / 29)
        return [(range(len(rows)), uniform)]

    scores = score_words(lm, ["w7"] * 4, ["w8", "w9", "w8 w9", "w8 w1"], predict)
    assert ran == [(7,), (7, 8)]
    assert [score.probability for score in scores] == pytest.approx([1 / 29] * 4)


def test_likeliest_tokens_of_prompts_of_all_lengths_are_those_of_each_alone(bundled_lm):
    prompts = [Fact.from_record(record).text for record in bundled.facts()[:60]]
    lengths = {len(bundled_lm.encode_text(prompt)) for prompt in prompts}
    assert len(lengths) > 3
    alone = [
        int(bundled_lm.next_token_probabilities(torch.tensor([bundled_lm.encode_text(p)])).argmax())
        for p in prompts
    ]
    assert likeliest_tokens(bundled_lm, prompts) == alone
    assert likeliest_tokens(bundled_lm, []) == []


def test_nothing_asked_is_nothing_measured():
    metrics = measure(world.make_lm("gpt2"), {})
    assert {figures.n_prompts for _, figures in metrics} == {0}


def test_a_word_beyond_the_last_position_is_refused():
    lm = world.make_lm("gpt2")
    prompt = " ".join(["w7"] * lm.n_positions)
    (score,) = score_words(lm, [prompt], ["w8"])
    assert score.probability > 0
    with pytest.raises(ContextTooLong):
        score_words(lm, [prompt], ["w8 w9"])
