"""From a name or a folder to a model; no network unless a hub name was given."""

import json
import shutil
import socket
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import DeviceUnavailable, ModelNotFound, UnsupportedModel
from tests.helpers import tiny
from tests.helpers.counts import FORGED_FOLDERS
from tests.helpers.forging import forge_header


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved tiny model, stored in half precision."""
    path = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    tiny.tiny_model("gpt2", scale=20).half().save_pretrained(path)
    tiny.word_tokenizer().save_pretrained(path)
    return path


def test_a_folder_loads_and_is_called_by_its_name(folder):
    lm = rw.load(folder)
    assert lm.name == "tiny-gpt2"
    assert lm.n_layers == tiny.N_LAYERS
    assert lm.n_positions == tiny.N_POSITIONS
    assert rw.load(str(folder)).name == "tiny-gpt2"


def test_half_precision_becomes_float32_on_a_cpu_unless_asked_for(folder):
    assert rw.load(folder, device="cpu").dtype == torch.float32
    assert rw.load(folder, device="cpu", dtype="float16").dtype == torch.float16
    assert rw.load(folder, device="cpu", dtype=torch.float64).dtype == torch.float64
    assert "float64 on cpu" in repr(rw.load(folder, device="cpu", dtype="float64"))


@pytest.mark.parametrize("dtype", ["int8", "half a float", "Tensor"])
def test_a_dtype_that_is_none_is_refused(folder, dtype):
    with pytest.raises(UnsupportedModel, match="not a floating-point dtype"):
        rw.load(folder, dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "nowhere", 99])
def test_a_device_that_is_not_there_is_refused(folder, device):
    with pytest.raises(DeviceUnavailable, match="cannot be used"):
        rw.load(folder, device=device)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/no-such-model"])
def test_a_folder_that_is_not_there_is_refused_without_asking_the_hub(name, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)
    with pytest.raises(ModelNotFound, match="There is no folder"):
        rw.load(name)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        rw.load(tmp_path)


def test_a_hub_name_that_cannot_be_had_names_the_remedy():
    with pytest.raises(ModelNotFound, match="Check the name, the network and your access"):
        rw.load("nobody/no-such-model")


def test_pickled_weights_are_not_read(folder, tmp_path):
    for file in folder.iterdir():
        if not file.name.endswith(".safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelNotFound):
        rw.load(tmp_path)


def test_code_of_a_checkpoint_does_not_run(folder, tmp_path):
    import json

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UnsupportedModel, match="trust_remote_code=True, once you have read"):
        rw.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_bundled_model_loads_and_traces_with_every_socket_blocked():
    code = (
        "import socket\n"
        "def blocked(*_, **__): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = blocked\n"
        "import rome_widgets as rw\n"
        "lm = rw.load(device='cpu')\n"
        "t = rw.trace(lm, 'The Space Needle is in the city of', 'The Space Needle', kinds='mlp')\n"
        "print(t.answer)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Seattle"


FILES = ("config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json")


@pytest.mark.filterwarnings("ignore")  # transformers', of whatever stands there
def test_a_folder_whose_files_state_something_else_loads_and_works_or_is_refused(tmp_path):
    good, random = tmp_path / "good", np.random.RandomState(1)
    tiny.tiny_lm(scale=20).save_pretrained(good)
    for number in range(FORGED_FOLDERS):
        folder = shutil.copytree(good, tmp_path / "forged", dirs_exist_ok=True)
        file = folder / FILES[number % len(FILES)]
        file.write_text(json.dumps(forge_header(json.loads(file.read_text()), random)))
        with suppress(rw.RomeWidgetsError):
            lm = rw.load(folder, device="cpu")
            assert lm.n_positions is None or lm.n_positions > 0
            rw.trace(lm, "w3 w14 w15 w9", "w14", samples=1, kinds="mlp")
