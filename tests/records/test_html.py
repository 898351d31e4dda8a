"""Records read well: a short repr, and a table that any host shows and no text breaks."""

import dataclasses
import importlib
import pkgutil
import re
from html.parser import HTMLParser

import pytest

import rome_widgets as rw
from rome_widgets import records
from rome_widgets.records.html import Probability, label, table
from rome_widgets.records.trace import Restoration
from tests.helpers.records import RECORDS
from tests.helpers.xss_strings import HARMFUL, LABELS, WRITTEN

ALLOWED = {"p", "b", "br", "table", "caption", "tr", "th", "td", "bdi"}


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.seen, self.attributes, self.text = set(), set(), []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text.append(data)


def check_html(html):
    """Only plain elements with inline styles; returns its texts."""
    tags = Tags(html)
    assert tags.seen <= ALLOWED
    assert tags.attributes <= {"style", "title"}
    assert not re.search("(?<!background-)color:", html), "of text: hosts have dark themes"
    return tags.text


def check_repr(record):
    lines = repr(record).splitlines()
    assert len(lines) <= 6
    assert max(map(len, lines)) <= 102, lines


def classes_of_records():
    """Every dataclass of the room of records that is a result."""
    for module in pkgutil.iter_modules(records.__path__):
        found = importlib.import_module(f"{records.__name__}.{module.name}")
        for made in vars(found).values():
            if dataclasses.is_dataclass(made) and made.__module__ == found.__name__:
                yield made


ELSEWHERE = {
    f"rome_widgets.records.{name}"
    for name in ("corruption", "edit", "fact", "fact_record", "metrics")
}


def test_every_record_is_among_those_looked_at():
    found = {made for made in classes_of_records() if made.__module__ not in ELSEWHERE}
    assert found == set(RECORDS)


@pytest.mark.parametrize("made", RECORDS, ids=lambda made: made.__name__)
def test_a_record_is_a_short_repr_and_a_table_and_texts_stay_texts(made):
    check_repr(RECORDS[made](" Seattle"))
    for bad, written, short in zip(HARMFUL, WRITTEN, LABELS, strict=True):
        record = RECORDS[made](bad)
        check_repr(record)
        html = record._repr_html_()
        text = "".join(check_html(html))
        assert written in text or written.strip() in text or short in text
        html.encode("utf-8")
        if hasattr(record, "against"):
            check_html(measured(record, bad)._repr_html_())


def measured(record, text):
    """The record of the difference of two answers with this text."""
    changes = {"metric": "logit_difference", "against": text}
    changes |= {"measured": (-1e3, -2e3, -3e3)} if isinstance(record, Restoration) else {}
    other = dataclasses.replace(record, **changes)
    check_repr(other)
    return other


@pytest.mark.parametrize("edits", [0, 1, 30])
def test_a_model_and_what_belongs_to_it_read_well(bundled_lm, edits):
    tracer = rw.CausalTracer(bundled_lm, "The Space Needle is in the city of", "The Space Needle")
    applied = type(bundled_lm.edits)(["an edit " * 30] * edits)
    many = rw.Noise.times_std(3.0, [str(i) for i in range(1000)])
    for thing in (bundled_lm, tracer, applied, many, bundled_lm.geometry, bundled_lm.replay._head):
        check_repr(thing)
    for thing in (bundled_lm, tracer, applied):
        check_html(thing._repr_html_())
    assert isinstance(bundled_lm.edits, tuple)
    assert bundled_lm.edits == ()
    assert repr(bundled_lm.edits) == "0 edits"


def test_numbers_stand_on_the_right_and_likely_ones_are_shaded():
    html = table([["a", 3, 0.25, Probability(0.5), None]], ["x", "n", "f", "p", "none"], "seen")
    assert html.count("text-align:right") == 8
    assert html.count("background-color") == 1
    assert " ".join(check_html(html)) == "seen x n f p none a 3 0.2500 0.5000 –"
    assert check_html(table([], ["x"])) == ["x"]


def test_a_token_as_a_name_of_a_row():
    assert label(" Needle") == "Needle"
    assert label("\n") == "⏎"
    assert len(label("x" * 99)) == 40
