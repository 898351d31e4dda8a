"""Edits for other tools: an adapter that peft merges bit for bit, code, and a saved model."""

import json

import pytest
import safetensors.torch
import torch

import rome_widgets as rw
from rome_widgets.editing.export import to_peft
from rome_widgets.errors import EditRefused
from tests.helpers import tiny, world
from tests.helpers.families import tiny_family
from tests.model.test_ledger import same, weights


def test_fine_tuning_has_no_adapter_of_low_rank(tmp_path):
    with pytest.raises(EditRefused, match="all directions"):
        world.make_edit(world.make_lm("gpt2"), "ft").to_peft(tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an old name
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_peft_merges_the_adapter_to_the_very_same_weights(name, tmp_path):
    peft = pytest.importorskip("peft")
    lm = world.new_lm(name, torch.float32)
    edit = world.make_edit(lm)
    edit.strength = 0.6
    folder = edit.to_peft(tmp_path / "adapter")
    with edit:
        wanted = weights(lm)
        ids = torch.tensor([[3, 14, 15, 26]])
        logits = lm.run(lambda: lm.model(input_ids=ids).logits)
    fresh = tiny_family(name, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(fresh, folder).eval()
    with torch.no_grad():
        assert torch.allclose(adapted(input_ids=ids).logits, logits, atol=1e-5)
    merged = adapted.merge_and_unload()
    assert same(wanted, merged.state_dict())


def test_several_edits_of_one_matrix_are_one_adapter_of_their_rank(tmp_path):
    lm = world.new_lm("gpt2", torch.float32)
    edits = [world.made_up_edit(lm, number) for number in range(3)]
    folder = to_peft(edits, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 3
    assert config["fan_in_fan_out"]
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    a, b = (next(t for n, t in tensors.items() if f"lora_{x}" in n) for x in "AB")
    like = torch.zeros(20, 8)
    wanted = sum(edit.updates[0].delta(1.0, like) for edit in edits)
    assert torch.allclose((b @ a).T, wanted, atol=1e-6)
    with pytest.raises(EditRefused, match="One adapter has one rank"):
        to_peft([edits[0], world.made_up_edit(lm, 5, layer=2, rank=2)], tmp_path)


def test_a_saved_model_has_the_edit_in_its_weights(bundled_lm, tmp_path):
    edit = rw.edit(bundled_lm, "{} is in the city of", "The Space Needle", "Paris")
    with edit:
        bundled_lm.save_pretrained(tmp_path)
        wanted = weights(bundled_lm)
    again = rw.load(tmp_path, device="cpu", dtype="float32")
    assert same(wanted, weights(again))


def test_the_code_of_an_edit_computes_it_again(bundled_lm):
    edit = rw.edit(bundled_lm, "{} is in the city of", "The Space Needle", "Paris", method="r-rome")
    edit.strength = 0.5
    scope = {}
    exec(edit.to_code(), scope)
    assert scope["edit"].id == edit.id
    assert scope["edit"].strength == 0.5
    assert scope["edit"].applied
    scope["lm"].revert_all()


def test_the_code_of_an_old_edit_names_only_settings_of_its_method():
    """Files of the time when all methods shared one class of settings have those of every one."""
    made = world.make_edit(world.make_lm("gpt2"), "ft")
    made.report.settings["clamp"] = 4.0
    assert "clamp" not in made.to_code()
    assert "learning_rate" in made.to_code()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("method", ["rome", "ft"])
def test_the_code_of_an_edit_of_a_model_in_memory_runs_beside_that_model(family, method):
    lm = tiny.tiny_lm(family)
    settings = {"steps": 2} | ({"clamp": float("inf"), "prefixes": ()} if method == "rome" else {})
    edit = rw.edit(
        lm,
        "w3 {} w9",
        "w14",
        "w5",
        layer=2,
        method=method,
        settings=settings,
        second_moment="identity",
    )
    code = edit.to_code()
    assert f"# model: the {type(lm.model).__name__} that is in memory, 5 layers" in code
    scope = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(code, scope)
    assert scope["edit"].id == edit.id
    scope["lm"].revert_all()


def test_the_code_of_an_edit_loads_from_where_the_model_was_loaded(tmp_path):
    """By its whole path: the folder's name alone would be looked for on the hub."""
    lm = rw.load(tiny.tiny_lm("gpt2").save_pretrained(tmp_path / "model"), device="cpu")
    options = {"layer": 2, "method": "ft", "settings": {"steps": 2}}
    edit = rw.edit(lm, "w3 {} w9", "w14", "w5", **options)
    scope = {}
    exec(edit.to_code(), scope)
    assert scope["edit"].id == edit.id
    scope["lm"].revert_all()
