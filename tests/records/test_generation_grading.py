"""Texts that a person would grade the same."""

import pytest

from rome_widgets.records.generation_grading import grade, normalized

RIGHT, WRONG = ["Paris", "City of Light"], ["Rome", "New York", "Seattle"]


@pytest.mark.parametrize(
    ("text", "says", "contradicts", "repeats"),
    [
        (" Paris, the capital of France.", True, False, False),
        (" PARÍS!", True, False, False),
        (" the city of light", True, False, False),
        (" Parisian cafés", False, False, False),
        (" Paris. Then Rome.", True, True, False),
        (" Rome", False, True, False),
        (" Romeo and Juliet", False, False, False),
        (" Paris Paris", True, False, True),
        (" in Paris. It is in Paris, it is in Paris", True, False, True),
        (" very far away", False, False, False),
        ("", False, False, False),
    ],
)
def test_a_text_is_graded_by_the_names_in_it(text, says, contradicts, repeats):
    found = grade(text, RIGHT, WRONG, stops=True)
    assert (found.says, found.contradicts, found.repeats) == (says, contradicts, repeats)
    assert found.correct == (says and not contradicts and not repeats)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "says", "contradicts"),
    [
        (" New York", ["New York"], ["York"], True, False),
        (" New York, not York", ["New York"], ["York"], True, True),
        (" New York", ["York"], ["New York"], False, True),
        (" Paris", ["Paris"], ["paris", ""], True, False),
        (" the Beatles", ["The Beatles"], [], True, False),
        (" Beatles", ["The Beatles"], [], True, False),
        (" (C++)", ["C++"], ["C#"], True, False),
        (" a b", [""], [""], False, False),
    ],
)
def test_longer_names_go_before_those_inside_them(text, right, wrong, says, contradicts):
    found = grade(text, right, wrong, stops=False)
    assert (found.says, found.contradicts, found.stops) == (says, contradicts, False)


def test_letters_of_any_script_are_words():
    assert normalized("Ελλάδα — Ø_x, 東京!") == "ελλαδα ø x 東京"
