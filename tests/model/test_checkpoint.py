"""What is no model on disk says what it is, and what to do."""

import json

import pytest
import safetensors.torch
import torch

import rome_widgets as rw
from rome_widgets.errors import ModelNotFound, RomeWidgetsError
from rome_widgets.model import hub
from rome_widgets.model.checkpoint import near_models
from tests.helpers import tiny

SAVED = {}


@pytest.fixture
def folder(tmp_path):
    """A saved tiny model, to be damaged."""
    if not SAVED:
        tiny.tiny_lm("gpt2").save_pretrained(tmp_path)
        SAVED.update({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    model = tmp_path / "model"
    model.mkdir()
    for name, content in SAVED.items():
        (model / name).write_bytes(content)
    return model


def remove(folder, pattern):
    for path in folder.glob(pattern):
        path.unlink()


def change(folder, name, **values):
    there = json.loads((folder / name).read_text()) | values
    (folder / name).write_text(json.dumps({key: each for key, each in there.items() if each}))


def pickled(folder):
    remove(folder, "*.safetensors")
    torch.save({}, folder / "pytorch_model.bin")


def adapter(folder):
    remove(folder, "*")
    (folder / "adapter_config.json").write_text("{}")


def gguf(folder):
    remove(folder, "*.safetensors")
    (folder / "small.gguf").write_bytes(b"GGUF")


def without_a_matrix(folder):
    weights = safetensors.torch.load(SAVED["model.safetensors"])
    del weights["transformer.h.1.mlp.c_fc.weight"]
    (folder / "model.safetensors").write_bytes(
        safetensors.torch.save(weights, metadata={"format": "pt"})
    )


DAMAGED = {
    "weights that lack one": (without_a_matrix, r"lacks transformer\.h\.1\.mlp\.c_fc\.weight"),
    "no configuration": (lambda at: remove(at, "config.json"), "no config.json.*Check the path"),
    "no weights": (lambda at: remove(at, "*.safetensors"), "no safetensors weights"),
    "no tokenizer": (lambda at: remove(at, "tok*"), "no tokenizer.*tokenizer.save_pretrained"),
    "pickled weights": (pickled, "pytorch_model.bin can run code.*use_safetensors=False"),
    "an adapter": (adapter, "an adapter of PEFT.*merge_and_unload"),
    "a torn GGUF file": (gguf, r"The configuration of .*small\.gguf cannot be read.*cut short"),
    "torn weights": (
        lambda at: (at / "model.safetensors").write_bytes(SAVED["model.safetensors"][:999]),
        "weights of .* cannot be read.*cut short",
    ),
    "an empty file of weights": (
        lambda at: (at / "model.safetensors").write_bytes(b""),
        "weights of .* cannot be read",
    ),
    "a torn configuration": (
        lambda at: (at / "config.json").write_text("{no"),
        "configuration of .* cannot be read",
    ),
    "a list for a configuration": (lambda at: (at / "config.json").write_text("[1]"), "model_type"),
    "a torn tokenizer": (lambda at: (at / "tokenizer.json").write_text("{no"), "no tokenizer"),
    "a list for a tokenizer": (lambda at: (at / "tokenizer.json").write_text("[]"), "no tokenizer"),
    "another width": (
        lambda at: change(at, "config.json", n_embd=16),
        "weights of .* cannot be read",
    ),
    "words for numbers": (lambda at: change(at, "config.json", n_layer="many"), "n_layer"),
    "an encoder and decoder": (lambda at: change(at, "config.json", model_type="t5"), "T5Config"),
    "no kind of model": (lambda at: change(at, "config.json", model_type=None), "model_type"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_folder_that_lacks_a_part_or_has_a_damaged_one_says_which(folder, kind):
    damage, said = DAMAGED[kind]
    damage(folder)
    with pytest.raises(RomeWidgetsError, match=f"(?s){said}"):
        rw.load(folder)


def test_a_file_is_no_folder_and_its_own_folder_is_offered(folder):
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(ModelNotFound, match=r"is a file.*Did you mean .*model'\?"):
            rw.load(folder / name)
        with pytest.raises(ModelNotFound, match="is a file"):
            rw.load(str(folder / name))


def test_a_gguf_file_that_is_not_there_is_not_sought_on_the_hub(folder, monkeypatch):
    gguf(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(hub, "reachable", None)
    with pytest.raises(ModelNotFound, match=r"no file 'smal\.gguf'.*Did you mean 'small\.gguf'"):
        rw.load("smal.gguf")


def test_names_that_are_near_are_offered(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert near_models("modle") == "model"
    assert near_models("nothing like it") is None
    assert near_models("model", folder / "nowhere") is None
    for name in ("modle", "./modle", folder.parent / "modle"):
        with pytest.raises(ModelNotFound, match=r"Did you mean '.*model'\?"):
            rw.load(name)
    with pytest.raises(ModelNotFound, match=r"no config\.json.*Did you mean .*model'\?"):
        rw.load(folder.parent)
