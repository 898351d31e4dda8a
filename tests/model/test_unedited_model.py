"""A model runs as if it carried no edit, whatever edits come and go; other changes are seen."""

import pytest
import torch

from rome_widgets.errors import ModelChanged
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.structure.geometry import all_logits
from rome_widgets.model.unedited_model import UneditedModel
from tests.helpers import model_guard, world


def edited(lm):
    options = {"layer": 1, "settings": world.SETTINGS, "second_moment": "identity"}
    return world.edit(lm, world.PROMPT, world.SUBJECT, "w8", **options)


def logits(lm, visitors):
    ids = torch.tensor([world.words("w1 w2 w3 w4 w5")])
    return lm.run(lambda: run_hooked(lambda: all_logits(lm.model, ids), visitors))


def test_it_runs_as_if_it_carried_no_edit_also_when_one_comes_meanwhile():
    lm, calls = world.new_lm("gpt2"), []
    plain = logits(lm, [])
    change = edited(lm)

    def call(visitors):
        calls.append(visitors)
        if len(calls) == 1:
            change.apply()
        return logits(lm, visitors)

    base = UneditedModel(lm)
    assert torch.equal(base.run(call), plain)
    assert len(calls) == 2
    assert not torch.equal(logits(lm, []), plain)
    change.revert()


def test_weights_that_somebody_else_wrote_are_seen():
    lm = world.new_lm("gpt2")
    base = UneditedModel(lm, ["transformer.h.1.mlp.c_proj.weight"])

    def call(visitors):
        with torch.no_grad():
            lm.model.transformer.h[1].mlp.c_proj.weight[3, 2] += 1

    with pytest.raises(ModelChanged, match="while statistics were gathered"):
        base.run(call)
    model_guard.settle()
