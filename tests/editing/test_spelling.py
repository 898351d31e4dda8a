"""A target that the model writes otherwise: what is the same word, and what is offered."""

import unicodedata

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.spelling import KNOWN, LIKELIER, other_spelling, same_word, without_stop
from tests.helpers import world

NEEDLE = ("{} is in the city of", "The Space Needle")
PROMPT = "The Space Needle is in the city of"


def joint(lm, prompt, word):
    """Of every token of the word, by plain calls of the model."""
    ids, found = list(lm.prompt_ids(prompt)), 1.0
    for token in lm.answer_ids(prompt, word):
        found *= float(lm.next_token_probabilities(torch.tensor([ids]))[0, token])
        ids.append(token)
    return found


KINDS = {
    "another case": ["paris", "PARIS", "pARIS"],
    "a leading article": ["the Paris", "The Paris", "a Paris", "the paris"],
    "a trailing period": ["Paris.", "Paris,", "paris!", "Paris. "],
    "quotes": ["“Paris”", '"Paris"', "'paris'"],
    "another Unicode form": ["Ｐａｒｉｓ", "P\u0061\u0301ris", "París"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_word_written_otherwise_is_offered_as_the_model_writes_it(bundled_lm, kind):
    for typed in KINDS[kind]:
        found = other_spelling(bundled_lm, PROMPT, typed)
        assert (found.text, found.said) == ("Paris", False), typed
        assert found.probability == pytest.approx(joint(bundled_lm, PROMPT, "Paris"), rel=1e-3)
        assert found.typed_probability == pytest.approx(
            joint(bundled_lm, PROMPT, typed.strip()), rel=1e-2
        )
        assert "Use target='Paris'" in str(found)


@pytest.mark.parametrize("typed", ["seattle", "SEATTLE", "the Seattle", "“Seattle”"])
def test_what_the_model_says_already_is_said_so_however_it_was_typed(bundled_lm, typed):
    found = other_spelling(bundled_lm, PROMPT, typed)
    assert (found.text, found.said) == ("Seattle", True)
    assert "says “Seattle” already" in str(found)


@pytest.mark.parametrize(
    "typed",
    [
        "Paris",
        "London",
        "Seattle",
        "Los Angeles",
        "xyzzy",
        "U.S.",
        "St. Louis",
        "Acme Inc.",
        "?",
        "…",
    ],
)
def test_what_is_written_as_the_model_would_or_that_it_does_not_know_is_left_alone(
    bundled_lm, typed
):
    assert other_spelling(bundled_lm, PROMPT, typed) is None


def test_no_target_of_the_bundled_facts_is_spelled_otherwise(bundled_lm):
    for record in rw.bundled.facts()[:40]:
        fact = rw.Fact.from_record(record)
        target = record["requested_rewrite"]["target_new"]["str"]
        assert other_spelling(bundled_lm, fact.text, target) is None


@pytest.mark.parametrize("name", world.SHAPES)
def test_words_without_another_spelling_in_the_vocabulary_have_none(name):
    lm = world.make_lm(name)
    for word in ("w8", "W8", "w8 w9", "the w8"):
        found = other_spelling(lm, "w3 w14 w15 w26 w5", word)
        assert found is None or found.probability >= max(KNOWN, LIKELIER * found.typed_probability)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("word", ["São Paulo", "Zürich", "Ångström", "İstanbul", "東京", "Dvořák"])
def test_a_word_is_the_same_in_every_form_of_unicode(word, form):
    other = unicodedata.normalize(form, word)
    assert same_word(word, other)
    assert same_word(f"the {other.upper()}.", word)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Paris", "Pariss"), ("the", "a"), ("?", "!"), ("", ""), ("New York", "New Jersey")],
)
def test_other_words_are_others(one, other):
    assert not same_word(one, other)


@pytest.mark.parametrize(
    ("typed", "bare"),
    [
        ("Paris.", "Paris"),
        ("New York!", "New York"),
        ("U.S.", "U.S."),
        ("Acme Inc.", "Acme Inc."),
        ("John F.", "John F."),
        ("...", "..."),
        ("Paris", "Paris"),
    ],
)
def test_punctuation_that_ends_a_sentence_is_not_the_words_own(typed, bare):
    assert without_stop(typed) == bare


def test_an_edit_of_a_word_written_otherwise_warns_of_it(bundled_lm):
    made = rw.edit(bundled_lm, *NEEDLE, "paris", settings={"steps": 2})
    assert "rather writes “Paris”" in made.report.warnings[0]
    assert "rather writes" not in " ".join(rw.edit(bundled_lm, *NEEDLE, "Paris").report.warnings)


OTHERS = {
    "numbers": [("3.5", "35"), ("-5", "5"), ("1/2", "12"), ("10:30", "1030"), (".5", "5")],
    "signs": [("C++", "C"), ("C#", "C"), ("A+", "A"), ("$5", "5"), ("10%", "10")],
    "vowel signs and the like": [("दिन", "दान"), ("バス", "ハス"), ("ไม้", "ไม")],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_makes_another_word_is_no_spelling(kind):
    assert not any(same_word(one, other) for one, other in OTHERS[kind])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000", "1000"),
        ("−5", "-5"),
        ("B-52", "B52"),
        ("U.S.", "US"),
        ("שָׁלוֹם", "שלום"),
        ("São", "sao"),
    ],
)
def test_marks_that_are_often_left_out_are_a_spelling(one, other):
    assert same_word(one, other)
