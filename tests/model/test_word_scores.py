"""How a model goes on to a word, against loops over whole passes."""

import math

import pytest
import torch

from rome_widgets import bundled
from rome_widgets.errors import ContextTooLong
from rome_widgets.model.word_scores import likeliest_tokens, score_words
from rome_widgets.records.fact import Fact
from tests.helpers import world
from tests.helpers.word_scores import PROMPTS, WORDS, by_whole_passes


@pytest.mark.parametrize("name", world.SHAPES)
def test_words_score_what_loops_over_whole_passes_give(name):
    lm = world.make_lm(name, torch.float64)
    words = [*WORDS[:4], said(lm, PROMPTS[4], 2)]
    for found, prompt, word in zip(score_words(lm, PROMPTS, words), PROMPTS, words, strict=True):
        log, share = by_whole_passes(lm, prompt, word)
        assert found.log_probability == pytest.approx(log, abs=1e-6 if "gptj" in name else 1e-9)
        assert found.token_accuracy == share
        assert found.n_tokens == len(world.words(word))
        assert found.joint_probability == pytest.approx(math.exp(len(world.words(word)) * log))
    assert found.likeliest


def said(lm, prompt, n_tokens):
    """The words that the model says next, so that something is the likeliest."""
    text = prompt
    for _ in range(n_tokens):
        text += f" w{likeliest_tokens(lm, [text])[0]}"
    return text.removeprefix(f"{prompt} ")


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


def test_a_word_beyond_the_last_position_is_refused():
    lm = world.make_lm("gpt2")
    prompt = " ".join(["w7"] * lm.n_positions)
    (score,) = score_words(lm, [prompt], ["w8"])
    assert score.probability > 0
    with pytest.raises(ContextTooLong):
        score_words(lm, [prompt], ["w8 w9"])
