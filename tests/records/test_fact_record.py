"""A record of a fact is taken wherever a fact is."""

import pytest

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, PromptError
from rome_widgets.records.fact import Fact, StatedFact, read_fact
from rome_widgets.records.fact_record import FactRecord, new_and_true
from rome_widgets.records.schemas import Probe
from tests.helpers import tiny
from tests.helpers.published import COUNTERFACT, FORMS, KNOWN, MQUAKE, RIPPLE

RECORD = FactRecord("The capital of France is", "France", "Paris", target_new="Rome")


def test_it_is_a_fact_with_a_hole_for_its_subject():
    assert isinstance(RECORD, Fact)
    assert (RECORD.prompt, RECORD.text) == ("The capital of {} is", "The capital of France is")
    assert RECORD.stated() == StatedFact("The capital of {} is", "France", "Rome", "Paris")


@pytest.mark.parametrize("name", [name for name in FORMS if name != "MQuAKE"])
def test_a_mapping_and_its_record_state_the_same(name):
    record = FactRecord.from_record(FORMS[name])
    assert read_fact(record) == read_fact(FORMS[name])
    assert FactRecord.from_record(record) is record
    assert Fact.from_record(FORMS[name]) == Fact(record.prompt, record.subject, record.target)


def test_a_target_that_is_given_goes_before_the_records_own():
    assert read_fact(RECORD, target="Oslo").target == "Oslo"
    assert read_fact(RECORD, target="").target == "Rome"
    assert read_fact(Fact("Rome is in", "Rome", "Italy")).target is None
    assert read_fact("Rome is in", "Rome", "").target == ""


def test_a_case_of_several_facts_is_no_single_one():
    record = FactRecord.from_record(MQUAKE)
    assert [each.subject for each in record.along_with] == ["Libya"]
    assert all(isinstance(each, FactRecord) for each in record.along_with)
    assert record.paraphrase_prompts == (MQUAKE["requested_rewrite"][0]["question"],)
    for read in (read_fact, Fact.from_record):
        with pytest.raises(PromptError, match="states 2 facts"):
            read(MQUAKE)


FACT = {
    "requested_rewrite": {
        "prompt": "w3 {} w9 w26",
        "subject": "w14 w15",
        "target_new": {"str": "w5"},
        "target_true": {"str": "w6"},
    }
}


def test_it_is_edited_and_traced_as_what_it_says():
    lm, record = tiny.shared_lm(), FactRecord.from_record(FACT)
    noise = rw.Noise.absolute(2.0)
    trace = rw.trace(lm, record, samples=2, kinds="mlp", noise=noise, progress=False)
    assert (trace.prompt, trace.subject) == (record.text, record.subject)
    options = {"layer": 2, "settings": {"steps": 2, "prefixes": ()}, "second_moment": "identity"}
    options["neighbors"] = ()
    reports = [rw.edit(lm, each, **options, progress=False).report for each in (record, FACT)]
    assert reports[0].target == reports[1].target == "w5"
    assert reports[0].steps == reports[1].steps


def test_widgets_take_one():
    lm, record = tiny.shared_lm(), FactRecord.from_record(FACT)
    explorer = rw.TraceExplorer(lm, record, auto_run=False)
    assert (explorer.prompt, explorer.subject) == (record.text, record.subject)
    panel = rw.EditPanel(lm, record)
    assert (panel.template, panel.subject, panel.target) == (record.prompt, record.subject, "w5")
    assert panel.true_object == "w6"
    explorer.close()
    panel.close()


def test_lists_become_tuples_and_what_is_none_is_refused():
    made = FactRecord("{} is", "a", paraphrase_prompts=["b"], aliases="c", locality=[])
    assert (made.paraphrase_prompts, made.aliases, made.locality) == (("b",), ("c",), ())
    assert hash(made) == hash(FactRecord("{} is", "a", paraphrase_prompts=["b"], aliases=["c"]))
    assert FactRecord("{} is", "a", target_new="").target_new is None
    for wrong in (
        {"paraphrase_prompts": [3]},
        {"locality": ["a probe"]},
        {"along_with": [COUNTERFACT]},
        {"id": 3},
        {"target_new": 5},
    ):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            FactRecord("{} is", "a", **wrong)
    with pytest.raises(PromptError, match="lone surrogate"):
        FactRecord("{} is", "a\ud800")


def test_both_objects_are_told_apart_or_missed():
    assert new_and_true(RECORD) == ("Rome", "Paris")
    with pytest.raises(PromptError, match="names no new object"):
        new_and_true(FactRecord.from_record(KNOWN))
    with pytest.raises(PromptError, match="names no true object"):
        new_and_true(FactRecord("{} is", "a", target_new="b"))


def test_it_is_shown_on_a_line_and_in_a_table():
    assert repr(RECORD) == "FactRecord('The capital of {} is', 'France': 'Paris' → 'Rome')"
    assert repr(FactRecord("{} is", "a")) == "FactRecord('{} is', 'a')"
    html = FactRecord("{} <b>", "a", locality=[Probe("p", (("q",),))])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "locality" in html
    assert "portability" not in html
    assert "Compositionality_I" in FactRecord.from_record(RIPPLE)._repr_html_()
