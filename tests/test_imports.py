"""Which way the arrows between modules point: no circle, and rooms as the design has them."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import rome_widgets

PACKAGE = Path(rome_widgets.__file__).parent

ROOMS = {
    "errors": set(),
    "records": {"errors"},
    "files": {"records", "errors"},
    "charts": {"records", "errors"},
    "bundled": {"files", "records", "errors"},
    "model": {"files", "records", "errors", "bundled"},
    "tracing": {"model", "files", "records", "errors", "bundled"},
    "editing": {"tracing", "model", "files", "records", "errors", "bundled"},
    "evaluation": {"editing", "tracing", "model", "files", "records", "errors", "bundled"},
    "widgets": {"records", "charts", "errors"},
    "session": {
        "widgets", "evaluation", "editing", "tracing", "model", "files", "records", "errors",
        "bundled",
    },
}  # fmt: skip
"""Room → rooms that it imports as it is imported, or for types."""

DEFERRED = {
    ("records.trace", "charts.trace_charts"): "`.chart()`: altair is loaded when one is drawn",
    ("records.trace", "charts.heat_table"): "the HTML of a trace in a notebook is a picture",
    ("records.explanations", "charts.heat_table"): "the HTML of a flow, likewise",
    ("records.explanations", "charts.explanation_charts"): "`.chart()` of a flow and of a lens",
    ("records.sweep", "charts.sweep_charts"): "`.chart()` of a sweep",
    ("records.trace", "files.trace_file"): "`.save()`: a record knows how to be kept",
    ("records.sweep", "files.sweep_file"): "`.save()`, likewise",
    ("records.sweep", "files.parquet"): "`.to_parquet()`, likewise",
    ("records.evaluation", "files.evaluation_file"): "`.save()`, likewise",
    ("records.evaluation", "files.parquet"): "`.to_parquet()`, likewise",
    ("editing.edit", "editing.edit_file"): "`.save()`, which writes what `load_edit` makes",
    ("editing.edit", "editing.export"): "`.to_peft()` and `.to_code()`: peft is an extra",
    (
        "widgets.trace.trace_explorer",
        "session.trace_engine",
    ): "the bridge: torch comes with a model",
    ("widgets.edit.edit_panel", "session.edit_engine"): "the bridge",
    ("widgets.edit.generation_compare", "session.generation_engine"): "the bridge",
    ("widgets.trace.trace_grid", "widgets.trace.linked_chart"): "altair is loaded for a chart",
}
"""(module, module) → why it is imported inside a function, which no arrow or a circle allows."""


class Import(NamedTuple):
    """One module imports another; not `at_once` where that stands inside a function."""

    source: str
    target: str
    at_once: bool


def modules_of(package):
    """Name → file of every module of a package."""
    names = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(package):
    """Every import of one module of the package by another; those for types count as at once."""
    modules = modules_of(package)
    return [
        Import(name, target, at_once)
        for name, path in modules.items()
        for target, at_once in named_in(ast.parse(path.read_text("utf-8")), modules)
        if target != name
    ]


def named_in(tree, modules):
    """Modules that a file imports, and whether outside of all functions."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        yield from ((name, id(node) not in inside) for name in names if name in modules)


def circle_of(imports):
    """The modules of a circle, or None where there is none."""
    graph = {}
    for each in imports:
        graph.setdefault(each.source, set()).add(each.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def room_of(module):
    """The room of a module; the package itself stands above all of them."""
    _, _, rest = module.partition(".")
    return rest.partition(".")[0]


def against_the_arrows(imports, rooms):
    """Imports from one room to another that the first may not import."""
    return [
        each
        for each in imports
        if (source := room_of(each.source))
        and source != (target := room_of(each.target))
        and target not in rooms[source]
    ]


IMPORTS = imports_of(PACKAGE)
AT_ONCE = [each for each in IMPORTS if each.at_once]


def test_no_module_imports_itself_by_way_of_others():
    assert circle_of(AT_ONCE) is None


def test_the_arrows_between_rooms_point_one_way():
    assert {room_of(name) for name in modules_of(PACKAGE)} - {""} == set(ROOMS)
    assert against_the_arrows(AT_ONCE, ROOMS) == []


def test_whatever_points_the_other_way_is_in_one_list_with_its_reason():
    deferred = {(each.source, each.target) for each in IMPORTS if not each.at_once}
    against = {
        (each.source, each.target)
        for each in against_the_arrows([i for i in IMPORTS if not i.at_once], ROOMS)
    }
    closing = {pair for pair in deferred - against if circle_of([*AT_ONCE, Import(*pair, True)])}
    listed = {tuple(f"rome_widgets.{name}" for name in pair) for pair in DEFERRED}
    assert against | closing == listed


class TestACircleIsSeen:
    """The tests above would fail if they should."""

    @pytest.fixture
    def planted(self, tmp_path):
        def plant(**files):
            package = tmp_path / "house"
            for name, text in files.items():
                path = package.joinpath(*name.split("__")).with_suffix(".py")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                (path.parent / "__init__.py").touch()
            return imports_of(package)

        return plant

    def test_of_three_modules(self, planted):
        imports = planted(
            a="from house.b import x", b="import house.c", c="from house import a as first"
        )
        assert set(circle_of(imports)) == {"house.a", "house.b", "house.c"}
        assert circle_of(imports[:-1]) is None

    def test_by_imports_for_types(self, planted):
        imports = planted(
            a="if TYPE_CHECKING:\n    from house.b import B", b="from house.a import A"
        )
        assert circle_of(each for each in imports if each.at_once)

    def test_not_by_imports_inside_functions(self, planted):
        imports = planted(a="def f():\n    from house.b import g", b="from house.a import f")
        assert circle_of(imports)
        assert circle_of(each for each in imports if each.at_once) is None

    def test_an_import_against_the_arrows(self, planted):
        imports = planted(low__a="from house.high.b import B", high__b="")
        (found,) = against_the_arrows(imports, {"low": set(), "high": {"low"}})
        assert (found.source, found.target) == ("house.low.a", "house.high.b")
