"""What a model writes: against a loop over whole passes, one text alone."""

import pytest
import torch

from rome_widgets.errors import Cancelled
from rome_widgets.evaluation.written_texts import write_texts
from tests.helpers import tiny

PROMPTS = ["w3 w14 w15", "w9", "w26 w5 w8", "w3 w14 w15"]


def greedy(lm, prompt, n):
    ids = lm.prompt_ids(prompt)
    for _ in range(n):
        with torch.no_grad():
            ids = [*ids, int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[len(lm.prompt_ids(prompt)) :]


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_greedy_texts_are_those_of_whole_passes_alone(engine):
    lm = tiny.shared_lm(scale=40, engine=engine)
    found = write_texts(lm, PROMPTS, 4)
    for prompt, written in zip(PROMPTS, found, strict=True):
        wanted = greedy(lm, prompt, 4)
        stop = wanted.index(0) if 0 in wanted else None
        assert written.text.split() == [f"w{token}" for token in wanted[:stop]]
        assert written.stops == (stop is not None)
        assert written.whole.split() == [*prompt.split(), *written.text.split()]


def test_a_text_ends_with_its_end_token_and_with_the_context(monkeypatch):
    lm = tiny.shared_lm(scale=40)
    wanted = greedy(lm, PROMPTS[0], 3)
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [28, wanted[1]])
    (written,) = write_texts(lm, PROMPTS[:1], 9)
    first = wanted.index(wanted[1])
    assert (written.text.split(), written.stops) == ([f"w{t}" for t in wanted[:first]], True)
    assert written.n_tokens == first + 1
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", None)
    (written,) = write_texts(lm, ["w3 " * (lm.n_positions - 2)], 9)
    assert (len(written.text.split()), written.n_tokens, written.stops) == (2, 2, None)


def test_drawn_texts_are_of_the_likeliest_tokens_and_of_their_own_seed(monkeypatch):
    lm = tiny.shared_lm()
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", None)
    draw = {"top_k": 3, "seed": 5}
    found = write_texts(lm, PROMPTS, 6, **draw)
    assert found == write_texts(lm, PROMPTS, 6, **draw)
    assert found[:2] == write_texts(lm, PROMPTS[:2], 6, **draw), "whatever is written beside it"
    assert found != write_texts(lm, PROMPTS, 6, top_k=3, seed=6)
    assert found[0] != found[3]
    ids = lm.prompt_ids(PROMPTS[1])
    for word in found[1].text.split():
        with torch.no_grad():
            likeliest = lm.model(torch.tensor([ids])).logits[0, -1].topk(3).indices.tolist()
        assert int(word[1:]) in likeliest
        ids = [*ids, int(word[1:])]


def test_a_check_is_heard_before_each_token():
    heard = []

    def check():
        heard.append(1)
        if len(heard) == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        write_texts(tiny.shared_lm(), PROMPTS[:1], 9, check=check)
    assert len(heard) == 3
