"""Totals and tables of an evaluation, worked out by hand."""

import math

import pytest

import rome_widgets as rw
from rome_widgets.errors import ArgumentError
from rome_widgets.records.evaluation import EvaluatedEdit, Evaluation

TABLES = """
none 30.5 22.2 24.7 78.1|FT 65.1 100.0 87.9 40.4|FT+L 66.9 99.1 48.7 70.3|KN 35.6 28.7 28.0 72.9
KE 52.2 84.3 75.4 30.9|KE-CF 18.1 99.9 95.8 6.9|MEND 57.9 99.1 65.4 37.9|MEND-CF 14.9 100.0 97.0 5.5
ROME 89.2 100.0 96.4 75.4|none 23.6 16.3 18.6 83.0|FT 25.5 100.0 96.6 10.3|FT+L 68.7 99.6 47.9 78.6
MEND 63.2 97.4 53.6 53.9|ROME 91.5 99.9 99.1 78.9|none 33.4 25.0 27.4 74.9|FT+L 68.0 100.0 68.5 51.3
ROME 87.4 100.0 96.4 71.8|none 32.8 23.9 27.4 75.7|FT+L 71.2 100.0 63.0 61.5
ROME 88.2 99.9 96.3 73.4|MEMIT 85.8 98.9 88.6 73.7|MEMIT 82.0 97.2 82.2 70.8
"""
"""Method, S, ES, PS, NS: tables 4 and 5 (GPT-2 XL, GPT-J, medium, large), and MEMIT's."""


def row(number, method="rome", reason="", **figures):
    return EvaluatedEdit(
        number, method, f"p{number}", "s", "a", "b", reason=reason, figures=figures
    )


def evaluation_of(*rows, methods=("none", "rome")):
    return Evaluation(rows, "tiny", methods)


FOUND = evaluation_of(
    row(0, "none", ES=0.0, PS=0.0, NS=1.0, perplexity_own=10.0),
    row(0, ES=1.0, PS=0.5, NS=0.6, perplexity_own=12.0, rise_own=1.2),
    row(1, "none", ES=0.0, NS=0.8),
    row(1, ES=0.0, NS=0.2),
    row(2, "none", ES=1.0),
    row(2, reason="It cannot be."),
)


ROUNDED = 0.0005
"""By how much a number of the paper's may be off, as a share."""


@pytest.mark.parametrize("line", TABLES.replace("\n", "|").strip("|").split("|"))
def test_the_papers_s_is_the_harmonic_mean_of_its_own_columns(line):
    name, *numbers = line.split()
    score, *parts = (float(number) / 100 for number in numbers)
    least, most = (score_of(*(part + off for part in parts)) for off in (-ROUNDED, ROUNDED))
    assert least - ROUNDED <= score <= most + ROUNDED, name


def score_of(es, ps, ns):
    found = evaluation_of(row(0, ES=es, PS=ps, NS=ns), methods=("rome",)).total("rome", "S")
    assert math.isnan(found.interval)
    return found.value


def test_the_papers_intervals_are_those_of_its_shares():
    for share, n, interval in ((0.222, 7500, 0.0094), (0.163, 2000, 0.0162)):
        ones = round(share * n)
        rows = [row(number, ES=float(number < ones)) for number in range(n)]
        found = evaluation_of(*rows, methods=("rome",)).total("rome", "ES")
        assert found.value == pytest.approx(share, abs=1e-4)
        assert found.interval == pytest.approx(interval, abs=1e-4)


def test_a_total_is_over_the_records_that_have_it():
    assert FOUND.total("rome", "ES")[::2] == (0.5, 2)
    assert FOUND.total("rome", "PS")[::2] == (0.5, 1)
    assert FOUND.total("none", "ES")[::2] == (pytest.approx(1 / 3), 3)
    missing = FOUND.total("none", "rise_own")
    assert math.isnan(missing.value)
    assert missing.n == 0
    assert FOUND.total("none", "S").value == 0
    assert FOUND.total("rome", "S").value == pytest.approx(3 / (1 / 0.5 + 1 / 0.5 + 1 / 0.4))


def test_an_edit_that_failed_is_counted_and_told():
    assert [(each.number, each.method) for each in FOUND.failed] == [(2, "rome")]
    summary = FOUND.summary()
    assert summary.loc["rome", ["records", "failed"]].tolist() == [2, 1]
    assert "1 failed" in repr(FOUND)
    assert "It cannot be." in FOUND._repr_html_()


def test_the_summary_has_the_columns_of_table_4_first_also_those_without_data():
    summary = FOUND.summary()
    figures = [name for name in summary.columns[2:] if " " not in name]
    assert figures[:9] == ["S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS"]
    assert summary.loc["rome", "GE n"] == 0
    assert math.isnan(summary.loc["rome", "GE"])
    assert summary.loc["rome", "rise_own"] == 1.2


def test_a_frame_has_a_row_per_record_and_method():
    frame = FOUND.to_frame()
    assert frame[["record", "method"]].values.tolist()[:2] == [[0, "none"], [0, "rome"]]
    assert len(frame) == 6
    assert frame["PS"].isna().sum() == 4
    assert "S" not in frame


def test_every_figure_that_is_shown_stands_beside_its_definition():
    html = FOUND._repr_html_()
    for name in ("ES", "NS", "perplexity_own", "rise_own", "S"):
        words = rw.records.figures.definition_of(name).words
        assert words.split(".")[0].replace(">", "&gt;") in html
    assert "50.0 ±69.3" in html
    assert "<bdi>3 · 2</bdi>" in html
    assert "<bdi>0 · 1</bdi>" in html
    assert "<bdi>1.2</bdi>" in html, "one record has no interval"


def test_methods_and_figures_that_are_not_there_are_told():
    with pytest.raises(ArgumentError, match="'none', 'rome'"):
        FOUND.of("ft")
    with pytest.raises(ArgumentError, match="no figure 'E'"):
        FOUND.total("rome", "E")
