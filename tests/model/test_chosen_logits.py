"""Logits at chosen positions are those of a whole pass, and no others are computed."""

import pytest
import torch

from rome_widgets.model.chosen_logits import logits_at
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.structure.geometry import all_logits
from tests.helpers import tiny

IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 8], [1, 2, 20, 21, 22, 23, 24], [9, 9, 9, 4, 4, 4, 4]])
POSITIONS = torch.tensor([[6, 2], [3, 3], [2, 5]])


def both_ways(lm, visitors=()):
    """At the positions, and of a whole pass."""
    found = lm.run(lambda: run_hooked(lambda: logits_at(lm, IDS, POSITIONS), visitors))
    whole = lm.run(lambda: run_hooked(lambda: all_logits(lm.model, IDS), visitors))
    return found, torch.stack([whole[row, POSITIONS[row]] for row in range(len(IDS))])


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_they_are_those_of_a_whole_pass(family, engine):
    lm = tiny.tiny_lm(family, dtype=torch.float64)
    if engine != "replay":
        lm.replay = None
    found, wanted = both_ways(lm)
    assert found.shape == (3, 2, tiny.VOCAB)
    assert (found - wanted).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["embedding", "last block", "norm", "head"])
def test_what_acts_on_a_module_acts_here_too(name):
    lm = tiny.tiny_lm("llama", dtype=torch.float64)
    where = {
        "embedding": lm.geometry.embedding,
        "last block": lm.geometry.blocks[-1],
        "norm": "model.norm",
        "head": "lm_head",
    }[name]
    turned = [(lm.model.get_submodule(where), lambda seen: seen.output.roll(1, dims=-1))]
    (found, wanted), (without, _) = both_ways(lm, turned), both_ways(lm)
    assert (found - wanted).abs().max() < 1e-9
    assert (found - without).abs().max() > 1e-3


@pytest.mark.parametrize(("engine", "n_rows"), [("replay", 6), ("whole passes", 15)])
def test_no_other_position_goes_through_the_head(engine, n_rows):
    """Whole passes begin with the first position that is asked for."""
    lm = tiny.tiny_lm("llama")
    if engine != "replay":
        lm.replay = None
    read = []
    head = [(lm.model.lm_head, lambda seen: read.append(seen.output[..., 0].numel()))]
    lm.run(lambda: run_hooked(lambda: logits_at(lm, IDS, POSITIONS), head))
    assert read == [n_rows]


def test_gradients_are_those_of_a_whole_pass():
    lm = tiny.tiny_lm("gpt2", dtype=torch.float64)
    share = torch.zeros((), dtype=torch.float64, requires_grad=True)
    block = lm.model.get_submodule(lm.geometry.blocks[1])
    more = [(block, lambda seen: seen.output * (1 + share))]

    def slope(logits):
        return torch.autograd.grad(logits.log_softmax(-1)[0, 0, 5], share)[0]

    def at():
        return slope(run_hooked(lambda: logits_at(lm, IDS, POSITIONS), more))

    def whole():
        return slope(run_hooked(lambda: all_logits(lm.model, IDS), more)[:, 6:])

    found, wanted = (lm.run(call, gradients=True) for call in (at, whole))
    assert found == pytest.approx(float(wanted), rel=1e-9)
    assert abs(float(wanted)) > 1e-6
