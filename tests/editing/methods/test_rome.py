"""Rank-one edits equal the plain reference; test_edit_identities.py has what they must fulfil."""

from dataclasses import replace

import pytest
import torch

from rome_widgets.editing import rewrite_passes
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.model.replay import CannotReplay, Replay
from tests.helpers import families, world
from tests.helpers.gates import write_gate
from tests.helpers.world import IN_FLOAT32, SHAPES, by_reference, make_edit, make_lm, off

METHODS = ("rome", "r-rome")
WORST = {}


@pytest.fixture(scope="module", autouse=True)
def worst_differences_are_on_record():
    yield
    write_gate("rome_equality", {name: f"{worst:.1e}" for name, worst in WORST.items()})


def check_against_reference(name, method, target, dtype=None, **options):
    lm = make_lm(name, dtype)
    made = make_edit(lm, method, target, **options)
    v, u, _, log = by_reference(lm, made, consistent=method == "r-rome", **options)
    (update,) = made.updates
    limit = 1e-4 if dtype == torch.float32 else 1e-5 if name in IN_FLOAT32 else 1e-9
    worst = max(off(update.u[0], u), off(update.v[0], v))
    assert worst <= limit, f"off by {worst}"
    at = f"{name}, {'float32' if dtype == torch.float32 else 'float64'}"
    WORST[at] = max(WORST.get(at, 0.0), worst)
    assert len(made.report.steps) == len(log)
    for step, (loss, nll, kl, decay, norm) in zip(made.report.steps, log, strict=True):
        wanted = torch.tensor([loss, nll, kl, decay, norm])
        ours = torch.tensor([step.loss, step.nll, step.kl, step.weight_decay, step.norm])
        assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", ["w8", "w8 w21 w4"], ids=["one token", "three tokens"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SHAPES)
def test_an_edit_equals_the_reference(name, method, target):
    check_against_reference(name, method, target)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SHAPES)
def test_an_edit_equals_the_reference_in_float32(name, method):
    check_against_reference(name, method, "w8", torch.float32)


@pytest.mark.parametrize("name", ["gpt2", "gemma3, text"])
def test_the_same_by_whole_passes(name):
    lm = world.new_lm(name)
    fast = make_edit(lm)
    lm.replay = None
    slow = make_edit(lm)
    assert off(fast.updates[0].v, slow.updates[0].v) <= (1e-9 if name == "gpt2" else 1e-5)


def _wrong_key(monkeypatch):
    from rome_widgets.editing import key
    from rome_widgets.editing.methods import rome

    def not_the_mean(passes):
        read = key.read_keys(passes)
        return key.Keys(read.bare, read.bare, read.bare_value, read.bare_value)

    monkeypatch.setattr(rome, "read_keys", not_the_mean)


def _wrong_value(monkeypatch):
    adding = rewrite_passes.adding
    monkeypatch.setattr(rewrite_passes, "adding", lambda delta, **at: adding(1.01 * delta, **at))


@pytest.mark.parametrize("plant", [_wrong_key, _wrong_value])
@pytest.mark.parametrize("name", SHAPES)
def test_a_planted_mistake_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_against_reference(name, "rome", "w8")


# -------------------------------------------------------------------- rows that go together


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


wrong_joins = pytest.mark.parametrize("plant", [_wrong_column, _wrong_row])


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
@pytest.mark.parametrize("name", SHAPES)
def test_rows_that_do_not_agree_together_go_by_length(name, plant, monkeypatch):
    plant(monkeypatch)
    used = engines(monkeypatch)
    check_against_reference(name, "rome", "w8")
    assert set(used[0]) == {"_Replayed"}
    assert len(used[0]) >= 4


@wrong_joins
@pytest.mark.parametrize("name", SHAPES)
def test_without_that_proof_a_wrong_join_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    monkeypatch.setattr(rewrite_passes, "_check", lambda *_: None)
    with pytest.raises(AssertionError, match="off by"):
        check_against_reference(name, "rome", "w8")


@pytest.mark.parametrize("error", [CannotReplay, RuntimeError, TypeError])
@pytest.mark.parametrize("target", ["w8", "w8 w21 w4"])
def test_where_blocks_refuse_each_length_goes_by_whole_passes(error, target, monkeypatch):
    def refuse(*_, **__):
        raise error("not like this")

    monkeypatch.setattr(Replay, "block", refuse)
    used = engines(monkeypatch)
    check_against_reference("llama", "rome", target)
    assert set(used[0]) == {"_Whole"}


@pytest.mark.parametrize("name", ["bloom", "mpt"])
def test_biases_by_position_go_by_length(name, monkeypatch):
    used, lm, moment = engines(monkeypatch), make_lm(name), torch.eye(32, dtype=torch.float64)
    made = make_edit(lm, target="w8 w21 w4", moment=moment)
    v, u, *_ = by_reference(lm, made, moment=moment)
    assert max(off(made.updates[0].u[0], u), off(made.updates[0].v[0], v)) <= 1e-5
    assert set(used[0]) == {"_Replayed"}
    assert len(used[0]) >= 4


@pytest.mark.parametrize("layer", range(families.N_LAYERS))
@pytest.mark.parametrize("target", ["w8", "w8 w21 w4"])
def test_every_layer_equals_the_reference(layer, target):
    """In the last one nothing is left to run again; a target of its own place is read there."""
    lm = make_lm("gpt2")
    made = make_edit(lm, target=target, layer=layer, steps=3)
    v, u, *_ = by_reference(lm, made, layer=layer)
    (update,) = made.updates
    assert off(update.u[0], u) <= 1e-9
    if layer < families.N_LAYERS - 1:  # there Adam makes steps of gradients that are rounding
        assert off(update.v[0], v) <= 1e-9


# -------------------------------------------------------------------------- identities


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_the_scale_of_the_second_moment_does_not_matter(name, dtype):
    """E3."""
    lm = make_lm(name, dtype)
    limit = 1e-9 if dtype == torch.float64 else 1e-6
    once, again = (make_edit(lm, moment=world.make_moment(scale=s)) for s in (1.0, 7.5))
    assert off(once.updates[0].u, again.updates[0].u) <= limit
    assert off(once.updates[0].v, again.updates[0].v) <= limit


def test_the_last_layer_warns_that_a_change_cannot_reach_the_prediction():
    lm = make_lm("gpt2")
    assert any("last layer" in w for w in make_edit(lm, layer=3).report.warnings)
    assert not any("last layer" in w for w in make_edit(lm, layer=2).report.warnings)


def test_prefixes_are_the_seeds_and_braces_in_them_do_no_harm(monkeypatch):
    lm = make_lm("gpt2")
    once, again = make_edit(lm), make_edit(lm)
    assert once.report.prefixes == again.report.prefixes
    assert len(once.report.prefixes) == 6
    assert once.id == again.id
    monkeypatch.setattr(
        "rome_widgets.editing.methods.rome.prefixes", lambda *_: ("", "{w3} {} {0.__class__} %s")
    )
    made = make_edit(lm)
    v, u, *_ = by_reference(lm, made)
    assert off(made.updates[0].v[0], v) <= 1e-9
    assert off(made.updates[0].u[0], u) <= 1e-9


def test_few_keys_give_the_direction_of_the_whole_matrix():
    """Woodbury against the dense solve."""
    keys = torch.randn(7, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    few = SecondMoment("few", keys=keys, ridge=1e-3)
    dense = SecondMoment("dense", matrix=few.matrix, ridge=1e-3)
    key = torch.arange(20.0, dtype=torch.float64)
    assert off(few.solve(key), dense.solve(key)) <= 1e-9
