"""Rank-one edits equal the plain reference, and fulfil the identities of the method."""

import families
import pytest
import reference_rome
import torch
import world
from gates import write_gate
from world import IN_FLOAT32, LAYER, SHAPES, by_reference, make_edit, make_lm, off

from rome_widgets.editing.second_moment import SecondMoment
from rome_widgets.model.hooks import reading, run_hooked
from rome_widgets.model.ledger import LowRank

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
    from rome_widgets.editing import passes

    adding = passes.adding
    monkeypatch.setattr(passes, "adding", lambda delta, **at: adding(1.01 * delta, **at))


@pytest.mark.parametrize("plant", [_wrong_key, _wrong_value])
@pytest.mark.parametrize("name", SHAPES)
def test_a_planted_mistake_turns_the_equality_red(name, plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_against_reference(name, "rome", "w8")


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
