"""The answer that is followed, and the second one: a word, an id, or what the model says itself."""

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, PromptError
from tests.helpers import tiny
from tests.tracing.test_tracer import tracer_of


@pytest.fixture(scope="module")
def lm():
    return tiny.shared_lm("gpt2", scale=40)


def test_the_answer_is_the_top_token_of_the_clean_run(lm):
    tracer = tracer_of(lm)
    clean = tracer.restore([]).distributions[0]
    assert tracer.answer_id == clean.argmax()
    assert tracer.answer == f"w{tracer.answer_id}"


def test_a_given_answer_is_followed_even_when_it_is_not_the_top(lm):
    top = tracer_of(lm)
    other = tracer_of(lm, answer="w2" if top.answer_id != 2 else "w4")
    assert other.answer_id != top.answer_id
    assert other.clean < top.clean
    assert any("top token is" in note for note in other.notes)


def test_an_answer_can_be_a_tokens_id(lm):
    assert tracer_of(lm, answer=4).answer == "w4"
    for unknown in (-1, 29):
        with pytest.raises(PromptError, match=f"no token {unknown}"):
            tracer_of(lm, answer=unknown)


@pytest.mark.parametrize("kind", [list, tuple, iter, set, np.array])
def test_of_several_answers_the_most_probable_is_followed(lm, kind):
    words = ["w2", "w4 w1", "w8", "w20 w3"]
    wholes = {word: tracer_of(lm, answer=word) for word in words}
    best = max(words, key=lambda word: (wholes[word].whole or wholes[word]).clean)
    tracer = tracer_of(lm, answer=kind(words))
    assert tracer.answer == best.split()[0]
    (note,) = [note for note in tracer.notes if note.startswith("Of several answers")]
    assert all(repr(word) in note for word in words)


def test_ids_and_words_may_be_mixed_and_what_is_the_same_is_one(lm):
    assert tracer_of(lm, answer=[4, " w4", "w4"]).notes == tracer_of(lm, answer=4).notes
    assert tracer_of(lm, answer=np.array([4, 2])).answer_id in (2, 4)
    assert tracer_of(lm, answer=torch.tensor([2])).answer_id == 2
    assert tracer_of(lm, answer=np.array(2)).answer_id == 2


@pytest.mark.parametrize(
    "answer", [[], (), [None], ["w2", ""], [99], [True], [["w2"]], b"w2", {}, 3.5, np.array(3.5)]
)
def test_what_is_no_answer_is_refused_in_words(lm, answer):
    with pytest.raises(PromptError):
        tracer_of(lm, answer=answer)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"metric": "logits"}, ArgumentError, "'probability', 'logprob', 'logit_difference'"),
        ({"metric": "logit_difference"}, ArgumentError, r"likeliest is 'w\d+': pass against='w"),
        ({"metric": "logit_difference", "against": ["w1", "w2"]}, ArgumentError, "one second"),
        ({"metric": "logit_difference", "against": 29}, PromptError, "no token 29"),
        ({"metric": "logprob", "against": "w1"}, ArgumentError, "metric='logit_difference'"),
        ({"against": "w1"}, ArgumentError, "has no second answer"),
        (
            {"metric": "logit_difference", "against": "w7", "answer": "w7"},
            ArgumentError,
            "first tokens differ",
        ),
    ],
)
def test_a_metric_that_cannot_be_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        rw.trace(tiny.shared_lm("gpt2"), tiny.PROMPT, tiny.SUBJECT, **options)


def test_only_the_first_token_of_a_second_answer_counts_and_that_is_said():
    options = {"metric": "logit_difference", "against": "w7 w9", "answer": "w8"}
    tracer = tiny.tiny_tracer(tiny.shared_lm("gpt2"), **options)
    assert tracer.against_id == 7
    assert any("'w7 w9' is 2 tokens; the logit of its first" in note for note in tracer.notes)
