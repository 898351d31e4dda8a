"""Where a subject is: whole words first, the last of them, in every script."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rome_widgets.errors import PromptError, SubjectNotFound
from rome_widgets.records.fact import Fact, read_fact
from rome_widgets.records.subject import find_subject, likely_subject, nearest, subject_places
from tests.helpers.counts import STRINGS

WHOLE_WORDS = [
    ("Ann met Anna in the city of", "Ann", [0]),
    ("Rome, home of Romeo, is in", "Rome", [0]),
    ("Anna met Ann", "Ann", [9]),
    ("Neil met O'Neil", "Neil", [0]),
    ("Ann met Ann-Marie", "Ann", [0]),
    ("the mother and the mother-in-law", "mother", [4]),
    ("Rome and Rome's walls", "Rome", [0, 9]),
    ("Rome and Rome’s walls", "Rome", [0, 9]),
    ("Rome is not Rome-based", "Rome", [0, 12]),
    ("Rome_1 and Rome", "Rome", [11]),
    ("GPT2 and GPT", "GPT", [9]),
    ("3.5 and 3", "3", [8]),
    ("1,999 and 999", "999", [10]),
    ("C is not C++", "C", [0]),
    ("T, not AT&T", "T", [0]),
    ("(Rome) Romeo", "Rome", [1]),
    ("Zoe\u0301 and Zoe x", "Zoe", [9]),
    ("été étés", "été", [0]),
    ("हिन्द हिन्दी", "हिन्द", [0]),
    ("👩 and 👩\u200d🚀", "👩", [0]),
    ("Рим и Римский", "Рим", [0]),
    ("U.S. and U.S.S.R.", "U.S.", [0]),
]
PARTS = [
    ("Romeo and Romeo", "Rome", [0, 10]),
    ("vor l'Italie", "Italie", [6]),
    ("東京は東京都の", "東京", [0, 3]),
    ("ローマはローマの", "ローマ", [0, 4]),
    ("로마는 로마의", "로마", [0, 4]),
    ("กรุงเทพเป็น", "กรุงเทพ", [0]),
    ("aaa", "aa", [0, 1]),
    ("Rooma Roomassa", "Roomas", [6]),
]


@pytest.mark.parametrize(("text", "subject", "starts"), WHOLE_WORDS)
def test_whole_words_go_before_parts_of_words(text, subject, starts):
    assert subject_places(text, subject) == [(at, at + len(subject)) for at in starts]


@pytest.mark.parametrize(("text", "subject", "starts"), PARTS)
def test_parts_of_words_and_scripts_without_spaces_are_found(text, subject, starts):
    assert subject_places(text, subject) == [(at, at + len(subject)) for at in starts]


@given(st.text("ab 東é", min_size=1, max_size=12), st.text("ab東é", min_size=1, max_size=3))
@settings(max_examples=STRINGS, deadline=None)
def test_every_place_is_the_subject_and_none_is_found_only_where_there_is_none(text, subject):
    places = subject_places(text, subject)
    assert all(text[a:b] == subject for a, b in places)
    assert bool(places) == (subject in text)
    everywhere = [i for i in range(len(text)) if text.startswith(subject, i)]
    bounded = [
        i
        for i in everywhere
        if all(
            not (pair.isalpha() and len(pair) == 2 and "東" not in pair)
            for pair in (text[max(0, i - 1) : i + 1], text[i + len(subject) - 1 :][:2])
            if pair != text[i : i + 1]
        )
    ]
    assert [a for a, _ in places] == (bounded or everywhere)


@given(st.text("ab c'-東", max_size=10), st.text("abc東", min_size=1, max_size=2))
@settings(max_examples=STRINGS, deadline=None)
def test_facts_and_traces_mean_the_same_mention(text, subject):
    if subject not in text:
        return
    ((start, stop),), _ = find_subject(text, subject)
    fact = Fact(text, subject)
    assert fact.text == text
    assert (fact.subject_start, fact.subject) == (start, text[start:stop])
    assert read_fact(text, subject).template == fact.prompt


def test_half_a_character_is_no_subject():
    assert subject_places("Cafe\u0301 Noir", "Cafe") == []
    assert nearest("Cafe\u0301 Noir", "Cafe")[0] == "Cafe\u0301"


MENTIONS = "Rome, Rome and Rome"


@pytest.mark.parametrize(
    ("occurrence", "starts", "said"),
    [
        (None, [15], "the last one is"),
        ("last", [15], "the last one is"),
        ("first", [0], "the first one is"),
        (1, [6], "number 2 is"),
        (-3, [0], "the first one is"),
        (np.int64(1), [6], "number 2 is"),
        ("all", [0, 6, 15], "all of them are"),
    ],
)
def test_another_mention_or_all_can_be_chosen(occurrence, starts, said):
    places, notes = find_subject(MENTIONS, "Rome", occurrence)
    assert [a for a, _ in places] == starts
    assert notes == [f"The subject occurs 3 times in the prompt; {said} corrupted."]


@pytest.mark.parametrize("occurrence", [3, -4, "second", 1.5, True, [], object()])
def test_a_mention_that_is_not_there_is_refused_with_those_that_are(occurrence):
    with pytest.raises(PromptError, match=r"occurs 3 times.*from -3 to 2"):
        find_subject(MENTIONS, "Rome", occurrence)


def test_a_span_names_its_mention_itself():
    assert find_subject(MENTIONS, (0, 4)) == ([(0, 4)], [])
    with pytest.raises(PromptError, match="One of the two"):
        find_subject(MENTIONS, (0, 4), "first")


def test_spans_name_their_mentions_themselves_in_any_order():
    assert find_subject(MENTIONS, [(15, 19), (0, 4), [0, 4]]) == ([(0, 4), (15, 19)], [])
    for wrong in ([(0, 4), (5, 99)], [(0, 4), ()], [(0, 4), (6, 6)], [("a", "b")], [], ()):
        with pytest.raises(PromptError):
            find_subject(MENTIONS, wrong)


@pytest.mark.parametrize(
    ("text", "subject", "starts"),
    [
        ("🇧🇬🇫🇷 and 🇬🇫", "🇬🇫", [9]),
        ("🇧🇬🇫🇷", "🇬🇫", []),
        ("🇧🇬🇫🇷", "🇫🇷", [2]),
        ("🏴\U000e0067\U000e0062\U000e007f 🏴", "🏴", [5]),
    ],
)
def test_half_a_flag_is_no_place(text, subject, starts):
    assert [a for a, _ in subject_places(text, subject)] == starts
    assert starts or nearest(text, subject)[0] != subject


def test_what_is_said_goes_before_what_stands_around_it():
    text = "user: Where is the user from? assistant:"
    assert subject_places(text, "user", [(6, 29)]) == [(19, 23)]
    assert subject_places(text, "assistant", [(6, 29)]) == [(30, 39)]


LOOK_THE_SAME = [
    ("I like Café Noir", "Cafe\u0301 Noir", "Café Noir", "NFC in the prompt, NFD in the subject"),
    ("I like Cafe\u0301 Noir", "Café", "Cafe\u0301", "NFD in the prompt, NFC in the subject"),
    (unicodedata.normalize("NFD", "로마는"), "로마", unicodedata.normalize("NFD", "로마"), "NFD"),
    ("The Space\u00a0Needle is", "Space Needle", "Space\u00a0Needle", "other white space"),
    ("The Space  Needle is", "Space Needle", "Space  Needle", "other white space"),
    ("Rome’s walls are", "Rome's walls", "Rome’s walls", "other quotation marks"),
    ("Zo\u200be is", "Zoe", "Zo\u200be", "not visible"),
    ("Ｒｏｍｅ is", "Rome", "Ｒｏｍｅ", "other Unicode characters"),
]


@pytest.mark.parametrize(("text", "subject", "offered", "how"), LOOK_THE_SAME)
def test_a_subject_that_looks_the_same_is_offered_and_the_difference_named(
    text, subject, offered, how
):
    for find in (find_subject, Fact):
        with pytest.raises(SubjectNotFound) as caught:
            find(text, subject)
        assert caught.value.suggestion == offered
        assert how in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "subject", "offered"),
    [
        ("The Space Needle is in", "space needle", "Space Needle"),
        ("(ROME) and Romeo", "rome", "ROME"),
        ("Straße in", "STRASSE", "Straße"),
        ("東京タワーは", "東京ﾀﾜｰ", "東京タワー"),
        ("The Space Needle is in", "Space Neddle", "Space Needle"),
        ("The Space Needle is in", "Zanzibar", None),
    ],
)
def test_a_subject_in_another_case_form_or_spelling_is_offered(text, subject, offered):
    assert nearest(text, subject)[0] == offered


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.text(max_size=6))
@settings(max_examples=STRINGS, deadline=None)
def test_any_text_is_searched_without_alarm_and_what_is_offered_is_in_it(text, subject):
    near, _ = nearest(text, subject)
    assert near is None or subject_places(text, near) or near in text
    likely = likely_subject(text)
    assert not likely or likely in text


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("The home town of Miles Davis is", "Miles Davis"),
        ("The Space Needle is in the city of", "The Space Needle"),
        ("In Paris, the river is", "Paris"),
        ("What is the capital of France?", "France"),
        ("Lord of the Rings was written by", "Lord of the Rings"),
        ("Rome is", "Rome"),
        ("The iPhone was made by", "The iPhone"),
        ("eBay was founded by", "eBay"),
        ("Then Rome fell to", "Rome"),
        ("Yesterday Anna went to", "Anna"),
        ("Mr. Smith and Dr. No met in", "Mr. Smith and Dr. No"),
        ("C++ was created by", "C++"),
        ("The city is", ""),
        ("Where is", ""),
        ("it is", ""),
        ("", ""),
    ],
)
def test_the_likeliest_subject_is_a_name(text, likely):
    assert likely_subject(text) == likely


def test_a_known_subject_goes_before_capitals():
    known = ["the moon", "Rome", "moon"]
    assert likely_subject("Neil Armstrong went to the moon in", known) == "the moon"
    assert likely_subject("Romeo loved Juliet Capulet", known) == "Juliet Capulet"
