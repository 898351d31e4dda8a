"""An edit can be looked at without a weight being touched."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import PromptError
from rome_widgets.model.language_model import to_numpy
from tests.helpers import world
from tests.helpers.counts import pairs
from tests.helpers.world import SHAPES

PROMPTS = ("w3 w14 w15 w26 w5", "w7 w8 w9", "w14 w15")


def predicted(lm, prompt):
    ids = torch.tensor([lm.encode(prompt, (0, len(prompt))).ids])
    return to_numpy(lm.next_token_probabilities(ids)[0])


@pytest.mark.parametrize(
    ("name", "dtype", "method"),
    pairs([*SHAPES, "opt"], [torch.float64, torch.float32], ["rome", "ft"]),
)
def test_a_preview_is_what_applying_gives(name, dtype, method):
    lm = world.make_lm(name, dtype)
    edit = world.make_edit(lm, method)
    for strength in (1.0, 0.3, 2.0):
        edit.strength = strength
        outside = edit.preview(PROMPTS)
        before = [predicted(lm, prompt) for prompt in PROMPTS]
        with edit:
            after = [predicted(lm, prompt) for prompt in PROMPTS]
            inside = edit.preview(PROMPTS)
        for pair, again, b, a in zip(outside, inside, before, after, strict=True):
            assert np.abs(pair[0] - b).max() <= 1e-6
            assert np.abs(pair[1] - a).max() <= 1e-6
            assert np.abs(again[0] - b).max() <= 1e-6
            assert np.abs(again[1] - a).max() <= 1e-6
    assert np.abs(np.subtract(*edit.preview(PROMPTS[0])[0])).max() > 1e-4


def test_a_comparison_lists_both_sides_and_the_target():
    lm = world.make_lm("gpt2")
    edit = world.make_edit(lm)
    (found,) = edit.compare(PROMPTS[0], k=3, generate=4)
    (pair,) = edit.preview(PROMPTS[0])
    ids = {row.id for row in found.rows}
    assert set(np.argsort(-pair[0])[:3]) | set(np.argsort(-pair[1])[:3]) | {8} == ids
    assert found.target.id == 8
    assert [row.after for row in found.rows] == sorted((r.after for r in found.rows), reverse=True)
    for row in found.rows:
        assert row.before == pytest.approx(pair[0][row.id])
        assert row.after == pytest.approx(pair[1][row.id])
        assert row.token.strip() == f"w{row.id}"
    with edit:
        ids = list(lm.encode(PROMPTS[0], (0, 4)).ids)
        for _ in range(4):
            ids.append(int(lm.next_token_probabilities(torch.tensor([ids]))[0].argmax()))
    assert found.after == lm.tokenizer.decode(ids[-4:])
    (none,) = edit.compare(PROMPTS[0], strength=0)
    assert all(row.before == pytest.approx(row.after) for row in none.rows)


def test_a_prompt_without_text_is_refused():
    edit = world.make_edit(world.make_lm("gpt2"))
    for empty in ("", "  "):
        with pytest.raises(PromptError):
            edit.compare(empty)
        with pytest.raises(PromptError):
            edit.preview(empty)


def test_writing_stops_at_the_end_of_the_context():
    edit = world.make_edit(world.make_lm("gpt2"))
    (found,) = edit.compare(PROMPTS[0], generate=50)
    assert len(found.after.split()) == 16 - 5
