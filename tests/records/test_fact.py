"""A fact as a person writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rome_widgets.errors import PromptError, SubjectNotFound
from rome_widgets.records.fact import Fact, fill


def test_a_filled_prompt_is_split_at_the_last_occurrence():
    fact = Fact("Rome, they say, is Rome today", "Rome", "Italy")
    assert fact.prompt == "Rome, they say, is {} today"
    assert fact.text == "Rome, they say, is Rome today"
    assert fact.text[fact.subject_start :].startswith("Rome")


def test_a_template_stays_as_it_is():
    assert Fact("{} is in", "Rome").text == "Rome is in"


@given(st.text(), st.text(min_size=1), st.text())
def test_filling_never_reads_a_format_field(before, subject, after):
    template = before.replace("{}", "") + "{}" + after.replace("{}", "")
    if template.count("{}") == 1:
        assert fill(template, subject) == template.replace("{}", subject, 1)


@pytest.mark.parametrize("prompt", ["{.__class__} {0} {x!r} %s is Rome", "}{ Rome {"])
def test_format_fields_are_text(prompt):
    assert Fact(prompt, "Rome").text == prompt


def test_two_holes_are_refused():
    with pytest.raises(PromptError, match="2 places marked"):
        Fact("{} and {}", "Rome")


def test_neither_hole_nor_subject_is_refused():
    with pytest.raises(SubjectNotFound, match=r"neither \{\} nor the subject"):
        Fact("It is in", "Rome")


def test_an_empty_subject_is_refused():
    with pytest.raises(PromptError, match="subject is empty"):
        Fact("{} is", " ")
