"""Rank-one edits equal the plain reference; test_edit_identities.py has what they must fulfil."""

import pytest
import torch

from rome_widgets.editing import rewrite_passes
from rome_widgets.editing.methods.rank_one import rome
from tests.helpers import families, world
from tests.helpers.counts import pairs, turns
from tests.helpers.gates import write_gate
from tests.helpers.world import IN_FLOAT32, SHAPES, by_reference, make_edit, make_lm, off

METHODS = ("rome", "r-rome")
WORST = {}


@pytest.fixture(scope="module", autouse=True)
def worst_differences_are_on_record():
    yield
    write_gate("rome_equality", {name: f"{worst:.1e}" for name, worst in WORST.items()})


def check_against_reference(name, method, target, dtype=None, **options):
    lm = make_lm(name, dtype)
    made = make_edit(lm, method, target, **options)
    v, u, _, log = by_reference(lm, made, consistent=method == "r-rome", **options)
    (update,) = made.updates
    limit = 1e-4 if dtype == torch.float32 else 1e-5 if name in IN_FLOAT32 else 1e-9
    worst = max(off(update.u[0], u), off(update.v[0], v))
    assert worst <= limit, f"off by {worst}"
    at = f"{name}, {'float32' if dtype == torch.float32 else 'float64'}"
    WORST[at] = max(WORST.get(at, 0.0), worst)
    assert len(made.report.steps) == len(log)
    for step, (loss, nll, kl, decay, norm) in zip(made.report.steps, log, strict=True):
        wanted = torch.tensor([loss, nll, kl, decay, norm])
        ours = torch.tensor([step.loss, step.nll, step.kl, step.weight_decay, step.norm])
        assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "method", "target"), pairs(SHAPES, METHODS, ["w8", "w8 w21 w4"]))
def test_an_edit_equals_the_reference(name, method, target):
    check_against_reference(name, method, target)


@pytest.mark.parametrize(("name", "method"), turns(SHAPES, METHODS))
def test_an_edit_equals_the_reference_in_float32(name, method):
    check_against_reference(name, method, "w8", torch.float32)


def _wrong_key(monkeypatch):
    read_keys = rome.read_keys

    def not_the_mean(passes):
        read = read_keys(passes)
        return rome.Keys(read.bare, read.bare, read.bare_value, read.bare_value)

    monkeypatch.setattr(rome, "read_keys", not_the_mean)


def _wrong_value(monkeypatch):
    adding = rewrite_passes.adding
    monkeypatch.setattr(rewrite_passes, "adding", lambda delta, **at: adding(1.01 * delta, **at))


@pytest.mark.parametrize(("name", "plant"), turns(SHAPES, [_wrong_key, _wrong_value]))
def test_a_planted_mistake_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_against_reference(name, "rome", "w8")


@pytest.mark.parametrize("layer", range(families.N_LAYERS))
@pytest.mark.parametrize("target", ["w8", "w8 w21 w4"])
def test_every_layer_equals_the_reference(layer, target):
    """In the last one nothing is left to run again; a target of its own place is read there."""
    lm = make_lm("gpt2")
    made = make_edit(lm, target=target, layer=layer, steps=3)
    v, u, *_ = by_reference(lm, made, layer=layer)
    (update,) = made.updates
    assert off(update.u[0], u) <= 1e-9
    if layer < families.N_LAYERS - 1:  # there Adam makes steps of gradients that are rounding
        assert off(update.v[0], v) <= 1e-9


# -------------------------------------------------------------------------- identities


@pytest.mark.parametrize(("name", "dtype"), turns(SHAPES, [torch.float64, torch.float32]), ids=str)
def test_the_scale_of_the_second_moment_does_not_matter(name, dtype):
    """E3."""
    lm = make_lm(name, dtype)
    limit = 1e-9 if dtype == torch.float64 else 1e-6
    once, again = (make_edit(lm, moment=world.make_moment(scale=s)) for s in (1.0, 7.5))
    assert off(once.updates[0].u, again.updates[0].u) <= limit
    assert off(once.updates[0].v, again.updates[0].v) <= limit


def test_the_last_layer_warns_that_a_change_cannot_reach_the_prediction():
    lm = make_lm("gpt2")
    assert any("last layer" in w for w in make_edit(lm, layer=3).report.warnings)
    assert not any("last layer" in w for w in make_edit(lm, layer=2).report.warnings)
