"""What importing costs, and what is public."""

import ast
import inspect
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
        "records.sweep",
        "records.trace",
        "records.explanations",
        "charts.heat_table",
        "files.run_log",
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


def test_names_that_begin_without_an_underscore_are_the_public_ones():
    assert [name for name in dir(rw) if not name.startswith("_")] == sorted(rw.__all__)
    assert len(set(rw.__all__)) == len(rw.__all__)


def test_type_checkers_see_the_names_that_are_there_at_run_time():
    tree = ast.parse(Path(rw.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: f"{node.module}.{alias.name}" if alias.name in rw._ROOMS else node.module
        for node in block.body
        for alias in node.names
    }
    homes = rw._HOME | rw._ROOMS
    assert seen == {name: f"rome_widgets.{home}" for name, home in homes.items()}


def test_the_tree_of_errors_is_drawn_as_the_classes_are():
    drawn, above = {}, {-4: "Exception"}
    for line in rw.errors.__doc__.splitlines():
        if found := re.match(r"    ([ │├└─]*)(\w+)(?: \((\w+)\))?(?: .*)?$", line):
            lead, name, also = found.groups()
            above[len(lead)] = name
            drawn[name] = [above[len(lead) - 4], *([also] if also else [])]
    bases = {
        name: [base.__name__ for base in made.__bases__]
        for name, made in vars(rw.errors).items()
        if isinstance(made, type) and issubclass(made, Exception)
    }
    assert drawn == bases


def hiding(made):
    """Parameters that stand for others, which help and completion cannot show."""
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [
        each.name for each in inspect.signature(made).parameters.values() if each.kind in several
    ]


def test_signatures_show_every_parameter():
    public = {name: getattr(rw, name) for name in rw.__all__}
    callables = {name: made for name, made in public.items() if callable(made)}
    assert len(callables) > 30
    assert {name: hiding(made) for name, made in callables.items() if hiding(made)} == {}
    assert hiding(lambda **options: None) == ["options"]


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'traec'"):
        rw.traec  # noqa: B018


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
