"""What an untrusted notebook keeps: an escaped table, never markup of ours or of a token's."""

from html.parser import HTMLParser

import numpy as np
import pytest
from widgets.fake_editor import NEEDLE, FakeEditor
from widgets.fake_engine import FakeEngine, fake_trace

from rome_widgets.widgets import (
    EditPanel,
    EditRequest,
    GenerationCompare,
    PredictionCompare,
    TraceExplorer,
    TraceGrid,
)
from rome_widgets.widgets.fallback import MOST_CELLS, strongest

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</td></table><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    " <!--<script>",
    " &lt;b&gt;",
    "\x00\n\u202e\ud800",
    "x" * 10_000,
    " of",
)
ALLOWED = {"p", "b", "br", "table", "caption", "tr", "th", "td", "bdi"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.attributes, self.text = set(), set(), []

    def handle_starttag(self, tag, attrs):
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


def test_hostile_text_stays_text():
    trace = fake_trace(
        "<script>1</script>", "s", tokens=HOSTILE, span=(0, 3), answer=HOSTILE[0], model=HOSTILE[1],
        noise={"text": "<b>σ</b>"},
    )  # fmt: skip
    html = TraceGrid(trace).to_html_table()
    tags = parse(html)
    assert tags.seen <= ALLOWED
    assert tags.attributes <= {"style", "title"}
    assert HOSTILE[0] in "".join(tags.text)
    assert "␀⏎" in "".join(tags.text)
    assert len(html) < 100_000
    html.encode("utf-8")


def test_a_large_trace_is_listed_by_its_strongest_states():
    tokens = ["The", " Space", " Needle", *(f" w{i}" for i in range(40))]
    trace = fake_trace(" ".join(tokens), tokens=tokens, span=(0, 3), n_layers=48, window=10)
    assert len(tokens) * 48 * 3 > MOST_CELLS
    html = TraceGrid(trace).to_html_table()
    assert "20 strongest of" in html
    assert len(html) < 10_000


def test_strongest_looks_at_the_subject_only():
    trace = fake_trace()
    pos, layer, score = strongest(trace, "hidden")
    assert (pos, layer) == (2, 4)
    assert score == trace.scores["hidden"][:3].max()


def test_strongest_is_none_where_nothing_was_computed():
    trace = fake_trace(scores={"mlp": np.full((8, 8), np.nan)})
    assert strongest(trace, "mlp") is None
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
            "1 active edit", "weights match ✓", "The Space Needle is in the city of → Paris",
            "layer 3", "0.118", "efficacy 1.00", "Seattle 0.920", "+0.9", "▲", "kept", "bled",
        ):  # fmt: skip
            assert expected in text, expected


def test_weights_that_do_not_match_are_said_so():
    panel = edited()
    panel.ledger = {"n_active": 0, "fingerprint_ok": False}
    assert "do not match ✗" in panel.to_text()
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


@pytest.mark.parametrize(
    "make",
    [
        lambda bad: edited(EditRequest(bad + "{}", bad, bad, bad)),
        lambda bad: PredictionCompare([{"name": bad, "tokens": [bad], "probabilities": [0.5]}]),
        lambda bad: GenerationCompare(
            prompts=[bad], columns=[bad, "b"], texts=[{bad: bad, "b": f"x {bad}"}]
        ),
    ],
)
@pytest.mark.parametrize("bad", HOSTILE[:6])
def test_hostile_words_stay_text_in_every_table(make, bad):
    html = make(bad).to_html_table()
    tags = parse(html)
    assert tags.seen <= ALLOWED
    assert tags.attributes <= {"style"}
    html.encode("utf-8")
