"""What importing costs, what is public, and which way the arrows point."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rome_widgets as rw

PACKAGE = Path(rw.__file__).parent
HEAVY = ("torch", "transformers", "pandas", "altair")


def loaded_after(code, modules=HEAVY):
    """Which of `modules` a fresh process has loaded after running `code`."""
    probe = f"import sys\n{code}\nprint([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.strip().splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import rome_widgets") == []


@pytest.mark.parametrize(
    "module",
    [
        "errors",
        "records.edit",
        "records.fact",
        "records.trace",
        "files.trace_file",
        "bundled",
        "widgets",
    ],
)
def test_rooms_without_torch_load_none(module):
    assert loaded_after(f"import rome_widgets.{module}") == []


def test_the_probe_would_notice():
    assert loaded_after("import rome_widgets.model.hooks") == ["torch"]


def test_every_public_name_resolves_and_says_what_it_is():
    for name in rw.__all__:
        assert getattr(rw, name).__doc__, name
    assert set(rw.__all__) <= set(dir(rw))


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'traec'"):
        rw.traec  # noqa: B018


def imports_of(path):
    """Modules of ours that a file imports at its top level or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rome_widgets"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("rome_widgets")}
    return found


ARROWS = {
    "model": {"tracing", "editing", "widgets", "session", "training"},
    "tracing": {"editing", "widgets", "session", "training"},
    "editing": {"widgets", "session", "training"},
    "widgets": {"model", "tracing", "editing", "session", "bundled", "training"},
    "bundled": {"model", "tracing", "editing", "widgets", "session", "training"},
    "training": {"widgets", "session"},
}
"""Room → rooms it must never import."""


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_between_rooms_point_one_way(room):
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports_of(path):
            target = name.split(".")[1] if "." in name else ""
            assert target not in ARROWS[room], f"{path.name} imports {name}"


def test_only_the_session_imports_both_sides():
    both = {
        path.parent.name
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "widgets"
        and path.name != "__init__.py"
        and {"widgets"} <= {n.split(".")[1] for n in imports_of(path) if "." in n}
    }
    assert both == {"session"}


def test_only_hooks_registers_hooks():
    registering = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if ".register_forward" in path.read_text("utf-8")
        and path.parent.name != "training"  # a model of its own, which nobody else has
    ]
    assert registering == ["hooks.py"]


FORBIDDEN = (
    r"pickle",
    r"torch\.load",
    r"(?<![.\w])(eval|exec)\(",
    r"trust_remote_code=True(?!, once)",
    r"innerHTML|insertAdjacentHTML|document\.write|unsafeHTML",
)


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_code_runs_from_data(pattern):
    js = PACKAGE.parent / "js" / "src"
    files = [*PACKAGE.rglob("*.py"), *js.rglob("*.ts")]
    assert len(files) > 20
    found = [path.name for path in files if re.search(pattern, path.read_text("utf-8"))]
    assert found == []
