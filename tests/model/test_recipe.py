"""A recipe brings another process the same model, or a refusal that says why not."""

import copy
import dataclasses
import pickle

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import ModelChanged, StaysHere, WorkersLost
from rome_widgets.model import recipe as module
from rome_widgets.model.recipe import ModelRecipe
from tests.helpers import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("model") / "tiny"
    tiny.tiny_lm("gpt2").save_pretrained(made)
    return made


def test_the_model_of_a_recipe_is_the_same_and_is_kept(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    lm = rw.load("./tiny", device="cpu", dtype="bfloat16")
    recipe = pickle.loads(pickle.dumps(ModelRecipe.of(lm)))
    monkeypatch.chdir("/")
    again = recipe.model()
    assert again is not lm
    assert (again.dtype, again.device) == (lm.dtype, lm.device)
    for ours, theirs in zip(lm.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert recipe.model() is again


def test_the_bundled_model_has_no_folder_of_its_own():
    recipe = ModelRecipe.of(rw.load(device="cpu"))
    assert (recipe.source, recipe.dtype) == (None, "float32")


def test_a_model_that_is_another_there_is_refused(folder):
    lm = rw.load(folder, device="cpu")
    weight = next(lm.model.parameters())
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)
    recipe = ModelRecipe.of(lm)
    with torch.no_grad():
        weight.copy_(before)
    with pytest.raises(ModelChanged, match="another model there"):
        recipe.model()
    with pytest.raises(ModelChanged):
        dataclasses.replace(ModelRecipe.of(lm), dtype="float64").model()


def test_a_model_whose_texts_end_otherwise_there_is_refused(folder):
    lm = rw.load(folder, device="cpu")
    lm.model.generation_config.eos_token_id = 25
    with pytest.raises(ModelChanged, match="another model there"):
        ModelRecipe.of(lm).model()


def test_a_process_of_another_precision_is_told_what_to_set(folder, monkeypatch):
    recipe = ModelRecipe.of(rw.load(folder, device="cpu"))
    monkeypatch.setattr(module, "reduced_precision", lambda device, dtype: "bfloat16")
    with pytest.raises(WorkersLost, match=r"mkldnn.matmul.fp32_precision = \"ieee\""):
        recipe.model()
    here = ModelRecipe.of(rw.load(folder, device="cpu"))
    assert here.digest == recipe.digest
    here.model()


def test_what_no_folder_has_is_refused_with_the_reason(folder):
    lm = rw.load(folder, device="cpu")
    with pytest.raises(StaysHere, match="made in memory"):
        ModelRecipe.of(tiny.tiny_lm("gpt2"))
    hooked = rw.LanguageModel(copy.deepcopy(lm.model), lm.tokenizer)
    hook = hooked.model.transformer.h[1].register_forward_hook(lambda *_: None)
    with pytest.raises(StaysHere, match="hook"):
        ModelRecipe.of(hooked)
    hook.remove()
    edit = rw.edit(lm, "w3 {} w9", "w14", "w5", layer=2, second_moment="identity",
                   settings={"steps": 1, "prefixes": ()})  # fmt: skip
    with edit, pytest.raises(StaysHere, match=r"carries edits.*save_pretrained"):
        ModelRecipe.of(lm)
