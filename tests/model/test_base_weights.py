"""The model as it was before its edits, without touching a weight; and its digest_without_edits."""

import pytest
import torch

from rome_widgets.model.base_weights import digest_without_edits, unedited_modules, without_edits
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure.geometry import all_logits
from tests.helpers import families, tiny, world
from tests.helpers.model_guard import fingerprint

IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 8], [2, 7, 1, 8, 28, 18, 4]])


@pytest.fixture(params=["gpt2", "llama", "llama, with biases"])
def lm(request):
    """Conv1D with its transposed weight, and linear layers without and with a bias."""
    return world.new_lm(request.param)


def logits(lm, visitors=()):
    return lm.run(lambda: run_hooked(lambda: all_logits(lm.model, IDS), visitors))


def test_an_edited_model_runs_bit_for_bit_as_before_and_keeps_its_edits(lm):
    before = logits(lm)
    edits = [world.made_up_edit(lm, layer, layer=layer, rank=2) for layer in (0, 2)]
    for edit in edits:
        edit.apply()
    edited, weights = logits(lm), fingerprint(lm.model)
    assert (edited - before).abs().max() > 1e-3
    assert torch.equal(logits(lm, without_edits(lm)), before)
    assert fingerprint(lm.model) == weights
    assert torch.equal(logits(lm), edited)
    lm.revert_all()


def test_each_edited_matrix_is_there_once_and_puts_out_what_it_did(lm):
    names = [world.down_of(lm.name, layer) for layer in (0, 2)]
    keys = torch.randn(3, 5, families.D_MLP, dtype=lm.dtype)
    with torch.no_grad():
        wanted = [lm.model.get_submodule(name)(keys) for name in names]
    for number, layer in enumerate((0, 2, 2)):
        world.made_up_edit(lm, number, layer=layer).apply()
    found = unedited_modules(lm)
    assert [module for module, _ in found] == [lm.model.get_submodule(name) for name in names]
    with torch.no_grad():
        assert all(
            torch.equal(original(keys), each)
            for (_, original), each in zip(found, wanted, strict=True)
        )
    lm.revert_all()
    assert unedited_modules(lm) == without_edits(lm) == []


def test_edits_do_not_change_the_digest(lm):
    before = digest_without_edits(lm)
    with world.made_up_edit(lm, 0), world.made_up_edit(lm, 1, layer=2):
        assert digest_without_edits(lm) == before
    assert digest_without_edits(lm) == before


def test_other_weights_names_shapes_and_dtypes_have_other_digests():
    model = tiny.tiny_model("gpt2")
    lm = LanguageModel(model, tiny.word_tokenizer())
    found = {
        digest_without_edits(lm),
        digest_without_edits(tiny.tiny_lm("gpt2", seed=1)),
        digest_without_edits(tiny.tiny_lm("llama")),
    }
    found |= {digest_without_edits(tiny.tiny_lm("gpt2", dtype=torch.float64))}
    bias = model.transformer.h[3].mlp.c_proj.bias.data
    saved = bias[2].clone()
    bias[2] = 1.5
    assert len(found | {digest_without_edits(lm)}) == 5
    bias[2] = saved
    assert digest_without_edits(lm) in found
    assert digest_without_edits(tiny.tiny_lm("gpt2")) == digest_without_edits(lm)
