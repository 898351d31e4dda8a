"""Facts are read in whichever way they are given."""

import pytest

import rome_widgets as rw
from rome_widgets.editing.request import read_request, read_requests
from rome_widgets.errors import ContextTooLong, PromptError, SubjectNotFound
from tests.helpers import world
from tests.helpers.world import small_edit


def test_a_fact_and_a_record_say_the_same_as_text():
    lm = world.make_lm("gpt2")
    text = small_edit(lm, "w3 {} w26", "w14 w15", "w8")
    filled = small_edit(lm, "w3 w14 w15 w26", "w14 w15", "w8")
    fact = small_edit(lm, rw.Fact("w3 {} w26", "w14 w15", "w2"), target="w8")
    record = {
        "requested_rewrite": {
            "prompt": "w3 {} w26",
            "subject": "w14 w15",
            "target_true": {"str": "w2"},
            "target_new": {"str": "w8"},
        }
    }
    assert text.id == filled.id == fact.id == small_edit(lm, record).id
    assert small_edit(lm, "w3 {} w26", "w14 w15", "  w8 ").id == text.id


def test_a_bad_fact_is_refused_before_anything_runs():
    lm = world.make_lm("gpt2")
    calls = [
        (PromptError, ("w3 {} w26", "w14", None)),
        (PromptError, ("w3 {} w26", "w14", "  ")),
        (PromptError, ("w3 {} {} w26", "w14", "w8")),
        (PromptError, ("w3 {} w26", None, "w8")),
        (PromptError, ("", "w14", "w8")),
        (PromptError, (rw.Fact("w3 {}", "w14", "w2"),)),
        (PromptError, ("w3 {} \ud800", "w14", "w8")),
        (SubjectNotFound, ("w3 w4", "w14", "w8")),
        (ContextTooLong, ("w3 {} " + "w4 " * 12, "w14", "w8")),
    ]
    for error, arguments in calls:
        with pytest.raises(error):
            small_edit(lm, *arguments)


def test_a_list_holds_records_triples_or_facts_with_one_target():
    lm = world.make_lm("gpt2")
    record = {"prompt": "w3 {}", "subject": "w14", "target_new": {"str": "w8"}}
    fact = rw.Fact("w3 {}", "w14", "w2")
    wanted = read_request(lm, record, None, None)
    assert read_requests(lm, [record, ("w3 {}", "w14", "w8")], None, None) == (wanted, wanted)
    assert read_requests(lm, [fact], None, "w8") == read_requests(lm, record, None, None)
    with pytest.raises(PromptError, match="no fact"):
        read_requests(lm, [], None, None)
    with pytest.raises(PromptError, match="No target"):
        read_requests(lm, [fact], None, None)
