"""What a tuning shows: a line per candidate, and of settings only those that differ."""

from rome_widgets.records.metrics import EditMetrics, MetricsTotal, PromptScore, WordScore
from rome_widgets.records.tuning import Tried, Tuning

RIGHT = PromptScore(WordScore(-0.1, 1.0), WordScore(-3.0, 0.0))
TOTAL = MetricsTotal(
    (EditMetrics.of({"efficacy": [RIGHT], "paraphrase": [RIGHT], "neighborhood": [RIGHT]}),)
)
FOUND = Tuning(
    "rome",
    "tiny",
    (
        Tried(3, {"steps": 20, "clamp": 1.0}, TOTAL),
        Tried(5, {"steps": 20, "clamp": 2.0}, MetricsTotal(()), "<b>packed</b>"),
    ),
    None,
)


def test_the_best_is_the_first():
    assert (FOUND.layer, FOUND.settings["clamp"]) == (3, 1.0)


def test_a_line_says_what_differs_and_how_well_it_did():
    title, head, first, second = repr(FOUND).splitlines()
    assert title == "rome on tiny"
    assert head.split()[:4] == ["layer", "clamp", "records", "S"]
    assert first.split()[:4] == ["3", "1.0", "1", "100.0"]
    assert "steps" not in head
    assert "<b>packed</b>" in second
    assert "100.0" in FOUND._repr_html_()
    assert "±" not in FOUND._repr_html_()  # of one record there is no interval
    assert "&lt;b&gt;packed" in FOUND._repr_html_()
