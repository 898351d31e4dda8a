"""What a panel says of a target before it is written."""

import pytest

import rome_widgets as rw
from rome_widgets import bundled
from rome_widgets.errors import SubjectNotFound
from rome_widgets.session.targets import MOST_OFFERED, about_target, bundled_objects
from rome_widgets.widgets.edit.engine import EditRequest
from tests.helpers import tiny, world
from tests.helpers.model_guard import fingerprint

NEEDLE = ("{} is in the city of", "The Space Needle")


@pytest.mark.parametrize("target", ["Paris", "Los Angeles", "Zürich Hauptbahnhof", " New York "])
def test_a_target_has_the_tokens_that_an_edit_would_write(lm, target):
    about = about_target(lm, EditRequest(*NEEDLE, target))
    made = rw.edit(lm, *NEEDLE, target, settings={"steps": 1})
    assert tuple(about.tokens) == made.report.target_tokens
    assert about.target == target


def test_of_the_bundled_model_objects_of_the_same_relation_are_offered(lm):
    before = fingerprint(lm.model)
    about = about_target(lm, EditRequest(*NEEDLE, "Paris", "Seattle"))
    assert fingerprint(lm.model) == before
    assert 0 < len(about.offers) <= MOST_OFFERED
    assert set(about.offers) <= set(bundled_objects(NEEDLE[0])) - {"Paris", "Seattle"}
    assert "Seattle" not in about_target(lm, EditRequest(*NEEDLE, "")).offers, "it says that"


def test_whatever_is_offered_is_one_token_and_no_other_spelling_of_what_is_there(lm):
    for record in bundled.facts()[::400]:
        fact = rw.Fact.from_record(record)
        about = about_target(lm, EditRequest(fact.prompt, fact.subject, "paris"))
        assert "Paris" not in about.offers
        for word in about.offers:
            assert len(about_target(lm, EditRequest(*NEEDLE, word)).tokens) == 1


def test_of_other_models_the_likeliest_words_are_offered():
    lm = world.make_lm("gpt2")
    about = about_target(lm, EditRequest(world.PROMPT, world.SUBJECT, "w8"))
    assert tuple(about.tokens) == ("w8",)
    assert about.offers == (), "w1, w2 are no words"
    lm = rw.load()
    taught = bundled_objects("{} is a sentence that nobody taught it, in")
    assert taught == ()
    offers = about_target(lm, EditRequest("{} is a sight that one finds in", NEEDLE[1], "")).offers
    assert offers
    assert all(word.isalpha() for word in offers)


def test_without_a_fact_there_is_nothing_to_say(lm):
    with pytest.raises(SubjectNotFound):
        about_target(lm, EditRequest("no place for it", "The Space Needle", "Paris"))


def test_the_panel_knows_the_target_before_apply(lm):
    panel = rw.EditPanel(lm, *NEEDLE, "paris")
    assert panel.wait(30)
    assert panel.about_target["spelling"] == "Paris"
    assert "rather writes “Paris”" in panel.about_target["reason"]
    panel.target = "Los Angeles"
    assert panel.wait(30)
    assert len(panel.about_target["tokens"]) == 6
    assert panel.about_target["spelling"] == ""
    assert panel.about_target["offers"]
    panel.template = "nothing"
    assert panel.wait(30)
    assert (panel.about_target, panel.error) == ({}, None)
    assert lm.edits == ()


def test_after_an_edit_it_is_the_edited_model_that_counts(lm):
    panel = rw.EditPanel(lm, *NEEDLE, "Paris")
    assert panel.wait(30)
    assert "Paris" not in panel.about_target["offers"]
    panel.apply(wait=True)
    panel.target = "PARIS"
    assert panel.wait(60)
    assert "says “Paris” already" in panel.about_target["reason"]
    lm.revert_all()
    assert panel.wait(60)


def test_a_model_of_nothing_but_numbers_has_nothing_to_offer():
    lm = tiny.tiny_lm("gpt2", scale=40)
    panel = rw.EditPanel(lm, "{} w26 w5", "w14 w15", "w8")
    assert panel.wait(30)
    assert panel.about_target["tokens"] == ["w8"]
