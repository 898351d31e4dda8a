"""An edit that does not make the model say its target, or need not, says so."""

import pytest
import torch

import rome_widgets as rw
from tests.helpers import world
from tests.helpers.counts import turns

NEEDLE = ("{} is in the city of", "The Space Needle")


def probability_by_hand(lm, prompt, word):
    """Of every token of the word, each after those before it, by plain calls of the model."""
    ids, found = list(lm.encode(prompt, (0, len(prompt))).ids), 1.0
    for token in lm.answer_ids(prompt, word):
        found *= float(lm.next_token_probabilities(torch.tensor([ids]))[0, token])
        ids.append(token)
    return found


def not_said(made):
    return [warning for warning in made.warnings if "or more was wanted" in warning]


@pytest.mark.parametrize(("name", "target"), turns(world.SHAPES, ["w9", "w9 w21 w4"]))
def test_what_is_said_is_measured_with_the_edit(name, target):
    lm = world.make_lm(name)
    made = world.make_edit(lm, target=target, steps=2)
    with made:
        p = probability_by_hand(lm, made.fact.text, target)
    assert p < 0.5
    (warning,) = not_said(made)
    assert f"“{target}” p = {p:.2g}" in warning
    assert ("a shorter target (this one has 3 tokens)" in warning) == (" " in target)
    assert "more steps" in warning


def test_an_unreachable_target_is_warned_of_with_what_the_model_says(bundled_lm):
    made = rw.edit(bundled_lm, *NEEDLE, "Zürich Hauptbahnhof", settings={"steps": 15})
    (warning,) = not_said(made)
    (found,) = made.compare(made.fact.text)
    first = found.rows[0].token.strip()
    assert f"says “{first}" in warning
    pieces = len(bundled_lm.answer_ids(made.fact.text, "Zürich Hauptbahnhof"))
    assert f"shorter target (this one has {pieces} tokens)" in warning
    assert found.word == "Zürich Hauptbahnhof"
    assert found.target.token == " Z"


def test_a_target_that_is_said_is_not_warned_of(bundled_lm):
    assert rw.edit(bundled_lm, *NEEDLE, "Paris").warnings == ()


def test_a_target_that_the_model_says_already_is_no_error_but_said(bundled_lm):
    made = rw.edit(bundled_lm, *NEEDLE, "Seattle")
    p = probability_by_hand(bundled_lm, made.fact.text, "Seattle")
    (warning,) = made.warnings
    assert f"says “Seattle” already (p = {p:.2g})" in warning


def test_on_top_of_another_edit_it_is_the_edited_model_that_counts(bundled_lm):
    with rw.edit(bundled_lm, *NEEDLE, "Paris"):
        back = rw.edit(bundled_lm, *NEEDLE, "Seattle")
        again = rw.edit(bundled_lm, *NEEDLE, "Paris")
    assert back.warnings == ()
    assert "already" in again.warnings[0]
