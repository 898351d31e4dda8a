"""Rank-one edits equal the plain reference, and fulfil the identities of the method."""

from dataclasses import replace

import families
import pytest
import reference_rome
import torch
import world
from gates import write_gate
from world import IN_FLOAT32, LAYER, SHAPES, by_reference, make_edit, make_lm, off

from rome_widgets.editing import passes
from rome_widgets.editing.second_moment import SecondMoment
from rome_widgets.model.hooks import reading, run_hooked
from rome_widgets.model.ledger import LowRank
from rome_widgets.model.replay import CannotReplay, Replay

METHODS = ("rome", "r-rome")
WORST = {}


@pytest.fixture(scope="module", autouse=True)
def worst_differences_are_on_record():
    yield
    write_gate("rome_equality", {name: f"{worst:.1e}" for name, worst in WORST.items()})


def check_against_reference(name, method, target, **options):
    lm = make_lm(name)
    made = make_edit(lm, method, target, **options)
    v, u, _, log = by_reference(lm, made, consistent=method == "r-rome", **options)
    (update,) = made.updates
    limit = 1e-5 if name in IN_FLOAT32 else 1e-9
    worst = max(off(update.u[0], u), off(update.v[0], v))
    assert worst <= limit, f"off by {worst}"
    WORST[name] = max(WORST.get(name, 0.0), worst)
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
    adding = passes.adding
    monkeypatch.setattr(passes, "adding", lambda delta, **at: adding(1.01 * delta, **at))


@pytest.mark.parametrize("plant", [_wrong_key, _wrong_value])
@pytest.mark.parametrize("name", SHAPES)
def test_a_planted_mistake_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_against_reference(name, "rome", "w8")


# -------------------------------------------------------------------- rows that go together


def _wrong_column(monkeypatch):
    join = passes.join

    def moved(captures, positions):
        return join(captures, [positions[0] - 1, *positions[1:]] if positions[1:] else positions)

    monkeypatch.setattr(passes, "join", moved)


def _wrong_row(monkeypatch):
    join = passes.join

    def mixed(captures, positions):
        capture, column = join(captures, positions)
        if len(captures) == 1:
            return capture, column
        others = [(keys.roll(1, 0), values.roll(1, 0)) for keys, values in capture.keys_values]
        return replace(capture, keys_values=others), column

    monkeypatch.setattr(passes, "join", mixed)


wrong_joins = pytest.mark.parametrize("plant", [_wrong_column, _wrong_row])


def engines(monkeypatch):
    """What runs the rows of the edits to come, once they have been made."""
    used = []
    prove = passes._prove

    def noted(site, groups, delta):
        found = prove(site, groups, delta)
        if len(groups) > 1:
            used.append([type(way).__name__ for way, _ in found])
        return found

    monkeypatch.setattr(passes, "_prove", noted)
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
    monkeypatch.setattr(passes, "_check", lambda *_: None)
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


def in_the_model(lm, pos, text=None):
    """Key and value in a real pass: input and output of the edited matrix at a position."""
    ids, _ = world.rows_of([""])[0] if text is None else (text, None)
    with torch.no_grad():
        _, key, value = reference_rome.forward(lm.model, world.down_of(lm.name), ids, pos)
    return key, value


def limit_of(lm):
    return 1e-11 if lm.dtype == torch.float64 else 2e-5


both_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@both_dtypes
@pytest.mark.parametrize("name", SHAPES)
def test_rome_writes_the_value_at_the_bare_key(name, dtype):
    """E1, E6, E7: in a real pass; the key itself stays."""
    lm = make_lm(name, dtype)
    made = make_edit(lm)
    pos = world.rows_of([""])[0][1]
    key, before = in_the_model(lm, pos)
    *_, delta, _ = by_reference(lm, made)
    ours = made.updates[0].v[0].double() * made.report.key_dot_u
    assert abs(float(ours.norm()) - made.report.delta_norm) <= 1e-4 * made.report.delta_norm
    with made:
        again, after = in_the_model(lm, pos)
    assert torch.equal(key, again)
    assert off(after, before.double() + ours) <= limit_of(lm)
    if dtype == torch.float64:
        assert off(after, before + delta) <= 1e-5


@both_dtypes
@pytest.mark.parametrize("name", SHAPES)
def test_r_rome_writes_the_value_at_the_mean_key(name, dtype):
    lm = make_lm(name, dtype)
    made = make_edit(lm, "r-rome")
    seen = [in_the_model(lm, pos, ids) for ids, pos in world.rows_of(made.report.prefixes)]
    key = torch.stack([key for key, _ in seen]).mean(0)
    value = torch.stack([value for _, value in seen]).mean(0)
    delta = by_reference(lm, made, consistent=True)[2]
    update = made.updates[0]
    assert float(key.double() @ update.u[0].double()) > 0
    assert off(value + update.act(key), seen[0][1] + delta) <= (
        1e-5 if dtype == torch.float64 else 1e-3
    )


@both_dtypes
@pytest.mark.parametrize("name", SHAPES)
def test_the_change_has_rank_one_and_the_length_of_its_factor(name, dtype):
    """E2, E3."""
    lm = make_lm(name, dtype)
    made = make_edit(lm)
    weight = lm.model.get_parameter(made.updates[0].name)
    before = weight.detach().clone()
    with made:
        change = weight.detach().double() - before.double()
    if made.updates[0].transposed:
        change = change.T
    assert change.shape == (lm.geometry.d_model, 20)
    singular = torch.linalg.svdvals(change)
    assert singular[1] / singular[0] < (1e-12 if dtype == torch.float64 else 1e-5)
    assert abs(float(change.norm() / made.updates[0].v.norm()) - 1) <= 1e-5
    assert abs(float(made.updates[0].u.norm()) - 1) <= 1e-6
    u = made.updates[0].u[0].double()
    other = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other -= (other @ u) * u
    assert float((change @ other).norm()) <= 1e-5 * float(change.norm())
    assert off(change @ u, made.updates[0].v[0]) <= 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_the_scale_of_the_second_moment_does_not_matter(name):
    lm = make_lm(name)
    once, again = (make_edit(lm, moment=world.make_moment(scale=s)) for s in (1.0, 7.5))
    assert off(once.updates[0].u, again.updates[0].u) <= 1e-9
    assert off(once.updates[0].v, again.updates[0].v) <= 1e-9


@pytest.mark.parametrize("name", SHAPES)
def test_with_the_identity_the_update_is_along_the_mean_key(name):
    lm = make_lm(name)
    made = make_edit(lm, "r-rome", moment=torch.eye(20, dtype=torch.float64))
    seen = [in_the_model(lm, pos, ids) for ids, pos in world.rows_of(made.report.prefixes)]
    key = torch.stack([key for key, _ in seen]).mean(0)
    assert off(made.updates[0].u[0], key / key.norm()) <= 1e-6


def test_of_all_changes_that_write_the_value_it_is_the_cheapest():
    """E4: tr(ΔW C ΔWᵀ) is the least that the constraint allows."""
    lm = make_lm("gpt2")
    moment = world.make_moment()
    made = make_edit(lm, "r-rome", moment=moment)
    keys = [in_the_model(lm, pos, ids)[0] for ids, pos in world.rows_of(made.report.prefixes)]
    key = torch.stack(keys).mean(0)
    update = made.updates[0]
    change = update.v.T @ update.u
    wanted = change @ key

    def cost(matrix):
        return float((matrix @ moment @ matrix.T).trace())

    least = float(wanted @ wanted / (key @ torch.linalg.solve(moment, key)))
    assert abs(cost(change) / least - 1) <= 1e-9
    assert cost(torch.outer(wanted, key) / (key @ key)) > 1.05 * least


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_below_are_untouched_and_only_the_mlp_of_the_layer_changes(name):
    """E6."""
    lm = make_lm(name)
    made = make_edit(lm)
    ids = torch.tensor([world.rows_of([""])[0][0]])
    sites = {kind: lm.sites(kind) for kind in lm.kinds}

    def states():
        store = {}
        visitors = [
            (lm.model.get_submodule(site), reading(store, (kind, layer)))
            for kind, some in sites.items()
            for layer, site in enumerate(some)
        ]
        lm.run(lambda: run_hooked(lambda: lm.model(input_ids=ids), visitors))
        return store

    before = states()
    with made:
        after = states()
    same = {at for at in before if torch.equal(before[at], after[at])}
    below = {(kind, layer) for kind in sites for layer in range(LAYER)}
    assert below | {("attn", LAYER)} <= same
    above = {("hidden", layer) for layer in range(LAYER, families.N_LAYERS)}
    assert not same & (above | {("mlp", LAYER)})


@pytest.mark.parametrize("name", SHAPES)
def test_the_log_of_the_optimisation_says_what_the_formulas_say(name):
    """E9."""
    lm = make_lm(name)
    report = make_edit(lm, clamp=0.3).report
    rate, width = world.SETTINGS["learning_rate"], lm.geometry.d_model
    first, second = report.steps[:2]
    assert first.kl == 0
    assert first.norm == first.weight_decay == 0
    longest = 0.3 * report.value_norm
    step = rate * width**0.5
    assert abs(second.norm - min(step, longest)) <= 1e-3 * second.norm
    decay = report.settings["weight_decay"] * second.norm / report.value_norm**2
    assert abs(second.weight_decay - decay) <= 1e-9
    assert all(step.norm <= longest * (1 + 1e-9) for step in report.steps)
    assert all(step.kl >= -1e-9 for step in report.steps)
    assert abs(report.update_norm - report.delta_norm / abs(report.key_dot_u)) <= (
        1e-6 * report.update_norm
    )
    assert report.stopped == "steps"
    assert len(report.steps) == report.settings["steps"]


@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_orientation_is_seen_in_a_real_pass(name, monkeypatch):
    lm = make_lm(name)
    made = make_edit(lm)
    pos = world.rows_of([""])[0][1]
    _, before = in_the_model(lm, pos)
    ours = made.updates[0].act(in_the_model(lm, pos)[0])

    def turned(self, strength, like):
        right = strength * (self.u.T @ self.v)
        right = right if self.transposed else right.T
        return right.flatten().view(right.shape[::-1]).T

    monkeypatch.setattr(LowRank, "delta", turned)
    with made:
        _, after = in_the_model(lm, pos)
    assert off(after, before + ours) > 1e-3


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
