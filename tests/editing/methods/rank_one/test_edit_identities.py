"""The identities of an edit (method.md's E1 to E9): every shape, both dtypes, and each can fail.

The judge is a real pass of the whole model: what its edited matrix reads and puts out.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import pytest
import torch

from rome_widgets.editing.methods.rank_one import rome
from rome_widgets.model import ledger
from rome_widgets.model.hooks import reading, run_hooked
from rome_widgets.model.ledger import LowRank
from rome_widgets.model.structure.geometry import all_logits
from tests.helpers import families, reference_rome, tiny, world
from tests.helpers.counts import pairs, turns
from tests.helpers.gates import write_gate
from tests.helpers.world import LAYER, SHAPES, make_edit, off
from tests.model.test_ledger import same, weights

DTYPES = (torch.float64, torch.float32)
WORST = {}


@dataclass
class Case:
    """One shape in one dtype, edited by both methods as the code is now."""

    name: str
    dtype: torch.dtype

    @cached_property
    def lm(self):
        return world.make_lm(self.name, self.dtype)

    @cached_property
    def rome(self):
        return self._made("rome")

    @cached_property
    def r_rome(self):
        return self._made("r-rome")

    @cached_property
    def identity(self):
        return self._made("r-rome", moment=torch.eye(families.D_MLP, dtype=torch.float64))

    def _made(self, method, **options):
        """The edit, with what its optimisation found as `found`."""
        seen, find_value = [], rome.find_value

        def spy(*arguments):
            seen.append(find_value(*arguments))
            return seen[0]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rome, "find_value", spy)
            edit = make_edit(self.lm, method, **options)
        edit.found = seen[0]
        return edit

    def read(self, prefix=""):
        """Key and value in a real pass: input and output of the edited matrix at the subject."""
        ((ids, pos),) = world.rows_of([prefix])
        down = world.down_of(self.name)
        with torch.no_grad():
            _, key, value = reference_rome.forward(self.lm.model, down, ids, pos)
        return key.double(), value.double()

    def mean(self, edit):
        """The same, mean over the edit's prefixes."""
        keys, values = zip(*map(self.read, edit.report.prefixes), strict=True)
        return torch.stack(keys).mean(0), torch.stack(values).mean(0)

    def change(self, edit):
        """`[d_out, d_in]`: what applying the edit does to its matrix, as it is stored."""
        weight = self.lm.model.get_parameter(edit.updates[0].name)
        before = weight.detach().clone()
        with edit:
            change = weight.detach().double() - before.double()
        return change.T if edit.updates[0].transposed else change


def e1_rome_writes_the_value_at_the_bare_key(case):
    wanted = (case.rome.found.start + case.rome.found.delta).double()
    with case.rome:
        _, after = case.read()
    yield off(after, wanted)


def e1_r_rome_writes_the_value_at_the_mean_key(case):
    wanted = (case.r_rome.found.start + case.r_rome.found.delta).double()
    key, value = case.mean(case.r_rome)
    yield off(value + case.change(case.r_rome) @ key, wanted)
    assert float(key @ case.r_rome.updates[0].u[0].double()) > 0


def e2_the_change_has_rank_one(case):
    for edit in (case.rome, case.r_rome):
        singular = torch.linalg.svdvals(case.change(edit))
        yield float(singular[1] / singular[0])


def e3_its_length_is_its_factors_and_what_is_orthogonal_to_u_is_left_alone(case):
    change, update = case.change(case.rome), case.rome.updates[0]
    u, v = update.u[0].double(), update.v[0].double()
    assert change.shape == (case.lm.geometry.d_model, families.D_MLP)
    yield abs(float(u.norm()) - 1)
    yield abs(float(change.norm() / v.norm()) - 1)
    yield off(change @ u, v)
    other = torch.randn(len(u), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other -= (other @ u) * u
    yield float((change @ other).norm() / change.norm())


def e3_with_the_identity_for_c_it_is_along_the_mean_key(case):
    key, value = case.mean(case.identity)
    found, update = case.identity.found, case.identity.updates[0]
    wanted = torch.outer((found.start + found.delta).double() - value, key) / (key @ key)
    yield off(update.v.double().T @ update.u.double(), wanted)


def e4_of_all_changes_that_write_the_value_it_is_the_cheapest(case):
    moment = world.make_moment()
    key, _ = case.mean(case.r_rome)
    change = case.change(case.r_rome)
    wanted = change @ key

    def cost(matrix):
        return float((matrix @ moment @ matrix.T).trace())

    least = float(wanted @ wanted / (key @ torch.linalg.solve(moment, key)))
    yield abs(cost(change) / least - 1)
    assert cost(torch.outer(wanted, key) / (key @ key)) > 1.05 * least


def e6_blocks_below_are_untouched_and_in_its_layer_only_the_mlp_changes(case):
    lm, ((ids, _),) = case.lm, world.rows_of([""])
    visited = [
        (kind, layer, lm.model.get_submodule(site))
        for kind in lm.kinds
        for layer, site in enumerate(lm.sites(kind))
    ]

    def states():
        store = {}
        visitors = [(module, reading(store, (kind, layer))) for kind, layer, module in visited]
        lm.run(lambda: run_hooked(lambda: all_logits(lm.model, torch.tensor([ids])), visitors))
        return store

    before, (key, _) = states(), case.read()
    with case.rome:
        after, (key_after, _) = states(), case.read()
    same_states = {at for at in before if torch.equal(before[at], after[at])}
    below = {(kind, layer) for kind in lm.kinds for layer in range(LAYER)}
    assert below | {("attn", LAYER)} <= same_states, "something below changed"
    above = {("hidden", layer) for layer in range(LAYER, families.N_LAYERS)}
    assert not same_states & (above | {("mlp", LAYER)}), "something above did not change"
    assert torch.equal(key, key_after), "the edit changed its own key"
    yield 0.0


def e7_what_is_written_is_what_the_optimisation_saw(case):
    """Its last pass, again: the unedited model with the edit's own change put in at the subject."""
    made = case._made("rome", prefixes=(), bare=1)
    ((ids, pos),) = world.rows_of([""])
    _, before = case.read()
    with made:
        _, after = case.read()
    with torch.no_grad():
        change = (after - before).to(case.dtype)
        down = world.down_of(case.name)
        predicted, _, _ = reference_rome.forward(case.lm.model, down, ids, pos, change)
    said = -float(predicted[-1, world.words(world.TARGET)[0]])
    yield abs(said / made.report.steps[-1].nll - 1)


def e8_reverting_gives_every_bit_back(case):
    before = weights(case.lm)
    with case.rome:
        assert not same(before, weights(case.lm))
    try:
        assert same(before, weights(case.lm)), "reverting left something"
    finally:
        case.lm.model.load_state_dict(before)
    yield 0.0


def e9_the_log_says_what_the_formulas_say(case):
    made = case._made("rome", clamp=0.3)
    report, found = made.report, made.found
    rate, width = world.SETTINGS["learning_rate"], case.lm.geometry.d_model
    first, second = report.steps[:2]
    longest = 0.3 * report.value_norm
    assert first.kl == first.norm == first.weight_decay == 0
    assert all(step.kl >= -1e-6 for step in report.steps)
    assert all(step.norm <= longest * (1 + 1e-6) for step in report.steps)
    assert report.stopped == "steps"
    assert len(report.steps) == report.settings["steps"]
    # Adam's first step is its rate in every direction, up to its epsilon.
    assert abs(second.norm - min(rate * width**0.5, longest)) <= 1e-3 * second.norm
    decay = report.settings["weight_decay"] * second.norm / report.value_norm**2
    yield abs(second.weight_decay / decay - 1)
    yield abs(float(found.delta.norm()) / report.delta_norm - 1)
    yield abs(report.steps[-1].norm / report.delta_norm - 1)
    yield abs(report.update_norm * abs(report.key_dot_u) / report.delta_norm - 1)


IDENTITIES = {
    check.__name__: check
    for check in (
        e1_rome_writes_the_value_at_the_bare_key,
        e1_r_rome_writes_the_value_at_the_mean_key,
        e2_the_change_has_rank_one,
        e3_its_length_is_its_factors_and_what_is_orthogonal_to_u_is_left_alone,
        e3_with_the_identity_for_c_it_is_along_the_mean_key,
        e4_of_all_changes_that_write_the_value_it_is_the_cheapest,
        e6_blocks_below_are_untouched_and_in_its_layer_only_the_mlp_changes,
        e7_what_is_written_is_what_the_optimisation_saw,
        e8_reverting_gives_every_bit_back,
        e9_the_log_says_what_the_formulas_say,
    )
}
LIMITS = {"e2": (1e-12, 1e-5), "e3": (1e-11, 1e-5), "e4": (1e-9, 1e-5), "e9": (1e-6, 1e-5)}
OTHER_LIMITS = (1e-11, 2e-5)
"""For float64 and float32; relative."""
case_of = tiny.kept_for_a_file(Case)


def holds(identity, case):
    """The largest difference; an AssertionError where the identity does not hold."""
    limits = LIMITS.get(identity[:2], OTHER_LIMITS)
    limit = limits[case.dtype == torch.float32]
    worst = 0.0
    for difference in IDENTITIES[identity](case):
        assert difference <= limit, f"{case.name}: off by {difference:.1e}"
        worst = max(worst, difference)
    return worst


@pytest.fixture(scope="module", autouse=True)
def worst_differences_are_on_record():
    yield
    write_gate("edit_identities", {at: f"{worst:.1e}" for at, worst in WORST.items()})


@pytest.mark.parametrize(("identity", "name", "dtype"), pairs(IDENTITIES, SHAPES, DTYPES), ids=str)
def test_it_holds(identity, name, dtype):
    worst = holds(identity, case_of(name, dtype))
    at = f"{identity}, {str(dtype).removeprefix('torch.')}"
    WORST[at] = max(WORST.get(at, 0.0), worst)


# ------------------------------------------------------------------------ planted mistakes


def the_bare_key_for_the_mean_one(patch):
    read = rome.read_keys

    def wrong(passes):
        keys = read(passes)
        return replace(keys, mean=keys.bare, mean_value=keys.bare_value)

    patch.setattr(rome, "read_keys", wrong)


def the_mean_key_for_the_bare_one(patch):
    read = rome.read_keys

    def wrong(passes):
        keys = read(passes)
        return replace(keys, bare=keys.mean, bare_value=keys.mean_value)

    patch.setattr(rome, "read_keys", wrong)


def a_value_five_percent_too_long(patch):
    update = rome.RankOne._update

    def wrong(self, site, keys, form, value):
        return update(self, site, keys, form, replace(value, delta=1.05 * value.delta))

    patch.setattr(rome.RankOne, "_update", wrong)


def the_matrix_turned(patch):
    def wrong(self, strength, like):
        right = strength * (self.u.to(like).T @ self.v.to(like))
        right = right if self.transposed else right.T
        return right.flatten().view(right.shape[::-1]).T

    patch.setattr(LowRank, "delta", wrong)


def the_matrix_of_the_layer_below(patch):
    update = rome.RankOne._update

    def wrong(self, site, keys, form, value):
        right = update(self, site, keys, form, value)
        return replace(right, name=world.down_of(site.lm.name, LAYER - 1) + ".weight")

    patch.setattr(rome.RankOne, "_update", wrong)


def a_copy_that_is_not_bitwise(patch):
    patch.setattr(ledger, "copied", lambda weight: (weight.detach() * 1.0001).cpu())


PLANTED = {
    the_bare_key_for_the_mean_one: ("e1_r_", "e3_with", "e4_"),
    the_mean_key_for_the_bare_one: ("e1_rome", "e9_"),
    a_value_five_percent_too_long: ("e1_rome", "e1_r_", "e3_with", "e7_", "e9_"),
    the_matrix_turned: ("e1_rome", "e1_r_", "e2_", "e3_its", "e4_", "e7_"),
    the_matrix_of_the_layer_below: ("e1_rome", "e6_", "e7_"),
    a_copy_that_is_not_bitwise: ("e8_",),
}
"""Mistake → beginnings of the identities that must turn red, whatever the shape and the dtype."""


@pytest.mark.parametrize(("plant", "name", "dtype"), turns(PLANTED, SHAPES, DTYPES))
def test_a_planted_mistake_turns_it_red(plant, name, dtype, monkeypatch):
    plant(monkeypatch)
    case = Case(name, dtype)
    red = set()
    for identity in IDENTITIES:
        if identity.startswith(PLANTED[plant]):
            try:
                holds(identity, case)
            except AssertionError:
                red.add(identity)
    wanted = {identity for identity in IDENTITIES if identity.startswith(PLANTED[plant])}
    assert red == wanted


def test_every_identity_can_turn_red():
    every = tuple(beginning for some in PLANTED.values() for beginning in some)
    assert all(identity.startswith(every) for identity in IDENTITIES)
