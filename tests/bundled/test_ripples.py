"""Questions about what follows from an edit are true in the bundled world's own graph."""

import pytest

import rome_widgets as rw
from rome_widgets import bundled
from rome_widgets.bundled.ripples import ALIAS, INVERSE, OTHERS, TWO_HOPS, Graph
from rome_widgets.errors import ArgumentError
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.schemas import Probe

TABLE = {
    "relations": {
        "country": {"templates": ["{} is in the country of", "The country of {} is"]},
        "city": {"templates": ["{} is in the city of"]},
        "maker": {"templates": ["{} was made by"]},
        "capital": {"templates": ["The capital of {} is"]},
        "currency": {"templates": ["The currency of {} is the"]},
        "profession": {"templates": ["{} works as a", "The job of the famous {} is"]},
    },
    "facts": [
        {"subject": s, "relation": r, "object": o}
        for s, r, o in [
            ("The Tower", "country", "France"),
            ("The Tower", "city", "Paris"),
            ("The Tower", "maker", "Ann Smith"),
            ("France", "capital", "Paris"),
            ("France", "currency", "euro"),
            ("Italy", "capital", "Rome"),
            ("Italy", "currency", "euro"),
            ("Ann Smith", "profession", "painter"),
            ("Ann Smith", "country", "France"),
            ("Bob Jones", "profession", "poet"),
            ("Tom Jones", "profession", "poet"),
        ]
    ],
}


def rippled(relation, subject, true, new):
    prompt = TABLE["relations"][relation]["templates"][0]
    record = FactRecord(prompt, subject, true, target_new=new, relation=relation)
    return Graph(TABLE).with_ripples(record)


def by_group(record, name):
    return [(each.prompt, each.answers) for each in record.portability if each.group == name]


def test_two_hops_are_asked_of_the_phrase_for_the_object_where_they_are_news():
    """Both countries pay with the euro: that is the same before and after."""
    record = rippled("country", "The Tower", "France", "Italy")
    assert by_group(record, TWO_HOPS) == [
        ("The capital of the country of The Tower is", (("Rome",),))
    ]
    (probe,) = [each for each in record.portability if each.group == TWO_HOPS]
    assert probe.given == (Probe("The capital of Italy is", (("Rome",),)),)


def test_the_inverse_is_the_sentence_turned_round_with_its_article():
    record = rippled("capital", "France", "Paris", "Rome")
    assert by_group(record, INVERSE) == [("Rome is the capital of", (("France",),))]
    record = rippled("currency", "France", "euro", "yen")
    assert by_group(record, INVERSE) == [("The yen is the currency of", (("France",),))]
    record = rippled("profession", "Ann Smith", "painter", "poet")
    assert by_group(record, INVERSE) == [], "no template is a phrase for the object"


@pytest.mark.parametrize(
    ("relation", "subject", "true", "alias"),
    [
        ("country", "The Tower", "France", "Tower"),
        ("profession", "Ann Smith", "painter", "Smith"),
        ("profession", "Bob Jones", "poet", None),
        ("capital", "France", "Paris", None),
    ],
)
def test_an_alias_is_a_name_that_nobody_else_has(relation, subject, true, alias):
    record = rippled(relation, subject, true, "x")
    template = TABLE["relations"][relation]["templates"][0]
    wanted = [(template.replace("{}", alias), (("x",),))] if alias else []
    assert by_group(record, ALIAS) == wanted
    asked = [each for each in record.portability if each.group == ALIAS]
    assert [[given.answer for given in each.given] for each in asked] == [[true]] * len(wanted)


def test_other_facts_of_the_subject_stay_and_other_objects_contradict():
    record = rippled("country", "Ann Smith", "France", "Italy")
    assert record.locality == (Probe("Ann Smith works as a", (("painter",),), OTHERS),)
    record = rippled("profession", "Ann Smith", "painter", "poet")
    assert record.contradictions == ("painter",)


@pytest.mark.parametrize(
    ("relation", "true", "new"), [("city", "Paris", "Rome"), ("country", "France", "Italy")]
)
def test_what_depends_on_the_edited_fact_need_not_stay(relation, true, new):
    record = rippled(relation, "The Tower", true, new)
    assert record.locality == (Probe("The Tower was made by", (("Ann Smith",),), OTHERS),)


def test_a_record_of_another_world_is_refused():
    with pytest.raises(ArgumentError, match="no record of the bundled world"):
        bundled.with_ripples([FactRecord("{} is in", "Oz", "Kansas", target_new="Rome")])


def test_every_record_of_the_bundled_world_has_its_questions():
    given = rw.datasets.bundled()
    records = bundled.with_ripples(given)
    assert len(records) == len(given)
    assert records.source == given.source
    facts = {(each.text, each.target) for each in given}
    for record in records:
        assert all((each.prompt, each.answer) in facts for each in record.locality)
        hops = [each for each in record.portability if each.group == TWO_HOPS]
        assert all((given.prompt, given.answer) in facts for each in hops for given in each.given)
        assert record.target in record.contradictions
        assert record.target_new not in record.contradictions
    groups = {each.group for record in records for each in record.portability}
    assert groups == {TWO_HOPS, INVERSE, ALIAS}
