"""A clone in a folder of any name builds, installs and passes: spaces, other letters, signs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ["a space", "Übung ñ 日本", "100% #1 [x] 'q' $HOME & co"]
"""Names that a URL, a shell or a glob writes otherwise than the file system does."""

NOT_IN_A_CLONE = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "static", "__pycache__", ".*_cache", "build", "dist", "*.log"
)
FEW = ["tests/bundled", "tests/files/test_trace_file.py", "tests/widgets/test_contract.py"]


def run(folder, *command):
    # A make that runs these tests must not be the one inside: it would say where it is.
    outside = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        command,
        cwd=folder,
        env=outside | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clone(folder):
    """What a fresh clone has; npm's packages are the ones that are here, by a link."""
    shutil.copytree(ROOT, folder, ignore=NOT_IN_A_CLONE)
    (folder / "js" / "node_modules").symlink_to(ROOT / "js" / "node_modules")
    return folder


def bundle(folder):
    static = folder / "rome_widgets" / "widgets" / "static"
    return {path.name: path.read_bytes() for path in static.iterdir()}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_page_is_built_in_a_folder_of_any_name_and_is_the_same(tmp_path, name):
    folder = clone(tmp_path / name)
    run(folder, sys.executable, "-m", "tools.npm", "run", "build")
    assert bundle(folder) == bundle(ROOT)


def test_a_wheel_is_made_and_tests_pass_in_a_folder_with_a_space_and_other_letters(tmp_path):
    folder = clone(tmp_path / "my Übung")
    run(folder, sys.executable, "-m", "hatchling", "build", "-t", "wheel")
    assert list((folder / "dist").glob("*.whl"))
    assert bundle(folder) == bundle(ROOT), "the build of the wheel built the page"
    said = run(
        folder, sys.executable, "-c", "import rome_widgets as rw; print(rw.bundled.folder())"
    )
    assert said.startswith(str(folder))
    run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FEW)


def test_make_finds_its_tools_in_a_folder_with_a_space(tmp_path):
    folder = clone(tmp_path / "a space")
    said = run(folder, "make", "-n", "test", f"PYTHON={sys.executable}")
    assert ".venv" in said
    path = run(folder, "make", "-f", "Makefile", "--eval=said:; @echo $$PATH", "said")
    assert path.startswith(f"{folder}/.venv/")
