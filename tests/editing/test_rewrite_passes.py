"""Rows of all lengths go together where that is proved right, else by length or whole passes."""

from dataclasses import replace

import pytest
import torch

from rome_widgets.editing import rewrite_passes
from rome_widgets.model.replay import CannotReplay, Replay
from tests.helpers import world
from tests.helpers.counts import turns
from tests.helpers.world import SHAPES, by_reference, make_edit, make_lm, off


def check_against_reference(name, target="w8"):
    made = make_edit(make_lm(name), target=target)
    v, u, *_ = by_reference(make_lm(name), made)
    worst = max(off(made.updates[0].u[0], u), off(made.updates[0].v[0], v))
    assert worst <= (1e-5 if name in world.IN_FLOAT32 else 1e-9), f"off by {worst}"


@pytest.mark.parametrize("name", ["gpt2", "gemma3, text"])
def test_the_same_by_whole_passes(name):
    lm = world.new_lm(name)
    fast = make_edit(lm)
    lm.replay = None
    slow = make_edit(lm)
    assert off(fast.updates[0].v, slow.updates[0].v) <= (1e-9 if name == "gpt2" else 1e-5)


def _wrong_column(monkeypatch):
    join = rewrite_passes.batch_captures

    def moved(captures, positions):
        return join(captures, [positions[0] - 1, *positions[1:]] if positions[1:] else positions)

    monkeypatch.setattr(rewrite_passes, "batch_captures", moved)


def _wrong_row(monkeypatch):
    join = rewrite_passes.batch_captures

    def mixed(captures, positions):
        capture, column = join(captures, positions)
        if len(captures) == 1:
            return capture, column
        others = [(keys.roll(1, 0), values.roll(1, 0)) for keys, values in capture.keys_values]
        return replace(capture, keys_values=others), column

    monkeypatch.setattr(rewrite_passes, "batch_captures", mixed)


wrong_joins = pytest.mark.parametrize(("name", "plant"), turns(SHAPES, [_wrong_column, _wrong_row]))


def engines(monkeypatch):
    """What runs the rows of the edits to come, once they have been made."""
    used = []
    prove = rewrite_passes._prove

    def noted(site, groups, delta):
        found = prove(site, groups, delta)
        if len(groups) > 1:
            used.append([type(way).__name__ for way, _ in found])
        return found

    monkeypatch.setattr(rewrite_passes, "_prove", noted)
    return used


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_all_lengths_go_together(name, monkeypatch):
    used = engines(monkeypatch)
    make_edit(make_lm(name))
    assert used == [["_Replayed"]]


@wrong_joins
def test_rows_that_do_not_agree_together_go_by_length(name, plant, monkeypatch):
    plant(monkeypatch)
    used = engines(monkeypatch)
    check_against_reference(name)
    assert set(used[0]) == {"_Replayed"}
    assert len(used[0]) >= 4


@wrong_joins
def test_without_that_proof_a_wrong_join_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    monkeypatch.setattr(rewrite_passes, "_check", lambda *_: None)
    with pytest.raises(AssertionError, match="off by"):
        check_against_reference(name)


@pytest.mark.parametrize(
    ("error", "target"), turns([CannotReplay, RuntimeError, TypeError], ["w8", "w8 w21 w4"])
)
def test_where_blocks_refuse_each_length_goes_by_whole_passes(error, target, monkeypatch):
    def refuse(*_, **__):
        raise error("not like this")

    monkeypatch.setattr(Replay, "block", refuse)
    used = engines(monkeypatch)
    check_against_reference("llama", target)
    assert set(used[0]) == {"_Whole"}


@pytest.mark.parametrize("name", ["bloom", "mpt"])
def test_biases_by_position_go_by_length(name, monkeypatch):
    used, lm, moment = engines(monkeypatch), make_lm(name), torch.eye(32, dtype=torch.float64)
    made = make_edit(lm, target="w8 w21 w4", moment=moment)
    v, u, *_ = by_reference(lm, made, moment=moment)
    assert max(off(made.updates[0].u[0], u), off(made.updates[0].v[0], v)) <= 1e-5
    assert set(used[0]) == {"_Replayed"}
    assert len(used[0]) >= 4
