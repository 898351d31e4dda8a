"""The two halves agree: trait names, the bundle, and what happens without it."""

import gzip
import re
import sys
from pathlib import Path

import anywidget
import pytest

from rome_widgets.records.trace import LEAST_RANGE
from rome_widgets.widgets import (
    EditPanel,
    GenerationCompare,
    PredictionCompare,
    RomeWidget,
    TraceExplorer,
    TraceGrid,
)
from rome_widgets.widgets.live.base import REMEDY, STATIC
from rome_widgets.widgets.live.traits import describe_trace, unanswered

ROOT = Path(__file__).parents[2]
TYPES = ROOT / "js" / "src" / "types.ts"
MOST = {"grid": (64_000, 25_000), "trace": (100_000, 37_000), "edit": (42_000, 17_000)}
"""Bytes of each bundle, as it is and gzipped: what esbuild alone makes of readable sources, and a
little room. The explorer's has the whole grid in it (two thirds) and then its form, flow, lens,
path, history and A beside B."""


def interface(name):
    """Field names of a TypeScript interface, those of the interfaces it extends included."""
    source = re.sub(r"/\*.*?\*/", "", TYPES.read_text("utf-8"), flags=re.DOTALL)
    found = re.search(
        rf"export interface {name}(?: extends (\w+))? {{\n(.*?)\n}}", source, re.DOTALL
    )
    own = set(re.findall(r"^  (\w+)\??:", found[2], re.MULTILINE))
    return own | (interface(found[1]) if found[1] else set())


def synced(widget):
    """Traits of ours that travel; the host's own are left out."""
    hosts = set(anywidget.AnyWidget.class_traits())
    return set(widget.class_traits(sync=True)) - hosts


@pytest.mark.parametrize(
    ("widget", "name"),
    [
        (RomeWidget, "BaseTraits"),
        (TraceGrid, "GridTraits"),
        (TraceExplorer, "ExplorerTraits"),
        (EditPanel, "EditTraits"),
        (PredictionCompare, "PredictionTraits"),
        (GenerationCompare, "GenerationTraits"),
    ],
)
def test_synced_traits_are_the_fields_of_the_typescript_interface(widget, name):
    assert synced(widget) == interface(name)


@pytest.mark.parametrize(
    "widget", [TraceGrid, TraceExplorer, EditPanel, PredictionCompare, GenerationCompare]
)
def test_every_public_trait_says_what_it_is(widget):
    hosts = set(anywidget.AnyWidget.class_traits())
    ours = {n: t for n, t in widget.class_traits().items() if n not in hosts and n[0] != "_"}
    assert len(ours) > 5
    assert [name for name, trait in ours.items() if not trait.help.endswith(".")] == []


def test_the_trace_trait_has_the_fields_of_its_interface():
    from tests.helpers.fake_engine import fake_trace

    assert set(describe_trace(fake_trace())) == interface("TraceInfo")


def test_the_restoration_trait_has_the_fields_of_its_interface():
    assert set(unanswered([], "")) == interface("RestorationInfo")


def test_an_error_has_the_fields_of_its_interface():
    from tests.helpers.fake_engine import FakeEngine

    explorer = TraceExplorer(FakeEngine())
    explorer.set_state({"seed": -1})
    assert set(explorer.error) == interface("ErrorInfo")


def test_what_an_explorer_keeps_has_the_fields_of_its_interfaces():
    from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine

    explorer = TraceExplorer(FakeEngine(), prompt=PROMPT, subject=SUBJECT)
    assert explorer.wait(20)
    explorer.compare(1)
    assert set(explorer.history[0]) == interface("HistoryRun")
    assert set(explorer.kept) == interface("KeptInfo")
    assert set(explorer._comparison) <= interface("Comparison")


def test_settings_have_the_same_names_on_both_sides():
    from rome_widgets.widgets import TraceSettings

    assert set(TraceSettings.__dataclass_fields__) == interface("Settings")


def test_what_an_edit_is_has_the_same_names_on_both_sides():
    from rome_widgets.widgets.edit.edit_rows import (
        describe_change,
        describe_record,
        no_change,
        read_tests,
    )
    from rome_widgets.widgets.edit.engine import TestPrompt
    from tests.helpers.fake_editor import NEEDLE, FakeEditor

    record = FakeEditor().edit(NEEDLE, lambda step: None, lambda: False)
    (change,) = FakeEditor().compare(NEEDLE, [TestPrompt("x")])
    row = describe_change(change, NEEDLE)
    assert set(describe_record(record)) == interface("EditRecord")
    assert set(describe_record(record)["request"]) == interface("EditRequest")
    assert set(row) == set(no_change(TestPrompt("x"), "no")) == interface("ChangeRow")
    assert set(row["before"]) == interface("Outcome")
    assert set(read_tests(["x"])[0]) == interface("TestPrompt")


def test_comparisons_have_the_same_names_on_both_sides():
    texts = [{"before": "a", "after": "b"}]
    generations = GenerationCompare(prompts=["x"], texts=texts)
    predictions = PredictionCompare([{"name": "clean", "tokens": ["a"], "probabilities": [1.0]}])
    assert set(generations.cells[0]) == interface("GenerationRow")
    assert set(predictions.rows[0]) == interface("TokenRow")


def test_page_and_figures_agree_on_what_the_colours_span_at_least():
    source = (ROOT / "js" / "src" / "shown_grids.ts").read_text("utf-8")
    (least,) = re.findall(r"^const LEAST = (\S+);", source, re.MULTILINE)
    assert float(least) == LEAST_RANGE


@pytest.mark.parametrize("name", MOST)
def test_the_bundle_is_built_and_small(name):
    """Fails where the front end is missing: a widget that shows a remedy is not a widget."""
    source = STATIC / f"{name}.js"
    assert source.is_file(), REMEDY
    assert (STATIC / f"{name}.css").is_file(), REMEDY
    most, most_gzipped = MOST[name]
    assert source.stat().st_size <= most
    assert len(gzip.compress(source.read_bytes())) <= most_gzipped


@pytest.mark.parametrize("name", MOST)
def test_the_bundle_fetches_nothing_and_writes_no_markup(name):
    source = (STATIC / f"{name}.js").read_text("utf-8")
    addresses = set(re.findall(r"https?://[^\s\"'`\\]+", source))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    for word in ("eval(", "new Function", "document.write", "insertAdjacentHTML", "import("):
        assert word not in source
    ours = "\n".join(path.read_text("utf-8") for path in (ROOT / "js" / "src").rglob("*.ts"))
    for word in ("innerHTML", "unsafeHTML", "unsafeSVG", "unsafeStatic", "eval("):
        assert word not in ours


def test_every_style_is_ours_alone():
    source = "".join(
        path.read_text("utf-8") for path in (ROOT / "js" / "src" / "styles").glob("*.css")
    )
    source = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    source = re.sub(r"@keyframes[^{]+{(?:[^{}]*{[^{}]*})*[^{}]*}", "", source)
    for selectors in re.findall(r"(?:^|[{}])([^{}@;]+){", source):
        assert re.match(r"\.rw\b", selectors.strip()), selectors


class TestHatchBuild:
    """The build hook's decisions; the build itself is made by every install."""

    @pytest.fixture
    def hook(self, monkeypatch):
        monkeypatch.syspath_prepend(str(ROOT))
        monkeypatch.delitem(sys.modules, "hatch_build", raising=False)
        import hatch_build

        return hatch_build

    @pytest.fixture
    def project(self, tmp_path):
        for name in ("js/src/trace.ts", "js/build.mjs", "js/package.json", "js/package-lock.json"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return tmp_path

    def make(self, hook, project):
        return hook.FrontEnd(str(project), {}, None, None, str(project), "wheel")

    def built(self, hook, project):
        static = project / "rome_widgets" / "widgets" / "static"
        static.mkdir(parents=True)
        for name in hook.BUNDLE:
            (static / name).write_text("x")
        return static

    def test_a_bundle_newer_than_its_sources_is_left_alone(self, hook, project):
        self.built(hook, project)
        self.make(hook, project).initialize("editable", {})

    def test_a_missing_bundle_that_may_not_be_built_is_an_error(self, hook, project, monkeypatch):
        monkeypatch.setenv("ROME_WIDGETS_SKIP_JS", "1")
        with pytest.raises(RuntimeError, match="ROME_WIDGETS_SKIP_JS"):
            self.make(hook, project).initialize("editable", {})

    def test_without_node_the_build_asks_pypi_for_it(self, hook, project, monkeypatch):
        monkeypatch.setattr(hook, "find_npm", lambda: None)
        assert self.make(hook, project).dependencies() == [hook.NODE_FROM_PYPI]
        self.built(hook, project)
        assert self.make(hook, project).dependencies() == []

    def test_a_source_newer_than_the_bundle_makes_a_build_due(self, hook, project, monkeypatch):
        import os

        static = self.built(hook, project)
        os.utime(static / "edit.css", (1, 1))
        assert self.make(hook, project)._due()
        os.utime(project / "js" / "src" / "trace.ts", (0, 0))
        monkeypatch.setenv("ROME_WIDGETS_FORCE_JS", "1")
        assert self.make(hook, project)._due()
