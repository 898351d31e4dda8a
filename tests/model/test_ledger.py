"""Edits go in and out bit for bit, in any order, whatever interrupts them."""

import copy
import gc
import pickle
import random
import signal
import sys
import tempfile
import threading
import traceback
import weakref
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from rome_widgets import CausalTracer
from rome_widgets.editing.edit_file import load_edit
from rome_widgets.errors import Cancelled, FingerprintMismatch, ModelChanged, SettingsError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import Dense, Ledger, LowRank, ledger_of
from tests.helpers import model_guard, world
from tests.helpers.counts import EDIT_EXAMPLES, EDIT_INTERRUPTS, EDIT_PLACES
from tests.helpers.families import tiny_family
from tests.helpers.gates import write_gate
from tests.helpers.interrupts import (  # noqa: F401
    count_places,
    duration,
    hit_by_clock,
    hit_by_place,
    signals_as_before,
)
from tests.helpers.model_guard import fingerprint

made_up = world.made_up_edit


def weights(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(params=[torch.float64, torch.float32, torch.bfloat16], ids=str)
def lm(request):
    return world.new_lm("gpt2", request.param)


def test_original_edited_and_written_by_others_are_different_words(lm):
    edit = world.make_edit(lm)
    state = lm.weights_state
    kept_original = lm.model.get_parameter(edit.updates[0].name).detach().clone()
    assert (state().n_edits, state().matches, state().original) == (0, True, True)
    edit.apply()
    assert (state().n_edits, state().matches, state().original) == (1, True, False)
    edit.strength = 0.0
    assert (state().n_edits, state().matches, state().original) == (1, True, True)
    edit.strength = 1.0
    weight = lm.model.get_parameter(edit.updates[0].name)
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] += 1
    assert (state().n_edits, state().matches, state().original) == (1, False, False)
    with torch.no_grad():
        weight.copy_(kept)
    edit.revert()
    assert (state().n_edits, state().matches, state().original) == (0, True, True)
    with torch.no_grad():
        weight[0, 0] += 1
    assert (state().n_edits, state().matches, state().original) == (0, False, False)
    with torch.no_grad():
        weight.copy_(kept_original)


def test_an_edit_changes_nothing_until_it_is_applied_and_nothing_after_it_is_reverted(lm):
    before = weights(lm)
    edit = world.make_edit(lm)
    assert same(before, weights(lm))
    assert not edit.applied
    edit.apply()
    assert edit.applied
    assert lm.edits == (edit,)
    assert not same(before, weights(lm))
    edit.revert()
    assert same(before, weights(lm))
    assert lm.edits == ()


def test_edits_on_one_matrix_come_out_in_any_order(lm):
    before = weights(lm)
    edits = [made_up(lm, number) for number in range(4)]
    generator = random.Random(0)
    for _ in range(10):
        for edit in generator.sample(edits, 4):
            edit.apply()
        for edit in generator.sample(edits, 4):
            edit.revert()
        assert same(before, weights(lm))
    assert not ledger_of(lm.model)._bases


def test_what_is_left_is_what_the_others_make_of_the_copy(lm):
    first, second, third = (made_up(lm, number) for number in range(3))
    name = first.updates[0].name
    base = lm.model.get_parameter(name).detach().clone()
    for edit in (first, second, third):
        edit.apply()
    second.revert()
    wide = torch.promote_types(torch.float32, base.dtype)
    wanted = base.to(wide)
    for edit in (first, third):
        wanted = wanted + edit.updates[0].delta(1.0, wanted)
    assert torch.equal(lm.model.get_parameter(name), wanted.to(base.dtype))
    lm.revert_all()
    assert torch.equal(lm.model.get_parameter(name), base)


def test_the_strength_scales_the_change_and_zero_gives_the_weights_back(lm):
    before = weights(lm)
    edit = made_up(lm, 0)
    edit.strength = 0.5
    edit.apply()
    half = weights(lm)
    edit.strength = 0.0
    assert same(before, weights(lm))
    assert edit.applied
    edit.strength = 2
    edit.strength = 0.5
    assert same(half, weights(lm))
    edit.revert()
    assert same(before, weights(lm))
    for wrong in ("1", None, float("nan"), float("inf"), True):
        with pytest.raises(SettingsError):
            edit.strength = wrong


def test_a_with_block_leaves_things_as_they_were_before_it(lm):
    before = weights(lm)
    edit = made_up(lm, 0)
    with edit:
        inside = weights(lm)
        with edit:
            edit.strength = 3
        assert same(inside, weights(lm))
    assert same(before, weights(lm))
    with pytest.raises(ZeroDivisionError), edit:
        raise ZeroDivisionError
    assert same(before, weights(lm))
    edit.strength = 1
    edit.apply()
    with edit:
        pass
    assert edit.applied
    edit.revert()


def test_applying_twice_is_applying_once(lm, tmp_path):
    edit = made_up(lm, 0).apply()
    once = weights(lm)
    edit.apply()
    copy = load_edit(lm, edit.save(tmp_path / "edit"))
    assert copy.applied
    copy.apply()
    assert same(once, weights(lm))
    assert len(lm.edits) == 1
    copy.revert()
    assert not edit.applied


def test_somebody_elses_change_is_not_overwritten():
    lm = world.new_lm("gpt2")
    before = weights(lm)
    edit, other = made_up(lm, 0).apply(), made_up(lm, 1)
    name = edit.updates[0].name
    weight = lm.model.get_parameter(name)
    weight.data[0, 0] += 1
    theirs = weights(lm)
    for call in (edit.revert, other.apply, lm.revert_all):
        with pytest.raises(ModelChanged, match="written by somebody else"):
            call()
        assert same(theirs, weights(lm))
    with pytest.raises(ModelChanged):
        edit.strength = 2
    lm.revert_all(force=True)
    assert same(before, weights(lm))


def other_weights(model):
    torch.nn.init.normal_(model.transformer.h[1].mlp.c_proj.weight)


def test_an_edit_of_another_model_is_refused():
    lm = world.new_lm("gpt2")
    other = world.new_lm("gpt2", prepare=other_weights)
    edit = made_up(lm, 0)
    edit.lm = other
    before = weights(other)
    with pytest.raises(FingerprintMismatch, match="other values"):
        edit.apply()
    assert same(before, weights(other))
    edit.apply(force=True)
    edit.revert()
    assert same(before, weights(other))
    edit.lm = world.new_lm("llama")
    with pytest.raises(FingerprintMismatch, match="no parameter"):
        edit.apply(force=True)
    model = tiny_family("gpt2")
    layer = model.transformer.h[1].mlp.c_proj
    layer.weight = torch.nn.Parameter(torch.zeros(6, 8, dtype=torch.float64))
    with pytest.raises(FingerprintMismatch, match="shape"):
        ledger_of(model).apply(edit, 1.0, force=True)


def test_an_edit_made_on_top_of_another_says_so_once_that_is_gone():
    lm = world.new_lm("gpt2")
    lower = world.make_edit(lm, layer=0).apply()
    upper = world.make_edit(lm, layer=2)
    assert upper.on_top_of == (lower.id,)
    assert not upper.stale
    lower.revert()
    assert upper.stale
    upper.apply().revert()


def test_runs_of_a_tracer_refuse_edited_weights():
    lm = world.new_lm("gpt2")
    tracer = CausalTracer(lm, "w3 w14 w15 w9", "w14 w15")
    with world.make_edit(lm), pytest.raises(ModelChanged):
        tracer.trace("mlp")


def test_gradients_and_modes_are_left_alone():
    def prepare(model):
        model.train()
        for number, weight in enumerate(model.parameters()):
            weight.requires_grad_(bool(number % 2))

    lm = world.new_lm("gpt2", prepare=prepare)
    before = fingerprint(lm.model)
    random_state = torch.get_rng_state()
    with world.make_edit(lm):
        pass
    assert fingerprint(lm.model) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(weight.grad is None for weight in lm.model.parameters())


# ------------------------------------------------------------------- any sequence of calls

LM = world.new_lm("gpt2", torch.float32)
EDITS = [made_up(LM, number, layer=number % 3, rank=1 + number % 2) for number in range(5)]
BEFORE = weights(LM)
STRENGTHS = st.sampled_from([0.0, 0.25, 1.0, -1.0, 3.5])


class Sequence(RuleBasedStateMachine):
    """Edits come and go; the weights are always what the list of edits says."""

    copies = Bundle("copies")

    def __init__(self):
        super().__init__()
        self.expected = {}

    @rule(edit=st.sampled_from(EDITS))
    def apply(self, edit):
        edit.apply()
        self.expected.setdefault(edit.id, (edit, edit.strength))

    @rule(edit=st.sampled_from(EDITS))
    def revert(self, edit):
        edit.revert()
        self.expected.pop(edit.id, None)

    @rule(edit=st.sampled_from(EDITS), strength=STRENGTHS)
    def change_strength(self, edit, strength):
        edit.strength = strength
        if edit.id in self.expected:
            self.expected[edit.id] = (edit, strength)

    @rule(target=copies, edit=st.sampled_from(EDITS))
    def save_and_load(self, edit):
        with tempfile.TemporaryDirectory() as folder:
            return load_edit(LM, edit.save(Path(folder) / "edit"))

    @rule(copy=copies)
    def apply_a_copy(self, copy):
        copy.apply()
        self.expected.setdefault(copy.id, (copy, copy.strength))

    @rule(copy=copies)
    def revert_a_copy(self, copy):
        copy.revert()
        self.expected.pop(copy.id, None)

    @rule(copy=copies, strength=STRENGTHS)
    def change_the_strength_of_a_copy(self, copy, strength):
        copy.strength = strength
        if copy.id in self.expected:
            edit, _ = self.expected[copy.id]
            self.expected[copy.id] = (edit, strength)

    @rule(edit=st.sampled_from(EDITS), strength=STRENGTHS)
    def look_inside_a_block(self, edit, strength):
        with edit:
            edit.strength = strength
        # Leaving gives back the strength before, or the edit out; outside it keeps the new one.

    @rule(target=copies, layer=st.integers(0, 3))
    def compute_on_what_there_is(self, layer):
        made = world.make_edit(LM, layer=layer, steps=2)
        assert set(made.on_top_of) == set(self.expected)
        return made

    @rule(method=st.sampled_from(["rome", "ft"]), done=st.integers(0, 2))
    def cancel_a_computation(self, method, done):
        cancel = threading.Event()
        if not done:
            cancel.set()

        def progress(step):
            if step.phase == "value" and step.done == done:
                cancel.set()

        with pytest.raises(Cancelled):
            world.make_edit(LM, method, steps=5, progress=progress, cancel=cancel)

    @rule(edit=st.sampled_from(EDITS), strength=STRENGTHS, place=st.integers(1, 250))
    def interrupt(self, edit, strength, place):
        """At any call or return within applying, reverting or changing the strength."""

        def operation(edit):
            if edit.applied and strength == 1.0:
                edit.revert()
            else:
                edit.strength = strength
                edit.apply()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda about: None)
            hit_by_place(operation, edit, place)
        now = ledger_of(LM.model).strength_of(edit)
        if now is None:
            self.expected.pop(edit.id, None)
        else:
            self.expected[edit.id] = (edit, now)

    @rule(edit=st.sampled_from(EDITS), force=st.booleans())
    def somebody_else_writes(self, edit, force):
        """Nothing of ours is written over theirs; their change undone, all is as it was."""
        name = edit.updates[0].name
        carried = [u.name for other, _ in self.expected.values() for u in other.updates]
        weight = LM.model.get_parameter(name)
        ours = weight.detach().clone()
        weight.data[0, 0] += 1
        theirs = weights(LM)
        calls = [edit.revert if edit.applied else edit.apply]
        for call in calls + [LM.revert_all] * (name in carried):
            with pytest.raises(ModelChanged):
                call()
            assert same(theirs, weights(LM))
        if force and name in carried:
            LM.revert_all(force=True)
            self.expected.clear()
        else:
            weight.data.copy_(ours)

    @rule(edit=st.sampled_from(EDITS))
    def fail_within(self, edit):
        with pytest.raises(ZeroDivisionError), edit:
            raise ZeroDivisionError

    @rule(edit=st.sampled_from(EDITS))
    def fail_while_writing(self, edit):
        rebuilt = type(ledger_of(LM.model))._rebuilt
        calls = []

        def fail_once(self, *rest):
            calls.append(rest)
            if len(calls) == 2:
                raise MemoryError
            return rebuilt(self, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(ledger_of(LM.model)), "_rebuilt", fail_once)
            with suppress(MemoryError):
                (edit.revert if edit.applied else edit.apply)()
        strength = ledger_of(LM.model).strength_of(edit)
        if strength is None:
            self.expected.pop(edit.id, None)
        else:
            self.expected.setdefault(edit.id, (edit, strength))

    @rule()
    def revert_all(self):
        LM.revert_all()
        self.expected.clear()

    @invariant()
    def weights_are_what_the_edits_say(self):
        assert [edit.id for edit in LM.edits] == list(self.expected)
        wanted = {name: tensor.clone() for name, tensor in BEFORE.items()}
        for edit, strength in self.expected.values():
            for update in edit.updates:
                wanted[update.name] += update.delta(strength, wanted[update.name])
        assert same(wanted, weights(LM))

    def teardown(self):
        LM.revert_all()
        assert same(BEFORE, weights(LM))
        for edit in EDITS:
            edit.strength = 1.0


Sequence.TestCase.settings = settings(
    max_examples=EDIT_EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    database=None,
)
TestSequence = Sequence.TestCase


def through_a_file(model):
    return pickle.loads(pickle.dumps(model))


def test_an_edited_model_goes_when_nobody_holds_it():
    lm = world.new_lm("gpt2")
    world.made_up_edit(lm, 0).apply()
    model = weakref.ref(lm.model)
    model_guard._held.remove(lm.model)  # Tests hold theirs, to look at them in the end.
    del lm
    gc.collect()
    assert model() is None


@pytest.mark.parametrize("again", [copy.deepcopy, through_a_file])
def test_a_copy_of_an_edited_model_holds_no_edits(again):
    lm = world.new_lm("gpt2")
    made = world.made_up_edit(lm, 0).apply()
    other = again(lm.model)
    assert ledger_of(other).edits == ()
    assert lm.edits == (made,)
    assert same(weights(LanguageModel(other, lm.tokenizer)), weights(lm))
    lm.revert_all()


def test_a_with_block_that_is_never_entered_leaves_nothing():
    lm = world.new_lm("gpt2")
    made = world.made_up_edit(lm, 0)
    with pytest.MonkeyPatch.context() as patch:
        apply_to = Ledger.apply

        def interrupted(self, *rest, **options):
            apply_to(self, *rest, **options)
            raise KeyboardInterrupt

        patch.setattr(Ledger, "apply", interrupted)
        with pytest.raises(KeyboardInterrupt), made:
            raise AssertionError("it was entered")
    assert not made.applied
    assert not made.temporary
    made.apply()
    assert not made.temporary
    lm.revert_all()


# ------------------------------------------------------------------------------ interrupts


class World:
    """A model with two edits: one applied, one to be applied or reverted over and over."""

    def __init__(self):
        self.lm = world.new_lm("gpt2", torch.float32, lambda model: model.train())
        self.model = self.lm.model
        self.without = fingerprint(self.model)
        self.kept, self.edit = made_up(self.lm, 0), made_up(self.lm, 1, rank=2)
        self.kept.apply()
        self.states = {False: fingerprint(self.model)}
        self.edit.apply()
        self.states[True] = fingerprint(self.model)
        self.edit.revert()


def apply(here):
    here.edit.apply()


def revert(here):
    here.edit.revert()


def within(here):
    with here.edit:
        pass


def violations(here):
    found = []
    if fingerprint(here.model) != here.states[here.edit.applied]:
        found.append("the weights are not what the ledger says")
    if here.edit not in here.lm.edits and here.edit.applied:
        found.append("applied and not listed")
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        found.append("the handler of interrupts is another")
        signal.signal(signal.SIGINT, signal.default_int_handler)
    here.edit.revert()
    if fingerprint(here.model) != here.states[False]:
        found.append("reverting leaves something")
    here.lm.revert_all()
    if fingerprint(here.model) != here.without:
        found.append("reverting all leaves something")
    here.kept.apply()
    return found


def at_the_edge_of_a_block(error):
    """Before the first or after the last line of its code, where Python lets nobody clean up."""
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    own = [name for name in frames if name in (*EDGES, "_go_back", "apply")]
    return own[-1] in EDGES


EDGES = "within", "__enter__", "__exit__"


FIGURES = {}


@pytest.mark.parametrize("operation", [apply, revert, within])
@pytest.mark.parametrize("way", ["clock", "place"])
def test_an_interrupt_leaves_the_edit_in_or_out(operation, way):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background job has none.
    here, generator = World(), random.Random(operation.__name__)
    longest = duration(within, here)
    places = count_places(within, here)
    landings, broken, tries = 0, Counter(), 0
    while landings < EDIT_INTERRUPTS and tries < 8 * EDIT_INTERRUPTS:
        tries += 1
        if operation is revert:
            here.edit.apply()
        if way == "clock":
            kept = hit_by_clock(operation, here, generator.uniform(1e-6, longest))
        else:
            kept = hit_by_place(operation, here, generator.randint(1, places))
        if kept is None:
            here.edit.revert()
            continue
        landings += 1
        left = operation is within and here.edit.applied and not at_the_edge_of_a_block(kept)
        found = [*violations(here), *(["the block left its edit"] if left else [])]
        broken.update(found)
        if found:
            here.lm.revert_all()
            here = World()
    here.lm.revert_all()
    FIGURES[operation.__name__, way] = landings, sum(broken.values())
    assert broken == {}
    assert landings == EDIT_INTERRUPTS
    if len(FIGURES) == 6:
        write_gate(
            "edit_interrupts",
            {
                "landings": sum(n for n, _ in FIGURES.values()),
                "violations": sum(n for _, n in FIGURES.values()),
                "by operation": {" ".join(at): n for at, (n, _) in FIGURES.items()},
            },
        )


@pytest.mark.parametrize("operation", [apply, revert])
def test_an_interrupt_at_the_places_of_writing_one_by_one(operation):
    here, landed = World(), 0
    if operation is revert:
        here.edit.apply()
    places = count_places(operation, here)
    for place in range(1, places + 1, EDIT_PLACES):
        here.edit.revert()
        if operation is revert:
            here.edit.apply()
        if hit_by_place(operation, here, place) is None:
            continue
        landed += 1
        assert violations(here) == [], f"at place {place} of {places}"
    here.lm.revert_all()
    assert landed >= 0.9 * (places // EDIT_PLACES)
    assert places > 50


def test_ctrl_c_while_writing_arrives_after_it():
    here = World()
    rebuilt = type(ledger_of(here.model))._rebuilt

    def interrupted(self, *rest):
        signal.raise_signal(signal.SIGINT)
        return rebuilt(self, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(ledger_of(here.model)), "_rebuilt", interrupted)
        patch.setattr(type(ledger_of(here.model)), "_check_unchanged", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            here.edit.apply()
    assert here.edit.applied
    assert fingerprint(here.model) == here.states[True]
    here.lm.revert_all()
    assert fingerprint(here.model) == here.without


def test_updates_act_on_keys_as_their_matrices_do():
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(2, width, generator=generator) for width in (6, 4))
    keys = torch.randn(3, 5, 6, generator=generator)
    for transposed in (True, False):
        update = LowRank("w", u, v, transposed)
        matrix = update.delta(1.0, u)
        assert matrix.shape == update.shape
        wanted = keys @ (matrix if transposed else matrix.T)
        assert torch.allclose(update.act(keys), wanted, atol=1e-5)
        dense = Dense("w", matrix, transposed)
        assert torch.allclose(dense.act(keys), wanted, atol=1e-5)
