"""What a user installs: the wheel holds everything, and keeps the torch that is there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution as an installer would."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), cwd=ROOT)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_what_is_not_python(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "rome_widgets/py.typed",
        "rome_widgets/widgets/static/grid.js",
        "rome_widgets/widgets/static/grid.css",
        "rome_widgets/widgets/static/trace.js",
        "rome_widgets/widgets/static/trace.css",
        "rome_widgets/widgets/static/edit.js",
        "rome_widgets/widgets/static/edit.css",
        "rome_widgets/bundled/model/model.safetensors",
        "rome_widgets/bundled/model/tokenizer.json",
        "rome_widgets/bundled/facts.json",
        "rome_widgets/bundled/CARD.md",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "training/", "js/", "tools/")) for name in names)


def test_the_bundled_data_stay_small(wheel):
    entries = zipfile.ZipFile(wheel).infolist()
    assert sum(e.file_size for e in entries if "/bundled/" in e.filename) <= 12e6


def test_the_installed_wheel_works_away_from_the_source(wheel, tmp_path):
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path), wheel)
    code = (
        "import rome_widgets as rw; print(rw.__file__)\n"
        "lm = rw.load(device='cpu')\n"
        "t = rw.CausalTracer(lm, 'The Space Needle is in the city of', 'The Space Needle')\n"
        "w = rw.TraceGrid(t.trace(['mlp']))\n"
        "assert 'lit' in str(w._esm), 'the bundle is missing'\n"
        "print(t.answer)"
    )
    said = run(
        sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"
    )
    assert said.splitlines()[0].startswith(str(tmp_path))
    assert said.splitlines()[-1].strip() == "Seattle"


def test_a_torch_that_is_installed_is_kept(wheel):
    """With everything else there, installing the package would install nothing but itself."""
    said = run(
        sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--force-reinstall",
        "--no-deps", str(wheel),
    )  # fmt: skip
    assert "Would install rome_widgets" in said
    said = run(sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", str(wheel))
    assert "torch" not in "".join(line for line in said.splitlines() if "Would install" in line)
