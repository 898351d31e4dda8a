"""Prefixes: the model's own texts, the same for one seed, and kept for the next edit."""

import pytest
import torch

from rome_widgets.editing.prefixes import sample_prefixes
from rome_widgets.errors import Cancelled
from tests.helpers import world
from tests.helpers.world import by_reference, make_edit, make_lm, off


def test_they_are_as_many_and_as_long_as_asked_for():
    lm = make_lm("gpt2")
    texts = sample_prefixes(lm, [(3, 2), (5, 1)], seed=0, bare=2)
    assert texts[:2] == ("", "")
    assert len(texts) == 5
    assert all(0 < len(lm.encode_alone(text)) <= 5 for text in texts[2:])
    assert sample_prefixes(lm, [], seed=0) == ("",)


def test_they_are_the_seeds_and_nobodys_random_numbers_move():
    lm = make_lm("llama")
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, other = (sample_prefixes(lm, [(6, 4)], seed) for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first != other
    assert sample_prefixes(world.new_lm("llama"), [(6, 4)], 0) == first


def test_the_latest_are_kept_until_a_weight_is_written():
    lm, asked = world.new_lm("gpt2"), []
    options = {"seed": 0, "check": lambda: asked.append(1)}
    first = sample_prefixes(lm, [(6, 2)], **options)
    n_asked = len(asked)
    assert sample_prefixes(lm, ((6, 2),), **options, bare=3)[3:] == first[1:]
    assert len(asked) == n_asked > 0
    with world.made_up_edit(lm, 0):
        sample_prefixes(lm, [(6, 2)], **options)
        assert len(asked) == 2 * n_asked


def test_the_latest_are_kept_when_an_edit_was_taken_out_and_not_when_its_matrix_was_written():
    lm, asked = world.new_lm("gpt2"), []
    options = {"seed": 0, "check": lambda: asked.append(1)}
    with world.made_up_edit(lm, 0):
        pass
    first = sample_prefixes(lm, [(6, 2)], **options)
    n_asked = len(asked)
    with world.made_up_edit(lm, 0) as change:
        pass
    assert sample_prefixes(lm, [(6, 2)], **options) == first
    assert len(asked) == n_asked
    weight = lm.model.get_parameter(change.updates[0].name)
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
    sample_prefixes(lm, [(6, 2)], **options)
    assert len(asked) == 2 * n_asked
    with torch.no_grad():
        weight.copy_(before)
    assert sample_prefixes(lm, [(6, 2)], **options) == first


def test_a_check_stops_the_writing():
    def stop():
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        sample_prefixes(make_lm("gpt2"), [(6, 2)], seed=77, check=stop)


def test_braces_in_them_do_no_harm(monkeypatch):
    lm = make_lm("gpt2")
    monkeypatch.setattr(
        "rome_widgets.editing.methods.rank_one.rome.sample_prefixes",
        lambda *_, **__: ("", "{w3} {} {0.__class__} %s"),
    )
    made = make_edit(lm)
    v, u, *_ = by_reference(lm, made)
    assert off(made.updates[0].v[0], v) <= 1e-9
    assert off(made.updates[0].u[0], u) <= 1e-9


def test_they_begin_with_first_words_in_turn():
    lm = make_lm("gpt2")
    texts = sample_prefixes(lm, [(6, 4)], seed=0, first_words=("w3", "w9"))[1:]
    firsts = [lm.encode_alone(text)[0] for text in texts]
    assert firsts == [lm.encode_alone(word)[0] for word in ("w3", "w9", "w3", "w9")]
    assert all(len(lm.encode_alone(text)) <= 6 for text in texts)


def test_texts_of_the_users_take_their_place():
    made = make_edit(make_lm("gpt2"), texts=["w3 w4", "w5"])
    assert made.report.prefixes == ("", "", "w3 w4", "w5")
