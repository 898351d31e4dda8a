"""Distances between the runs: as the slow reference finds them, and as they must be."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import ModelChanged, OutOfMemory, StateError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.tracing.runs import Runs
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import families, reference, tiny

SAMPLES = 3
STATES = [(2, 1, "hidden"), (5, 2, "hidden")]
OF_A_BRANCH = [(1, 0, "mlp"), (4, 2, "attn")]
WHAT = ("written", "corrupted", "restored", "moved")
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Some families compute in float32 inside, whatever their dtype."""

SOME = [
    "gpt2",
    "gptj",
    "gpt_neox, parallel",
    "opt, norm on the stream",
    "bloom",
    "falcon, sequential with alibi",
    "llama",
    "gemma3, text",
    "granite",
    "mixtral",
    "qwen3_next",
    "mamba",
    "granitemoeshared",
]


def setting(name, *, engine="replay", dtype=None):
    """A tracer, the reference's arguments, and states of its kinds to restore."""
    family = families.FAMILIES[name]
    lm = LanguageModel(families.tiny_family(name, dtype=dtype), tiny.word_tokenizer(), name=name)
    if engine != "replay":
        lm.replay = None
    embedding = lm.model.get_input_embeddings().weight.detach().double()
    noise = reference.draws(1, SAMPLES, 2, embedding.shape[1], 3 * float(embedding.std()))
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise.numpy())
    ids = [int(word[1:]) for word in tiny.PROMPT.split()]
    states = [*STATES, *(state for state in OF_A_BRANCH if state[2] in lm.kinds)]
    return tracer, (lm.model, family.names, ids, (1, 3), noise), states


def check(tracer, arguments, states):
    scale = tracer.lm.geometry.branch_scale
    expected = reference.flow(*arguments, states, families.N_LAYERS, scale)
    flow = tracer.flow(states)
    assert flow.kinds == tracer.lm.kinds
    assert set(flow.states) == set(states)
    close = {"atol": TOLERANCE[tracer.lm.dtype], "rtol": TOLERANCE[tracer.lm.dtype]}
    for kind in flow.kinds:
        for what in WHAT:
            found = getattr(flow, what)[kind]
            assert found.shape == (7, families.N_LAYERS)
            np.testing.assert_allclose(found, expected[kind][what], **close, err_msg=what)
        assert flow.corrupted[kind].max() > 0.01, "nothing to compare"
    np.testing.assert_allclose(flow.noise, expected["noise"], **close)


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
@pytest.mark.parametrize("name", SOME)
def test_every_distance_equals_the_reference(name, engine):
    check(*setting(name, engine=engine))


def _wrong_rows(monkeypatch):
    together = Runs._pass_side_by_side
    monkeypatch.setattr(
        Runs,
        "_pass_side_by_side",
        lambda self, states, *rest: together(self, states[1:], *rest),
    )


def test_a_state_that_is_forgotten_turns_the_equality_red(monkeypatch):
    _wrong_rows(monkeypatch)
    with pytest.raises(AssertionError):
        check(*setting("gpt2"))


def test_another_scale_of_the_branches_turns_the_equality_red():
    tracer, arguments, states = setting("granite")
    expected = reference.flow(*arguments, states, families.N_LAYERS, 1.0)
    found = tracer.flow(states).written["mlp"]
    np.testing.assert_allclose(found, 0.22 * np.array(expected["mlp"]["written"]), rtol=1e-5)


def test_where_nothing_can_differ_the_distance_is_zero():
    tracer, _, states = setting("gpt2")
    flow = tracer.flow(states)
    for kind in flow.kinds:
        # Rows of one pass; a matrix product may still sum one of them in another order.
        np.testing.assert_allclose(flow.corrupted[kind][:1], 0, atol=1e-12)
        np.testing.assert_allclose(flow.moved[kind][:1], 0, atol=1e-12)
        assert (flow.corrupted[kind][1:3] > 1e-3).all()
    assert (flow.noise[[0, 3, 4, 5, 6]] == 0).all()
    assert (flow.noise[1:3] > 0).all()
    assert (flow.written["hidden"] == 1).all()
    for pos, layer, kind in states:
        assert flow.restored[kind][pos, layer] == 0


def test_with_nothing_restored_the_restored_run_is_the_corrupted_one():
    flow = setting("gpt2")[0].flow()
    for kind in flow.kinds:
        np.testing.assert_allclose(flow.restored[kind], flow.corrupted[kind], atol=1e-12)
        np.testing.assert_allclose(flow.moved[kind], 0, atol=1e-12)


@pytest.mark.parametrize("name", ["gpt2", "mamba", "granitemoeshared"])
def test_restoring_every_state_leaves_no_distance(name):
    tracer, _, _ = setting(name)
    blocks = range(families.N_LAYERS)
    flow = tracer.flow([(p, b, kind) for p in range(7) for b in blocks for kind in tracer.lm.kinds])
    for kind in flow.kinds:
        assert (flow.restored[kind] == 0).all()
        np.testing.assert_allclose(flow.moved[kind], flow.corrupted[kind])


@pytest.mark.parametrize("name", ["gpt2", "gptj", "llama", "granite"])
def test_what_a_block_takes_in_and_adds_bounds_what_it_puts_out(name):
    """Equation 1 as a triangle: h = h' + a + m, so no side is longer than the others together."""
    tracer, arguments, states = setting(name)
    flow = tracer.flow(states)
    seen = {("hidden", layer): None for layer in range(families.N_LAYERS)}
    reference.run(*arguments, seen=seen)
    unit = np.stack([seen["hidden", b][0].norm(dim=-1) for b in range(families.N_LAYERS)], axis=1)
    for grids in (flow.written, flow.corrupted):
        h, a, m = (grids[kind] * unit for kind in ("hidden", "attn", "mlp"))
        sides = np.stack([h[:, :-1], h[:, 1:], a[:, 1:], m[:, 1:]])
        assert (sides <= sides.sum(axis=0) - sides + 1e-6).all()
        assert sides.max() > 0.01


def test_the_three_runs_are_a_triangle():
    tracer, _, states = setting("llama")
    flow = tracer.flow(states)
    for kind in flow.kinds:
        sides = np.stack([flow.corrupted[kind], flow.restored[kind], flow.moved[kind]])
        assert (sides <= sides.sum(axis=0) - sides + 1e-9).all()


@pytest.mark.parametrize("kind", ["mlp", "attn"])
def test_a_severed_output_does_not_move(kind):
    tracer, _, _ = setting("gpt2")
    states = [(1, 0, "hidden"), (2, 0, "hidden")]
    whole, cut = tracer.flow(states), tracer.sever(kind, 2).flow(states)
    np.testing.assert_allclose(cut.moved[kind][2], 0, atol=1e-12)
    np.testing.assert_allclose(cut.restored[kind][2], cut.corrupted[kind][2])
    assert whole.moved[kind][2, 1:].min() > 1e-4
    for each in whole.kinds:
        np.testing.assert_allclose(cut.corrupted[each], whole.corrupted[each])


def test_a_few_draws_at_a_time_give_the_same_distances(monkeypatch):
    tracer, _, states = setting("gpt2")
    tracer = tracer.sever("mlp", 3)
    whole, passes = tracer.flow(states), []
    together = Runs._pass_side_by_side
    monkeypatch.setattr(type(tracer._runs), "tokens_per_call", 3 * 7)
    monkeypatch.setattr(
        Runs,
        "_pass_side_by_side",
        lambda self, *rest: (passes.append(rest[-1]), together(self, *rest))[1],
    )
    again = tracer.flow(states)
    assert len(passes) == SAMPLES
    for kind in whole.kinds:
        for what in WHAT:
            found, expected = getattr(again, what)[kind], getattr(whole, what)[kind]
            np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_gives_the_same_picture(dtype):
    exact, _, states = setting("llama")
    rough, _, _ = setting("llama", dtype=dtype)
    wanted, found = exact.flow(states), rough.flow(states)
    for kind in wanted.kinds:
        np.testing.assert_allclose(found.corrupted[kind], wanted.corrupted[kind], atol=0.1)
        assert np.abs(found.corrupted[kind][:1]).max() < 0.02
        for each in (found.corrupted, found.restored, found.moved):
            assert np.isfinite(each[kind]).all()
            assert each[kind].dtype == np.float64


def test_lengths_beyond_half_precision_are_measured():
    """Squares of float16 numbers overflow from 256 on."""
    from rome_widgets.tracing.flow import _Distances
    from rome_widgets.tracing.runs import ThreeRuns

    distances = _Distances()
    run = torch.full((2, 7, 8), 4000.0, dtype=torch.float16)
    distances(ThreeRuns(run[0], run * 2, run))()
    length = 4000 * np.sqrt(8)
    np.testing.assert_allclose(distances.table(), np.tile([[length], [length], [0], [length]], 7))


def test_bad_states_and_a_changed_model_are_refused():
    tracer, _, _ = setting("mamba")
    with pytest.raises(StateError, match="Its kinds are 'hidden'"):
        tracer.flow([(1, 1, "mlp")])
    with pytest.raises(StateError, match="no layer 9"):
        tracer.flow([(1, 9, "hidden")])
    weight = tracer.lm.model.get_input_embeddings().weight.data
    saved = weight.clone()
    weight.mul_(2)  # Leaves no mark on the version, only on the predictions.
    with pytest.raises(ModelChanged, match="Make a new CausalTracer"):
        tracer.flow()
    weight.copy_(saved)


def test_no_memory_is_said(monkeypatch):
    tracer, _, _ = setting("gpt2")

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Runs, "_pass_side_by_side", full)
    for call in (tracer.flow, tracer.lens):
        with pytest.raises(OutOfMemory, match="run one draw three times"):
            call()
