"""The two halves agree: trait names, the bundle, and what happens without it."""

import gzip
import json
import math
import re
import sys
from pathlib import Path

import anywidget
import numpy as np
import pytest

from rome_widgets.errors import TraitRefused
from rome_widgets.records.swept_fact import ROLE_TITLES, ROLES
from rome_widgets.records.trace_metric import LEAST_RANGE
from rome_widgets.widgets import (
    EditPanel,
    GenerationCompare,
    PredictionCompare,
    RomeWidget,
    SweepChart,
    TraceExplorer,
    TraceGrid,
)
from rome_widgets.widgets.live.base import REMEDY, STATIC
from rome_widgets.widgets.live.traits import describe_trace, unanswered
from tests.helpers.counts import WIDGET_MESSAGES
from tests.helpers.fake_editor import FakeEditor
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine, fake_trace
from tests.helpers.fake_sweep import fake_sweep
from tests.helpers.forging import ANYTHING, DEEP, forge_header
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
TYPES = ROOT / "js" / "src" / "types.ts"
MOST = {
    "grid": (64_000, 25_000),
    "trace": (98_000, 39_000),
    "edit": (42_000, 17_000),
    "sweep": (37_000, 15_500),
}
"""Bytes of each bundle, as it is and gzipped: what esbuild alone makes of readable sources, and a
little room. The explorer's has the whole grid in it (two thirds) and then its form, flow, lens,
path, heads, history and A beside B."""


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
        (SweepChart, "SweepTraits"),
    ],
)
def test_synced_traits_are_the_fields_of_the_typescript_interface(widget, name):
    assert synced(widget) == interface(name)


@pytest.mark.parametrize(
    "widget",
    [TraceGrid, TraceExplorer, EditPanel, PredictionCompare, GenerationCompare, SweepChart],
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


def test_a_sweep_has_the_same_names_on_both_sides():
    described = SweepChart(fake_sweep(1))._sweep
    assert set(described) == interface("SweepInfo")
    assert set(described["facts"][0]) == interface("SweptFact")
    roles = re.search(r"ROLES: readonly Role\[\] = \[(.*?)\]", TYPES.read_text("utf-8"), re.DOTALL)
    assert tuple(re.findall(r'"([^"]+)"', roles[1])) == ROLES
    page = (ROOT / "js" / "src" / "views" / "sweep" / "heat_maps.ts").read_text("utf-8")
    assert all(f'"{title}"' in page for title in ROLE_TITLES.values())


def test_page_and_figures_agree_on_what_the_colours_span_at_least():
    source = (ROOT / "js" / "src" / "shown_grids.ts").read_text("utf-8")
    (least,) = re.findall(r"^const LEAST: .* = \{(.*)\};", source, re.MULTILINE)
    assert {name: float(x) for name, x in re.findall(r"(\w+): ([\d.]+)", least)} == LEAST_RANGE


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


# ------------------------------------------------------------------- whatever a page sends

FACT = {"template": "{} is in", "subject": "Rome", "target": "Spain", "method": "fake"}
MESSAGES = {
    "explorer": [
        {"_request": {"id": 1, "op": "trace"}},
        {"_request": {"id": 1, "op": "subject", "start": 1, "stop": 2}},
        {"_request": {"id": 1, "op": "recall", "run": 1}},
        {"_request": {"id": 1, "op": "download", "form": "svg", "page": "flow", "flow_run": "x"}},
        {"_request": {"id": 1, "op": "path"}},
        {"_request": {"id": 1, "op": "heads"}, "selection": [[2, 3, "attn"]]},
        {"_request": {"id": 1, "op": "stop_heads"}},
        {"_request": {"id": 1, "op": "close_heads"}},
        {"_request": {"id": 1, "op": "compare"}},
        {"selection": [[2, 3, "mlp"]], "single": [], "cursor": [2, 3, "mlp"]},
        {"prompt": PROMPT, "subject": SUBJECT, "place": [0, 3], "all_mentions": False},
        {"noise": 3.0, "samples": 10, "seed": 1, "window": 3, "answer": None, "recovery": 0.9},
        {"page": "lens", "kind": "mlp", "scale": "share", "_cancel_id": 5},
        {"_views": {"page": "a", "open": 1}, "_ping": "x"},
    ],
    "panel": [
        {"_orders": [{"id": "a", "op": "edit", "request": FACT, "first": None}]},
        {"_orders": [{"id": "b", "op": "applied", "edit": "e1", "applied": False}]},
        {"_orders": [{"id": "c", "op": "revert_all"}]},
        {"_strengths": {"e1": [1, 0.5]}},
        {"_request": {"id": 1, "op": "suggest"}},
        {"template": "{} is in", "subject": "Rome", "target": "Spain", "true_object": "Italy"},
        {"layer": 1, "settings": {"steps": 5}, "selected": "e1", "method": "fake"},
        {"tests": [{"text": "x", "group": "free", "target": None, "true_object": None}]},
        {"_cancel_id": 3, "_views": {"page": "a", "open": 1}},
    ],
    "grid": [{"selection": [[2, 3, "mlp"]], "kind": "all", "cursor": None, "values": True}],
    "generations": [{"_request": {"id": 1, "op": "generate"}, "prompts": ["a"]}],
    "predictions": [{"k": 3, "metric": "rank", "sort": "d1", "baseline": 1, "target": "a"}],
}
"""What pages do send, to be forged."""
WIDGETS = {
    "explorer": lambda: TraceExplorer(FakeEngine(), prompt=PROMPT, subject=SUBJECT),
    "panel": lambda: EditPanel(FakeEditor(), "{} is in", "Rome", "Spain"),
    "grid": lambda: TraceGrid(fake_trace()),
    "generations": lambda: GenerationCompare(texts=[{"before": "a", "after": "b"}], prompts=["x"]),
    "predictions": lambda: PredictionCompare(
        [{"name": "a", "tokens": "ab", "probabilities": [0.5, 0.1]}]
    ),
}


@pytest.fixture(params=WIDGETS)
def kind(request):
    return request.param


def test_no_message_of_a_page_raises_and_what_is_shown_stays_whole(kind):
    random = np.random.RandomState(1)
    widget = WIDGETS[kind]()
    for _ in range(WIDGET_MESSAGES // len(WIDGETS)):
        good = MESSAGES[kind][random.randint(len(MESSAGES[kind]))]
        if random.randint(2):
            message = forge_header(good, random)
        else:
            names = [*widget.keys]
            name = names[random.randint(len(names))]
            values = [*ANYTHING, DEEP, math.nan]
            message = {name: values[random.randint(len(values))]}
        widget.set_state(message)
    if hasattr(widget, "wait"):
        widget.cancel()
        assert widget.wait(PATIENCE)
    json.dumps(widget.get_state(), default=bytes.hex, allow_nan=False)
    widget.to_text(), widget.to_html_table(), widget._still()
    widget.close()


NO_HEADS = (
    {},
    {"selection": [[2, 3, "mlp"]]},
    {"selection": [[2, 3, "attn"], [2, 4, "attn"]]},
    {"selection": [[2, 3, "heads"]]},
)
"""Selections that do not open into heads."""
MALFORMED = {
    "explorer": [
        *({"_request": {"id": 1, "op": op}} for op in ("", "nothing", None, 5, [], {}, ["trace"])),
        *({"_request": {"id": n, "op": "heads"}, **cells} for n, cells in enumerate(NO_HEADS)),
        *({"_request": request} for request in ({"id": 1}, [], "trace", 5, None, DEEP)),
        *(
            {"_request": {"id": 1, "op": "subject", "start": start, "stop": stop}}
            for start, stop in ((None, 2), ("a", 2), (-1, 2), (2, 1), (0, 10**30), (math.nan, 2))
        ),
        *({"_request": {"id": 1, "op": "recall", "run": run}} for run in (None, [], 99, "x", {})),
        *({"_request": {"id": 1, "op": "download", "form": form}} for form in (None, [], 5, {})),
        {"_request": {"id": 1, "op": "download", "form": "svg", "page": []}},
        {"_request": {"id": 1, "op": "download", "form": "svg", "flow_run": {"a": 1}}},
        *({"noise": noise} for noise in (math.nan, math.inf, "nan", "inf", -1, None, [], 10**400)),
        *({"recovery": share} for share in ("nan", 0, 2, None)),
        *({"selection": cells} for cells in (5, [5], [[0]], [[99, 0, "mlp"]], [[0, 0, []]], DEEP)),
        *({"cursor": cell} for cell in (5, [0, 0], [0, 0, "x"], [[], {}, None])),
        *({"place": place} for place in ([1], ["a", "b"], 5)),
        *({"_views": views} for views in ({}, {"page": 5, "open": 1}, {"page": "a"}, 5, [])),
        *({"_cancel_id": number} for number in (None, "x", 10**400, math.nan)),
        *({name: {}} for name in ("_trace", "_restoration", "error", "kept", "engine", "_esm")),
        {"layout": "IPY_MODEL_nowhere"},
        {"status": "done"},
        {"prompt": 5},
        {"history": DEEP},
        None,
        [],
        "x",
    ],
    "panel": [
        *({"_orders": orders} for orders in (5, [5], [{}], [{"id": 5}], [[]], {"id": "a"})),
        *({"_orders": [{"id": "x", "op": op}]} for op in (None, "nothing", [], 5)),
        *(
            {"_orders": [{"id": "x", "op": "edit", "request": request}]}
            for request in (None, 5, {}, [], {**FACT, "more": 1}, {**FACT, "subject": 5})
        ),
        *(
            {"_orders": [{"id": "x", "op": "edit", "request": {**FACT, name: value}}]}
            for name, value in (
                ("template", "x"),
                ("target", ""),
                ("layer", "x"),
                ("layer", math.nan),
                ("settings", 5),
                ("method", []),
                ("true_object", {}),
            )
        ),
        {"_orders": [{"id": "x", "op": "edit", "request": FACT, "first": []}]},
        {"_orders": [{"id": "x", "op": "applied", "edit": []}]},
        {"_orders": [{"id": "x", "op": "applied"}]},
        *(
            {"_strengths": {"e1": slid}}
            for slid in (None, 5, [], [1], [1, None], [1, "x"], [1, math.nan], [1, math.inf], {})
        ),
        *({"_strengths": strengths} for strengths in (5, [], None)),
        *({"_request": request} for request in ({"op": "nothing"}, {"op": []}, 5, [])),
        *({"layer": layer} for layer in (-1, 99, "x", math.nan, 1.5)),
        *({"settings": values} for values in (5, {"steps": "x"}, {"steps": math.nan}, {"a": []})),
        *({"tests": tests} for tests in (5, [5], [{"text": 5}], [{"text": DEEP}])),
        *({name: []} for name in ("edits", "ledger", "rows", "trail", "steps", "suggestion")),
        {"method": "nothing"},
        {"selected": None},
    ],
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_message_that_is_none_of_a_pages_is_an_error_to_read(kind):
    widget = WIDGETS[kind]()
    assert widget.wait(PATIENCE)
    for message in MALFORMED[kind]:
        before = widget.get_state()
        if isinstance(message, dict):
            message = {name: each for name, each in message.items() if before.get(name) != each}
            if not message:
                continue
        widget._errors.clear()
        widget.error = None
        getattr(widget, "_seen", set()).clear()
        widget.set_state(message)
        assert widget.wait(PATIENCE)
        assert widget.error is not None, message
        assert widget.error["message"], message
        json.dumps(widget.get_state(), default=bytes.hex, allow_nan=False)
    widget.close()


def test_no_trait_that_the_page_writes_is_kept_from_it():
    sources = "".join(path.read_text("utf-8") for path in TYPES.parent.rglob("*.ts"))
    written = re.findall(r"\.set\(\{ ([^}]*)", sources)
    names = {name for each in written for name in re.findall(r"(\w+)\b(?=:|,| }|$)", each)}
    outputs = {name for kind in ALL for name in kind._from_python()}
    assert "selection" in names
    assert not names & outputs
    assert outputs <= {name for kind in ALL for name in synced(kind)}


ALL = (TraceGrid, TraceExplorer, EditPanel, PredictionCompare, GenerationCompare)


def test_nothing_that_a_widget_holds_is_deeper_than_can_be_sent():
    explorer, deep = WIDGETS["explorer"](), []
    for _ in range(2000):
        deep = [deep]
    deep_at_once = deep[:]
    deep_at_once.append(deep_at_once)
    for name in ("history", "kept", "subject_places", "selection", "cursor"):
        for value in (deep, deep_at_once, {"a": deep}):
            with pytest.raises(TraitRefused):
                setattr(explorer, name, value)
    json.dumps(explorer.get_state(), default=bytes.hex)
    explorer.close()
