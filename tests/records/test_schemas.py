"""Published forms: what each record says; what is wrong in one ends in an error of ours."""

import copy
import math

import numpy as np
import pytest

import rome_widgets as rw
from rome_widgets.errors import PromptError
from rome_widgets.records.schemas import SCHEMAS, ZSRE_ALT, Probe, read_fields, schema_of
from tests.helpers.published import (
    CONDENSED,
    COUNTERFACT,
    FORMS,
    KNOWEDIT,
    MOTHER,
    MQUAKE,
    RIPPLE,
    TRACING,
    ZSRE,
)

SAYS = {
    "CounterFact": ("The mother tongue of {} is", "Danielle Darrieux", "French", "English"),
    "known_1000": (
        "Vinson Massif is located in the continent of",
        "Vinson Massif",
        "Antarctica",
        None,
    ),
    "EasyEdit": (
        "The mother tongue of Danielle Darrieux is",
        "Danielle Darrieux",
        "French",
        "English",
    ),
    "EasyEdit, in groups": ("Leaning Tower is in", "Leaning Tower", "Pisa", "Rome"),
    "CounterFact for tracing": (
        "The mother tongue of {} is",
        "Danielle Darrieux",
        "French",
        "English",
    ),
    "zsRE": ("What is the product made by UniFirst?", "UniFirst", "uniform", "uniform"),
    "QAEdit": (
        "who has the most 70 point games?",
        "most 70 point games",
        "Wilt Chamberlain",
        "Wilt Chamberlain",
    ),
    "RippleEdits": (
        "The name of the country of citizenship of {} is",
        "Leonardo DiCaprio",
        "U.S.A.",
        "Syria",
    ),
    "MQuAKE": ("{} is a citizen of", "Vince McMahon", "United States of America", "Libya"),
    "LRE": ("{} is part of", "Rio de Janeiro", "Brazil", None),
    "a table": ("Rome is in", "Rome", "Italy", "France"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_told_by_its_fields_and_says_its_fact(name):
    assert schema_of(FORMS[name]).name == name.partition(",")[0]
    fields = read_fields(FORMS[name])
    said = (fields["prompt"], fields["subject"], fields["target"], fields.get("target_new"))
    assert said == SAYS[name]


def test_every_form_has_an_example_here():
    assert {schema.name for schema in SCHEMAS} == {name.partition(",")[0] for name in FORMS}


def test_counterfact_has_its_four_lists_of_prompts():
    fields = read_fields(COUNTERFACT)
    assert (fields["id"], fields["relation"]) == ("7", "P103")
    for name in ("paraphrase", "neighborhood", "attribute", "generation"):
        assert fields[f"{name}_prompts"] == tuple(COUNTERFACT[f"{name}_prompts"])


def test_the_locality_of_condensed_counterfact_is_a_neighbor_and_of_others_a_probe():
    fields = read_fields(CONDENSED)
    assert fields["neighborhood_prompts"] == (CONDENSED["locality_prompt"],)
    assert fields["locality"] == ()
    fields = read_fields({**CONDENSED, "locality_ground_truth": "German"})
    assert fields["neighborhood_prompts"] == ()
    assert fields["locality"] == (Probe(CONDENSED["locality_prompt"], (("German",),)),)


def test_groups_of_probes_keep_their_names():
    fields = read_fields(KNOWEDIT)
    assert fields["aliases"] == ("Pisa, Italy",)
    assert fields["paraphrase_prompts"] == ("One finds the Leaning Tower in",)
    assert fields["portability"] == (Probe("Its mayor is", (("Gualtieri",),), "Reasoning"),)
    assert fields["locality"] == (Probe("It leans", (("south",),), "Relation_Specificity"),)


@pytest.mark.parametrize("spaced", [True, False])
def test_spaces_of_the_tracing_form_stay_where_they_were(spaced):
    record = dict(TRACING)
    if not spaced:  # at the start of a sentence
        record |= {"relation_prefix": "", "subject": "Danielle Darrieux", "relation_suffix": " is"}
    wanted = f"{record['relation_prefix']}{record['subject']}{record['relation_suffix']}"
    assert rw.Fact.from_record(record).text == wanted


def test_of_zsre_either_answer_can_be_edited_in():
    fields = read_fields(ZSRE)
    assert fields["aliases"] == ("uniforms",)
    assert fields["locality"] == (Probe(ZSRE["loc"] + "?", (("Jeff Bridges",),)),)
    assert ZSRE_ALT.read(ZSRE)["target_new"] == "unmanned aircraft"
    assert ZSRE_ALT.read(ZSRE)["target"] == "uniform"


class TestRippleEdits:
    def test_tests_are_probes_by_what_they_ask_for(self):
        fields = read_fields(RIPPLE)
        assert fields["locality"] == (MOTHER._replace(given=(MOTHER,)),)  # and none without a name
        (probe,) = fields["portability"]
        assert probe.group == "Compositionality_I"
        assert probe.answers == (("Arabic",), ("Kurdish", "Kurdî"))
        assert probe.answer == "Arabic"

    @pytest.mark.parametrize(
        ("relation", "sentence", "subject", "target"),
        [
            ("AUTHOR", "The name of the author of It is Us is Ann B..", "It is Us", "Ann B."),
            ("FOLLOWS", "1984 follows 1983.", "1984", "1983"),
            ("SEX_OR_GENDER", "The gender of Ann of Kyiv is female.", "Ann of Kyiv", "female"),
            ("PLACE_OF_BIRTH", "The place of birth of Ann is Kyiv.", "Ann", "Kyiv"),
            ("AWARD_RECEIVED", "The name of the award Ann won is Oscar.", "Ann", "Oscar"),
        ],
    )
    def test_words_are_cut_out_of_the_sentence(self, relation, sentence, subject, target):
        edit = {"prompt": sentence, "relation": relation, "previous_fact": None}
        fields = read_fields({"example_type": "recent", "edit": edit})
        assert (fields["subject"], fields["target_new"]) == (subject, target)
        assert fields["target"] == ""
        filled = fields["prompt"].replace("{}", subject)
        assert sentence == f"{filled} {target}."

    def test_a_subject_that_the_file_names_goes_before(self):
        named = {
            "prompt": "The name of the author of A is B.",
            "relation": "AUTHOR",
            "subject": "A",
        }
        long = {**named, "prompt": "The name of the author of A is B is C."}
        assert read_fields({"example_type": "", "edit": long})["target_new"] == "B is C"

    def test_another_sentence_is_refused(self):
        edit = {"prompt": "Ann has one.", "relation": "AUTHOR"}
        with pytest.raises(PromptError, match="One as 'The name of the author of"):
            read_fields({"example_type": "recent", "edit": edit})


def test_a_case_of_several_facts_keeps_all_of_them():
    fields = read_fields(MQUAKE)
    (other,) = fields["along_with"]
    assert (other["subject"], other["target_new"]) == ("Libya", "Franklin")
    assert fields["portability"] == (
        Probe(MQUAKE["questions"][0], (("Franklin", "Franklin, Kentucky"),), "multi-hop"),
        Probe("Who employs Triple H?", (("WWE", "World Wrestling Federation"),), "single hop"),
    )


def test_lists_of_numpy_and_missing_values_are_read_as_of_json():
    record = {**COUNTERFACT, "neighborhood_prompts": np.array(["a", "b"], dtype=object)}
    fields = read_fields({**record, "attribute_prompts": None, "generation_prompts": math.nan})
    assert fields["neighborhood_prompts"] == ("a", "b")
    assert fields["attribute_prompts"] == fields["generation_prompts"] == ()


def places(value, path=()):
    """Paths to all values within one."""
    yield path
    inside = list(enumerate(value)) if isinstance(value, list) else []
    for key, each in value.items() if isinstance(value, dict) else inside:
        yield from places(each, (*path, key))


WRONG = [
    None,
    True,
    3,
    math.nan,
    "",
    "\ud800",
    "x",
    [],
    [None],
    [[1]],
    {},
    {"str": 1},
    {1: 2},
    b"x",
]


@pytest.mark.parametrize("name", FORMS)
def test_whatever_stands_in_a_field_only_our_errors_get_out(name):
    refused = 0
    for path in places(FORMS[name]):
        for value in WRONG:
            record = copy.deepcopy(FORMS[name])
            if path:
                *way, last = path
                inner = record
                for key in way:
                    inner = inner[key]
                inner[last] = value
            else:
                record = value
            for read in (rw.datasets.FactRecord.from_record, rw.Fact.from_record):
                try:
                    read(record)
                except rw.RomeWidgetsError:
                    refused += 1
    assert refused > 60  # so the values were put in


@pytest.mark.parametrize("name", FORMS)
def test_a_field_that_tells_the_form_and_is_missing_makes_it_another(name):
    for key in schema_of(FORMS[name]).keys:
        record = {field: each for field, each in FORMS[name].items() if field != key}
        if {"prompt", "subject"} <= record.keys() or (
            name == "MQuAKE" and key != "requested_rewrite"
        ):
            assert schema_of(record).name != name.partition(",")[0]
        else:
            with pytest.raises(PromptError, match="does not state a fact"):
                schema_of(record)
