"""What a user installs: the wheel holds everything, and keeps the torch that is there."""

import email
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import rome_widgets as rw
from hatch_readme import away, urls

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
        "rome_widgets/widgets/static/sweep.js",
        "rome_widgets/widgets/static/sweep.css",
        "rome_widgets/bundled/model/model.safetensors",
        "rome_widgets/bundled/model/tokenizer.json",
        "rome_widgets/bundled/facts.json",
        "rome_widgets/bundled/CARD.md",
    ):
        assert wanted in names
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"rome_widgets/notebooks/{notebook.name}" in names
    for notice in ("LICENSE", "THIRD_PARTY_NOTICES"):
        assert any(name.endswith(f"licenses/{notice}") for name in names)
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
        "import json\n"
        f"print(json.dumps([each.name for each in rw.tour({str(tmp_path / 'tour')!r})]))\n"
        "print(t.answer)"
    )
    said = run(
        sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"
    )
    assert said.splitlines()[0].startswith(str(tmp_path))
    assert said.splitlines()[-1].strip() == "Seattle"
    notebooks = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert json.loads(said.splitlines()[-2]) == notebooks


def test_a_torch_that_is_installed_is_kept(wheel):
    """With everything else there, installing the package would install nothing but itself."""
    said = run(
        sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--force-reinstall",
        "--no-deps", str(wheel),
    )  # fmt: skip
    assert "Would install rome_widgets" in said
    said = run(sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", str(wheel))
    assert "torch" not in "".join(line for line in said.splitlines() if "Would install" in line)


# ---------------------------------------------------------------------- what a package owes


@pytest.fixture(scope="module")
def metadata(wheel):
    """What PyPI shows, built by somebody who named no repository."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(files.read(name))


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def imports_of_the_page():
    """The npm packages that the page is built from."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "js" / "src").rglob("*.ts"))
    names = re.findall(r'from "([^."][^"]*)"', text)
    return {re.match(r"(@[^/]+/)?[^/]+", name)[0] for name in names} - {"@anywidget/types"}


def test_whatever_the_page_carries_is_named_with_its_own_licence():
    notices = (ROOT / "THIRD_PARTY_NOTICES").read_text("utf-8")
    found = imports_of_the_page()
    assert {"lit-html", "@preact/signals-core"} <= found
    for name in found:
        (licence,) = (ROOT / "js" / "node_modules" / name).glob("LICENSE*")
        assert name in notices
        assert licence.read_text("utf-8").strip() in notices


def test_colours_that_are_another_s_are_named_with_their_licence():
    notices = (ROOT / "THIRD_PARTY_NOTICES").read_text("utf-8")
    for words in ("Cynthia Brewer", "Apache License", "END OF TERMS AND CONDITIONS", "Nuñez"):
        assert words in notices


def test_the_card_gives_weights_and_facts_a_licence():
    assert "MIT licence" in rw.bundled.card().split("## Licence")[1]


def test_the_page_on_pypi_says_who_what_and_for_whom(metadata):
    assert metadata["Author"] == "The rome_widgets authors"
    assert metadata["License-Expression"] == "MIT AND BSD-3-Clause AND Apache-2.0"
    assert any("arxiv.org" in url for url in metadata.get_all("Project-URL"))
    classifiers = metadata.get_all("Classifier")
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers


def links(text):
    return re.findall(r"\]\(([^)#][^)]*)\)", text)


def test_no_link_of_the_readme_leads_nowhere_on_pypi(metadata):
    assert "rw.TraceExplorer(" in metadata.get_payload()
    assert links(metadata.get_payload())
    assert all(link.startswith("https://") for link in links(metadata.get_payload()))


def test_a_release_links_the_files_of_its_own_tag():
    readme = (ROOT / "README.md").read_text("utf-8")
    home = "https://code.example/us/ours"
    text = away(readme, home, "v1.2.3")
    ours = [link.removeprefix(f"{home}/") for link in links(text) if link.startswith(home)]
    assert len(links(text)) == len(links(readme))
    assert len(ours) > 8
    for link in ours:
        kind, tag, path = link.split("/", 2)
        assert (kind, tag) == ("raw" if path.endswith(".png") else "blob", "v1.2.3")
        assert (ROOT / path).exists()
    assert all(url.startswith("https://") for url in (*urls(home).values(), *urls("").values()))


def test_the_version_is_one_everywhere():
    assert rw.__version__ == "0.2.0"
    assert f"\nversion: {rw.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == rw.__version__


def test_the_lowest_versions_that_are_tried_are_those_that_are_promised():
    promised = dict(
        re.match(r"([\w-]+)>=([\d.]+)", each).groups() for each in project()["dependencies"]
    )
    tried = dict(
        line.split("==")
        for line in (ROOT / "constraints-lowest.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
    del promised["torch"], promised["vl-convert-python"]  # the file says why; no page depends on it
    for name, version in promised.items():
        assert f"{tried[name]}.".startswith(f"{version}."), name


def test_no_remedy_names_a_release_of_ours():
    """None has been made, so nobody can install one by name."""
    files = [*(ROOT / "rome_widgets").rglob("*.py"), *(ROOT / "js" / "src").rglob("*.ts")]
    files += [ROOT / "hatch_build.py", ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")]
    for path in files:
        text = path.read_text("utf-8")
        assert not re.search(r"(pip|uv|conda) (add|install) [^\n]*rome[-_]widgets", text), path


def test_the_source_distribution_builds_the_same_wheel(wheel):
    """The wheel above was built from it; here is what it must hold for that."""
    (path,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(path) as files:
        names = {name.split("/", 1)[-1] for name in files.getnames()}
    for wanted in ("js/build.mjs", "notebooks/01_trace.ipynb", "hatch_readme.py", "CITATION.cff"):
        assert wanted in names
    assert not any(name.startswith(("tests/", "js/node_modules/")) for name in names)
