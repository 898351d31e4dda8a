"""The text of a prompt and the subject in it; what a trace makes of either is in `test_tracer`."""

import pytest

from rome_widgets import Fact
from rome_widgets.errors import PromptError
from rome_widgets.tracing.stated import as_text, read_stated
from tests.helpers import tiny


def test_braces_are_only_text():
    text = '{"a": {}, b: {.__class__} %s {0}'
    assert as_text(text, "b") == (text, "b")
    filled, span = as_text("{} is {x", "Rome")
    assert filled == "Rome is {x"
    assert filled[slice(*span)] == "Rome"


def test_a_fact_brings_its_own_subject_and_place():
    fact = Fact("{} w3 w14", "w14")
    assert as_text(fact, None) == ("w14 w3 w14", (0, 3))
    assert read_stated(tiny.shared_lm("gpt2"), fact, None) == ("w14 w3 w14", (0, 3))


def test_a_text_without_a_subject_is_refused():
    for subject in (None, "  "):
        with pytest.raises(PromptError):
            as_text("w14 is", subject)
