"""Tests mirror the tree: who looks for the tests of a module finds them by its name, and back.

Files beside this one are of the package as a whole, or of what is beside the package.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "rome_widgets"
ROOMS = ["", *sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())]
"""Folders of the package, and "" for what is in none."""

ALL_OVER = {
    "browser",  # pages in a real JupyterLab
    "training",  # the folder at the root, which is not in the package
    "device",  # every path of the engine on a pretend GPU
    "real",  # models that somebody trained for use
    "helpers",
    "bundled/test_bundled_model.py",  # the package data
    "editing/test_bundled_edits.py",  # many edits of the bundled model
    "editing/test_old_files.py",  # files of former versions
    "editing/test_target_said.py",  # what an edit says where its target is not said
    "evaluation/test_published_files.py",  # data sets as they are published
    "editing/methods/rank_one/test_edit_identities.py",  # what must hold of any edit
    "files/test_old_files.py",
    "model/test_families.py",  # each family by an oracle
    "model/test_sharded.py",  # models that accelerate has spread
    "tracing/test_equality.py",  # both engines against the slow reference
    "tracing/test_families_equality.py",
    "tracing/test_identities.py",  # what must hold of any trace
    "widgets/test_contract.py",  # what Python and TypeScript agree on
    "widgets/test_styles.py",
}
"""Tests, or folders of them, that are of no single module."""


def modules_with_logic(room):
    """Paths within the package of the modules that define a function, or a class with one."""
    for path in sorted((PACKAGE / room).rglob("*.py") if room else PACKAGE.glob("*.py")):
        if path.name != "__init__.py" and has_logic(ast.parse(path.read_text("utf-8"))):
            yield path.relative_to(PACKAGE)


def has_logic(tree):
    """Not so for constants, protocols, and records that only say what they are."""
    return any(
        isinstance(node, ast.FunctionDef) and node.name != "__repr__" and does_something(node)
        for node in ast.walk(tree)
    )


def does_something(function):
    """More than a docstring and dots."""
    return any(
        not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in function.body
    )


def place_of_tests(module):
    """Where the tests of a module are."""
    return TESTS / module.parent / f"test_{module.name}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_with_logic_has_a_test_file_of_its_name(room):
    missing = [
        str(place_of_tests(module).relative_to(TESTS))
        for module in modules_with_logic(room)
        if not place_of_tests(module).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("room", ROOMS[1:])
def test_every_test_file_is_of_a_module_or_is_known_to_be_of_many(room):
    strangers = []
    for path in sorted((TESTS / room).rglob("test_*.py")):
        module = path.relative_to(TESTS).with_name(path.name.removeprefix("test_"))
        if not (PACKAGE / module).exists() and str(path.relative_to(TESTS)) not in ALL_OVER:
            strangers.append(str(path.relative_to(TESTS)))
    assert strangers == []


def test_every_folder_of_tests_is_of_a_room_or_is_known_to_be_of_many():
    folders = {path.name for path in TESTS.iterdir() if list(path.glob("**/test_*.py"))}
    assert folders - set(ROOMS) <= ALL_OVER


def test_what_is_known_to_be_of_many_is_there():
    assert [name for name in sorted(ALL_OVER) if not (TESTS / name).exists()] == []


def test_constants_and_protocols_need_no_tests_and_what_computes_does():
    plain = '''
A = 1

class Engine(Protocol):
    def run(self) -> int:
        """What it says."""
        ...
'''
    assert not has_logic(ast.parse(plain))
    assert has_logic(ast.parse(plain + "        return 3\n"))
    assert len(list(modules_with_logic("tracing"))) >= 8
