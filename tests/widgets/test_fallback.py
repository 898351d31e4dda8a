"""What an untrusted notebook keeps: an escaped table, never markup of ours or of a token's."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from rome_widgets.widgets import (
    EditPanel,
    GenerationCompare,
    PredictionCompare,
    TraceExplorer,
    TraceGrid,
)
from rome_widgets.widgets.fallback import MOST_CELLS
from tests.helpers import xss_widgets
from tests.helpers.fake_editor import NEEDLE, FakeEditor
from tests.helpers.fake_engine import FakeEngine, fake_trace
from tests.helpers.xss_strings import HARMFUL, LABELS, WRITTEN

ALLOWED = {"p", "b", "br", "table", "caption", "tr", "th", "td", "bdi", "img"}
ATTRIBUTES = {"style", "title", "alt", "width", "height", "src"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.attributes, self.text = set(), set(), []

    def handle_starttag(self, tag, attrs):
        assert all(
            value.startswith("data:image/svg+xml;") for name, value in attrs if name == "src"
        )
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text.append(data)


def parse(html):
    tags = Tags()
    tags.feed(html)
    tags.close()
    return tags


def test_a_trace_becomes_a_table_with_inline_styles():
    tags = parse(TraceGrid(fake_trace()).to_html_table())
    assert tags.seen <= ALLOWED
    assert tags.attributes <= {"style", "title"}
    text = " ".join(tags.text)
    for expected in (
        "The Space Needle is in the city of",
        "Seattle",
        "0.9352",
        "0.0357",
        "MLP",
        "Needle",
        "*",
    ):
        assert expected in text


def test_a_large_trace_is_listed_by_its_strongest_states():
    tokens = ["The", " Space", " Needle", *(f" w{i}" for i in range(40))]
    trace = fake_trace(" ".join(tokens), tokens=tokens, span=(0, 3), n_layers=48, window=10)
    assert len(tokens) * 48 * 3 > MOST_CELLS
    html = TraceGrid(trace).to_html_table()
    assert "20 strongest of" in html
    assert len(html) < 10_000


def test_what_was_not_computed_is_said():
    trace = fake_trace(scores={"mlp": np.full((8, 8), np.nan)})
    assert "not computed" in TraceGrid(trace).to_html_table()


@pytest.mark.parametrize("make", [TraceGrid, lambda: TraceExplorer(FakeEngine())])
def test_the_mimebundle_has_the_widget_a_table_and_useful_text(make):
    widget = make()
    data, _metadata = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "nothing traced yet" in data["text/plain"]
    assert "nothing traced yet" in data["text/html"]


def test_text_names_the_best_state_of_each_kind():
    text = TraceGrid(fake_trace()).to_text()
    assert "hidden: 0.46" in text
    assert "' Needle', layer 3" in text


def edited(request=NEEDLE):
    engine = FakeEditor()
    engine.edit(request, lambda step: None, lambda: False)
    panel = EditPanel(engine)
    assert panel.wait(20)
    return panel


def test_an_edit_panel_is_its_history_and_what_changed():
    for shown in (parse(edited().to_html_table()).text, [edited().to_text()]):
        text = " ".join(shown)
        for expected in (
            "1 active edit", "weights match the history ✓", "layer 3",
            "The Space Needle is in the city of → Paris", "0.118", "efficacy 1.00",
            "Seattle 0.920", "+0.9", "▲", "kept", "bled",
        ):  # fmt: skip
            assert expected in text, expected


def test_weights_that_do_not_match_are_said_so():
    panel = edited()
    panel.ledger = {"n_active": 0, "fingerprint_ok": False}
    assert "do not match the history ✗" in panel.to_text()
    assert "EDITED" not in panel.to_html_table()


def test_comparisons_are_tables_too():
    runs = [
        {"name": "clean", "tokens": [" Paris"], "probabilities": [0.01], "ranks": [9]},
        {"name": "edited", "tokens": [" Paris"], "probabilities": [0.8]},
    ]
    table = PredictionCompare(runs).to_html_table()
    for expected in ("0.010 (rank 9)", "0.800 (rank 1)", "+0.790 ▲"):
        assert expected in table
    texts = [{"before": " in Seattle", "after": " in Paris"}]
    table = GenerationCompare(prompts=["It is"], texts=texts).to_html_table()
    assert '<b style="text-decoration:underline">Paris</b>' in table


@pytest.mark.parametrize("make", xss_widgets.EVERY.values(), ids=xss_widgets.EVERY)
def test_harmful_texts_stay_text_in_every_table(make):
    for bad, written in zip(HARMFUL, WRITTEN, strict=True):
        data, _ = make(bad)._repr_mimebundle_()
        tags = parse(data["text/html"])
        assert tags.seen <= ALLOWED
        assert tags.attributes <= ATTRIBUTES
        assert written in "".join(tags.text)
        json.dumps(data, ensure_ascii=False).encode("utf-8")


def test_long_tokens_are_cut():
    tags = parse(TraceGrid(xss_widgets.harmful_trace("p")).to_html_table())
    assert set(LABELS) <= set(tags.text)
    assert max(map(len, tags.text)) < 100
