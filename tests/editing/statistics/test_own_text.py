"""A model's own text: drawn as its probabilities say, the same for a seed, without its edits."""

import threading

import numpy as np
import pytest
import torch

from rome_widgets.editing.statistics import own_text as module
from rome_widgets.editing.statistics.own_text import own_text
from rome_widgets.errors import Cancelled
from tests.helpers import world


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path))
    return tmp_path / "own_texts"


def drawn_by_hand(lm, number, length, seed=0):
    """One text: from whole passes, by where a number falls among the summed probabilities."""
    draws = np.random.RandomState([seed, number]).rand(length)
    row = list(module.start_ids(lm, number))
    for at in range(len(row), length):
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([row])).logits[0, -1]
        summed = logits.double().softmax(dim=0).cumsum(dim=0)
        row.append(int((summed < draws[at] * summed[-1]).sum()))
    return row


@pytest.mark.parametrize("name", world.SHAPES)
def test_each_text_is_drawn_as_by_hand(name):
    lm = world.new_lm(name)
    texts = own_text(lm, 30, longest=12)
    ends = module._ends(lm)
    assert [len(text) for text in texts][-1] <= 12
    assert sum(map(len, texts)) == 30
    for number, text in enumerate(texts):
        by_hand = drawn_by_hand(lm, number, 12)
        stop = next((at for at, t in enumerate(by_hand) if at and t in ends), len(by_hand))
        assert text == by_hand[:stop][: len(text)]


def test_tokens_come_as_often_as_they_are_probable():
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(1000, -1)
    chosen = module._drawn(logits, np.random.RandomState(0).rand(1000))
    shares = torch.bincount(chosen, minlength=3) / 1000
    assert torch.allclose(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.04)


@pytest.mark.parametrize("vocabulary", [1, module.BLOCK, module.BLOCK + 1, 5000])
def test_of_a_large_vocabulary_it_is_the_token_that_sums_over_all_say(vocabulary):
    logits = 5 * torch.from_numpy(np.random.RandomState(1).randn(200, vocabulary))
    draws = np.random.RandomState(2).rand(200)
    draws[:3] = 0, 1e-12, 1 - 1e-12
    sums = logits.softmax(dim=1).cumsum(dim=1)
    wanted = (sums < torch.from_numpy(draws)[:, None] * sums[:, -1:]).sum(dim=1)
    assert (module._drawn(logits, draws) == wanted)[3:].sum() >= 196  # but where two are as near
    assert (module._drawn(logits, draws) < vocabulary).all()


def test_a_text_ends_where_the_model_ends_it(monkeypatch):
    lm = world.new_lm("gpt2")
    whole = own_text(lm, 40, longest=10)
    end = whole[0][5]
    monkeypatch.setattr(module, "_ends", lambda lm: {end})
    cut = own_text(lm, 40, longest=10)
    assert cut[0] == whole[0][: whole[0].index(end, 1)]
    assert sum(map(len, cut)) == 40


def test_it_is_kept_and_another_seed_length_or_model_is_another(cache):
    lm, told = world.new_lm("gpt2"), []
    first = own_text(lm, 24, longest=12)
    assert own_text(world.new_lm("gpt2"), 24, longest=12, progress=told.append) == first
    assert told == []
    others = [
        own_text(lm, 24, longest=12, seed=1),
        own_text(lm, 25, longest=12),
        own_text(world.new_lm("llama"), 24, longest=12),
    ]
    assert all(other != first for other in others)
    assert len(list(cache.iterdir())) == 4


def test_a_file_that_is_damaged_is_written_again(cache, caplog):
    lm = world.new_lm("gpt2")
    first = own_text(lm, 24, longest=12)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert own_text(lm, 24, longest=12) == first
    assert "written again" in caplog.text


def test_it_is_written_without_the_models_edits():
    plain = own_text(world.new_lm("gpt2"), 48, longest=12, seed=3)
    lm = world.new_lm("gpt2")
    identity = {"layer": 1, "settings": world.SETTINGS, "second_moment": "identity"}
    with world.edit(lm, world.PROMPT, world.SUBJECT, "w8", **identity):
        assert own_text(lm, 48, longest=12, seed=3) == plain


def test_a_cancel_stops_between_two_tokens(cache):
    lm, cancel = world.new_lm("gpt2"), threading.Event()
    with pytest.raises(Cancelled, match="of 96 tokens of the model's own text"):
        own_text(lm, 96, longest=12, progress=lambda step: cancel.set(), cancel=cancel)
    assert not cache.exists()
