"""Neighbors: what becomes of other subjects is measured as by hand, and harm is said."""

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.neighbors import doubt_of_neighbors
from rome_widgets.errors import PromptError
from rome_widgets.records.edit import Neighbor
from tests.helpers import world


def edited(lm, **options):
    settings = dict(world.SETTINGS)
    options = {"layer": 1, "settings": settings, "second_moment": "identity", **options}
    return world.edit(lm, world.PROMPT, world.SUBJECT, "w8", **options)


def test_given_prompts_are_measured_as_by_hand():
    lm, prompts = world.new_lm("gpt2"), ["w3 w9 w26", "w1 w2 w3 w4 w5"]
    change = edited(lm, neighbors=prompts)
    target = world.words("w8")[0]

    def by_hand(prompt):
        with torch.no_grad():
            return lm.model(input_ids=torch.tensor([world.words(prompt)])).logits[0, -1].softmax(0)

    before = [by_hand(prompt) for prompt in prompts]
    with change:
        after = [by_hand(prompt) for prompt in prompts]
    asked = [n for n in range(2) if int(before[n].argmax()) != target]
    assert len(change.report.neighbors) == len(asked) > 0
    for neighbor, n in zip(change.report.neighbors, asked, strict=True):
        answer = int(before[n].argmax())
        assert (neighbor.prompt, neighbor.answer) == (prompts[n], lm.token_text(answer))
        wanted = [before[n][answer], after[n][answer], before[n][target], after[n][target]]
        assert list(neighbor)[2:] == pytest.approx([float(each) for each in wanted], abs=1e-6)


def test_none_are_measured_where_none_are_wanted():
    assert edited(world.make_lm("gpt2"), neighbors=()).report.neighbors == ()


def test_what_is_no_prompt_is_refused():
    with pytest.raises(PromptError):
        edited(world.make_lm("gpt2"), neighbors=[3.5])


def test_other_subjects_take_the_subjects_place(bundled_lm):
    found = rw.edit(
        bundled_lm, "{} is in the city of", "The Space Needle", "Paris"
    ).report.neighbors
    assert 2 <= len(found) <= 8
    assert all(each.prompt.endswith(" is in the city of") for each in found)
    assert all("Space Needle" not in each.prompt and each.answer != " Paris" for each in found)
    assert all(each.before >= 0.1 for each in found)
    kept = sum(each.kept for each in found)
    assert kept >= 0.75 * len(found)


def neighbor(after, target_after):
    return Neighbor("Rome is in", " Italy", 0.9, after, 0.01, target_after)


def test_harm_is_said_from_a_quarter_on():
    well, ill = neighbor(0.8, 0.1), neighbor(0.1, 0.8)
    for few in ([], [well] * 8, [ill, *[well] * 7]):
        assert doubt_of_neighbors(few, "Paris") == []
    (said,) = doubt_of_neighbors([ill, ill, *[well] * 6], "Paris")
    assert "2 of 8 other prompts “Paris”" in said
    assert "“Rome is in” (“Italy” 0.9 → 0.1)" in said


def test_prompts_that_cannot_be_read_are_refused_before_anything_runs(monkeypatch):
    lm = world.make_lm("gpt2")
    monkeypatch.setattr(rw.methods()["rome"], "edit", lambda task: pytest.fail("it ran"))
    with pytest.raises(PromptError):
        edited(lm, neighbors=[""])
