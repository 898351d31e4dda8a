"""A checkpoint is written whole or not at all, whatever else is in the folder."""

import json
import os
import signal
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import GenerationConfig

import rome_widgets as rw
from rome_widgets.errors import SaveFailed
from tests.helpers import tiny
from tests.helpers.counts import WRITER_KILLS


@pytest.fixture
def lm():
    return tiny.tiny_lm("llama", scale=20)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_saved_model_loads_with_the_same_weights(lm, tmp_path):
    again = rw.load(lm.save_pretrained(tmp_path / "new" / "folder"), device="cpu")
    assert torch.equal(again.model.lm_head.weight, lm.model.lm_head.weight)


@pytest.mark.parametrize("settings", [{"temperature": 0.5}, {"num_beams": 1, "early_stopping": 1}])
def test_settings_of_generation_that_contradict_each_other_are_saved_as_they_are(
    lm, tmp_path, settings
):
    lm.model.generation_config = mine = GenerationConfig(do_sample=False, **settings)
    again = rw.load(lm.save_pretrained(tmp_path), device="cpu")
    assert lm.model.generation_config is mine
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert {name: saved[name] for name in settings} == settings
    assert torch.equal(again.model.lm_head.weight, lm.model.lm_head.weight)


FAILURES = [
    OSError(28, "No space left on device"),
    SafetensorError("I/O error: No space left on device (os error 28)"),
    ValueError("this is not to be saved"),
    KeyError(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("late", [False, True], ids=["model", "tokenizer"])
def test_what_fails_on_the_way_leaves_everything_as_it_was(
    lm, tmp_path, monkeypatch, failure, late
):
    there = tmp_path / "there"
    lm.save_pretrained(there)
    (there / "notes.txt").write_text("mine")
    before = files(tmp_path)

    def fail(*args, **kwargs):
        raise failure

    target = type(lm.tokenizer) if late else type(lm.model)
    monkeypatch.setattr(target, "save_pretrained", fail)
    for folder in (there, tmp_path / "new"):
        with pytest.raises(SaveFailed, match="was not written"):
            lm.save_pretrained(folder)
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_save_that_is_killed_leaves_the_old_or_the_new_model(lm, tmp_path):
    """At calls that it makes of the system, spread over all of them."""
    there, other = tmp_path / "there", tiny.tiny_lm("gpt2")
    lm.save_pretrained(there)
    (there / "notes.txt").write_text("mine")
    whole = [files(there), {**files(other.save_pretrained(tmp_path / "new")), "notes.txt": b"mine"}]
    for path in (tmp_path / "new").iterdir():
        path.unlink()
    (tmp_path / "new").rmdir()
    calls = killed_while_saving(other, tmp_path / "elsewhere", 0)
    for at in (1 + number * calls // WRITER_KILLS for number in range(WRITER_KILLS)):
        assert killed_while_saving(other, there, at) == -signal.SIGKILL
        assert files(there) in whole
        assert rw.load(there).n_layers == lm.n_layers
        lm.save_pretrained(there)
        assert {path.name for path in tmp_path.iterdir()} == {"there", "elsewhere"}
        assert files(there) == whole[0]


def killed_while_saving(lm, folder, at):
    """How a copy of this process ends that saves and is killed at one of its calls.

    Where there is no such call, how many there were.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def step(event, args):
            nonlocal count
            count += event in FILE_EVENTS
            if count == at and event in FILE_EVENTS:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(step)
        try:
            lm.save_pretrained(folder)
            os.write(writing, str(count).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return int(said) if said else status


FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod"}


def test_a_file_where_a_folder_was_wanted_is_left_alone(lm, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(SaveFailed, match="folder"):
            lm.save_pretrained(folder)
    assert files(tmp_path) == {"file": b"mine"}


def test_other_files_stay_and_weights_of_an_earlier_model_go(lm, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (tmp_path / name).write_text("old")
    lm.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [name for name in files(tmp_path) if name.startswith("model")] == ["model.safetensors"]
    assert rw.load(tmp_path).n_layers == lm.n_layers


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an old name
def test_a_model_with_an_adapter_in_it_is_refused_with_the_remedy(lm, tmp_path):
    adapted = get_peft_model(tiny.tiny_model("llama"), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(SaveFailed, match="merge_and_unload"):
        rw.LanguageModel(adapted, lm.tokenizer).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
