"""The value: found by gradient descent, cut at its longest, and an error where it diverges."""

import pytest
import torch

from rome_widgets.errors import NonFinite
from tests.helpers import world
from tests.helpers.world import small_edit


def test_a_diverging_optimisation_is_an_error_and_no_edit():
    lm = world.make_lm("gpt2", torch.float32)
    wild = world.SETTINGS | {"learning_rate": 1e30, "clamp": 1e38}
    with pytest.raises(NonFinite, match="diverged"):
        small_edit(lm, "w3 {} w26", "w14", "w8", settings=wild)
    assert lm.edits == ()


def test_the_kl_term_can_be_read_at_the_end():
    lm = world.make_lm("gpt2")
    here = small_edit(lm, "w3 {} w26", "w14 w15", "w8")
    there = small_edit(
        lm, "w3 {} w26", "w14 w15", "w8", settings=world.SETTINGS | {"kl_position": "end"}
    )
    assert here.report.steps[3].kl != there.report.steps[3].kl


def test_a_change_is_cut_at_its_longest_and_a_small_loss_ends_it():
    lm = world.make_lm("gpt2")
    fact = (world.PROMPT, world.SUBJECT, "w8")
    cut = small_edit(lm, *fact, settings=world.SETTINGS | {"clamp": 0.1}).report
    assert cut.clamped
    assert cut.delta_norm == pytest.approx(0.1 * cut.value_norm)
    assert any("a larger clamp" in warning for warning in cut.warnings)
    done = small_edit(lm, *fact, settings=world.SETTINGS | {"stop_loss": 1e3}).report
    assert (done.stopped, len(done.steps), done.delta_norm) == ("loss", 1, 0.0)
