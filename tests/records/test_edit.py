"""What an edit says of itself reads well, stands alone, and keeps markup as text."""

import copy
import pickle

import pytest

from rome_widgets.records.edit import (
    Comparison,
    ComparisonRow,
    EditReport,
    EditStep,
    Perplexity,
    RankOneReport,
)

EVIL = "<script>alert(1)</script>"


def make_report(**changes):
    known = {
        "method": "rome",
        "model": "a model",
        "prompt": "w1 w2\nw3" + 300 * "x" + EVIL,
        "subject": "w1",
        "target": EVIL,
        "target_tokens": ("w2",),
        "layers": (3, 4),
        "why_layer": "Layer 3 was asked for. " * 20,
        "settings": {"steps": 3},
        "settings_from": "the model's card",
        "seed": 0,
        "engine": "replay",
        "steps": tuple(EditStep(1.0, 1.0, 0.0, 0.0, 0.1 * n, 0.0) for n in range(1, 4)),
        "stopped": "steps",
        "update_norm": 1.0,
        "weight_norm": 4.0,
        "rounding": 0.0,
        "seconds": 1.0,
        "warnings": (EVIL + 300 * "y", "another"),
        "details": RankOneReport(rho=0.5, prefixes=("", "w2")),
        "perplexity": Perplexity(10.0, 11.0, 30),
    }
    return EditReport(**{**known, **changes})


@pytest.mark.parametrize(
    "changes", [{}, {"steps": (), "warnings": (), "perplexity": None, "details": None}]
)
def test_a_report_has_six_lines_at_most_and_no_markup(changes):
    report = make_report(**changes)
    lines = repr(report).splitlines()
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 130
    html = report._repr_html_()
    assert "<script" not in html
    assert "&lt;script" in html
    assert "#" not in html.replace("&#x27;", "")
    assert "25.00%" in repr(report)


def test_a_methods_own_part_is_read_from_the_report():
    report = make_report()
    assert (report.rho, report.prefixes, report.clamped) == (0.5, ("", "w2"), None)
    assert (report.layer, report.layers_text) == (3, "3, 4")
    mine = make_report(details={"n_facts": 2})
    assert mine.n_facts == 2
    assert (mine.rho, mine.prefixes, mine.second_moment) == (None, (), "")
    with pytest.raises(AttributeError, match="no 'n_facts'"):
        report.n_facts  # noqa: B018
    for again in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert again == report


def test_a_comparison_has_six_lines_at_most_and_bars():
    rows = tuple(
        ComparisonRow(f"{EVIL}{n}", n, 1 - n / 10, n / 10, 1 + n, 10 - n) for n in range(9, -1, -1)
    )
    found = Comparison(100 * "a prompt ", rows, rows[-1], "before", "after", "word")
    lines = repr(found).splitlines()
    assert len(lines) <= 6
    assert "writes 'before' → 'after'" in lines[-1]
    html = found._repr_html_()
    assert "<script" not in html
    assert html.count("<tr") == len(rows) + 2
    assert "█████████ 0.9" in html
    assert "▏" not in html
