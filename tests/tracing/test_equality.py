"""Both engines equal the slow reference, and the check would notice if they did not.

Weights are scaled until every grid spans at least 1e-2: on a nearly constant grid, everything
equals everything.
"""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from rome_widgets.model import replay
from rome_widgets.records import states as places
from rome_widgets.records.states import KINDS
from rome_widgets.tracing import replayed_runs, replayed_waves, runs
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import reference, tiny
from tests.helpers.counts import SETS, pairs
from tests.helpers.gates import write_gate

SPANS = {"start": "w3 w14", "middle": "w14 w15", "next to the end": "w26 w5"}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Worst difference allowed, as a share of the grid's span."""


GRIDS = {}
"""The reference's grids so far."""
WORST = {}
"""Per model class and dtype, the worst share of the span seen so far."""


@pytest.fixture(scope="module", autouse=True)
def worst_differences_are_on_record():
    yield
    write_gate("equality", {" ".join(name): f"{worst:.1e}" for name, worst in WORST.items()})


@functools.cache
def by_reference(family, dtype, subject=tiny.SUBJECT):
    """The reference's arguments; its model is its own, so that no tracer has touched it."""
    model = tiny.tiny_model(family, scale=40, dtype=dtype)
    start = tiny.PROMPT.split().index(subject.split()[0])
    std = 3 * float(model.get_input_embeddings().weight.detach().std())
    noise = reference.draws(1, tiny.SAMPLES, 2, tiny.D_MODEL, std)
    ids = [int(word[1:]) for word in tiny.PROMPT.split()]
    return model, tiny.NAMES[family], ids, (start, start + 2), noise


def expected_grid(arguments, answer, kind, window):
    """The reference's grid, once: it runs a whole pass per cell, and many tests ask for it."""
    question = (arguments[0], answer, kind, window)
    if question not in GRIDS:
        GRIDS[question] = np.array(reference.grid(*arguments, *question[1:], tiny.N_LAYERS))
    return GRIDS[question]


def setting(family, dtype, subject=tiny.SUBJECT, window=3, engine="replay"):
    """A tracer and the reference's arguments for the same prompt, noise and answer."""
    lm = tiny.shared_lm(family, scale=40, dtype=dtype, engine=engine)
    arguments = by_reference(family, dtype, subject)
    tracer = CausalTracer(lm, tiny.PROMPT, subject, noise=arguments[-1].numpy(), window=window)
    return tracer, arguments


def check_grids(tracer, arguments):
    """Every cell of every kind equals the reference's, within a share of the grid's span."""
    trace = tracer.trace()
    assert isinstance(tracer._runs, replayed_runs.ReplayedRuns) == (tracer.lm.replay is not None)
    for kind in KINDS:
        expected = expected_grid(arguments, trace.answer_id, kind, tracer.window)
        span = np.ptp(expected)
        assert span >= 1e-2, f"{kind}: the grid spans only {span}"
        worst = np.abs(trace.scores[kind] - expected).max() / span
        assert worst <= TOLERANCE[tracer.lm.dtype], f"{kind}: off by {worst} of the span"
        name = (
            type(tracer.lm.model).__name__,
            str(tracer.lm.dtype).removeprefix("torch."),
            type(tracer._runs).__name__,
        )
        WORST[name] = max(WORST.get(name, 0.0), float(worst))


BOTH_ENGINES = ["replay", "whole passes"]
ENGINES = pytest.mark.parametrize("engine", BOTH_ENGINES)
EVERY_CELL = pairs(tiny.FAMILIES, SPANS, TOLERANCE, BOTH_ENGINES)


@pytest.mark.parametrize(("family", "where", "dtype", "engine"), EVERY_CELL, ids=str)
def test_every_cell_equals_the_reference(family, where, dtype, engine):
    check_grids(*setting(family, dtype, SPANS[where], engine=engine))


@pytest.mark.parametrize("window", [1, 2, 10])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_window_equals_the_reference(family, window):
    check_grids(*setting(family, torch.float64, window=window))


@ENGINES
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_mixed_sets_of_states_equal_the_reference(family, engine):
    tracer, arguments = setting(family, torch.float64, engine=engine)
    random = np.random.RandomState(0)
    everything = [(p, la, k) for p in range(7) for la in range(5) for k in KINDS]
    for size in random.randint(1, 12, size=SETS):
        states = [everything[i] for i in random.choice(len(everything), size, replace=False)]
        expected = reference.restored(*arguments, states).numpy()
        restoration = tracer.restore(states)
        assert np.abs(restoration.distributions[2] - expected).max() <= 1e-12
        assert restoration.probability == pytest.approx(expected[tracer.answer_id], abs=1e-12)


@pytest.mark.parametrize(
    ("family", "kind", "engine"), pairs(tiny.FAMILIES, ["mlp", "attn"], BOTH_ENGINES)
)
def test_the_severed_graph_equals_the_reference(family, kind, engine):
    tracer, arguments = setting(family, torch.float64, engine=engine)
    other = {"mlp": "attn", "attn": "mlp"}[kind]
    for pos in (2, 3):
        severed = tracer.sever(kind, pos=pos)
        cells = [[(2, layer, "hidden")] for layer in range(tiny.N_LAYERS)]
        for states in [*cells, [(1, 0, "hidden"), (3, 1, other)], [(2, 1, other)]]:
            expected = reference.severed(*arguments, states, kind, pos, tiny.N_LAYERS).numpy()
            got = severed.restore(states).distributions[2]
            assert np.abs(got - expected).max() <= 1e-12


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_clean_and_corrupted_runs_equal_the_reference(family):
    tracer, arguments = setting(family, torch.float64)
    rows = reference.run(*arguments)
    assert tracer.answer_id == int(rows[0].argmax())
    assert tracer.clean == pytest.approx(float(rows[0].max()), abs=1e-12)
    expected = float(rows[1:, tracer.answer_id].mean())
    assert tracer.corrupted == pytest.approx(expected, abs=1e-12)


# ------------------------------------------------------------- the check would notice


def _window_off_by_one(monkeypatch):
    def shifted(layer, window, n_layers):
        return range(max(0, layer - window // 2 + 1), min(n_layers, layer + window // 2 + 2))

    monkeypatch.setattr(places, "window_layers", shifted)


def _skip_a_layer(monkeypatch):
    cell = CausalTracer.cell

    def without_layer_2(self, *where):
        return [state for state in cell(self, *where) if state.layer != 2]

    monkeypatch.setattr(CausalTracer, "cell", without_layer_2)


def _restore_nothing(monkeypatch):
    monkeypatch.setattr(runs.Placed, "put", lambda self, target: None)


BOTH = [_window_off_by_one, _skip_a_layer, _restore_nothing]


def _attend_to_the_wrong_row(monkeypatch):
    before = replay._rows_before
    monkeypatch.setattr(replay, "_rows_before", lambda kv, rows, start: before(kv, 0 * rows, start))


def _look_ahead(monkeypatch):
    monkeypatch.setattr(replay._Window, "causal_mask", lambda self, device: None)


def _mix_up_branches(monkeypatch):
    make = replayed_waves.plan_wave

    def mixed(*cells, **shape):
        wave = make(*cells, **shape)
        steps = [
            tuple(b if b.parent is None else b._replace(parent=0) for b in step)
            for step in wave.steps
        ]
        return dataclasses.replace(wave, steps=tuple(steps))

    monkeypatch.setattr(replayed_waves, "plan_wave", mixed)


def _one_position_late(monkeypatch):
    tensor = replay._Window._tensor

    def shifted(self, name, value):
        cut = tensor(self, name, value)
        moved = cut is not value and self._start and name != "attention_mask"
        return cut.roll(1, dims=1) if moved else cut

    monkeypatch.setattr(replay._Window, "_tensor", shifted)


@pytest.mark.parametrize(("family", "engine", "plant"), pairs(tiny.FAMILIES, BOTH_ENGINES, BOTH))
def test_a_planted_mutation_turns_the_equality_red(family, engine, plant, monkeypatch):
    tracer, arguments = setting(family, torch.float64, engine=engine)
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_grids(tracer, arguments)


WITHOUT_EFFECT = [
    ("gpt2", _one_position_late),  # its positions are in the states already: nothing to shift
    ("gptj", _look_ahead),  # its attention always gets a mask from the model
]
REPLAY_PLANTS = [
    (family, plant)
    for family in tiny.FAMILIES
    for plant in (_attend_to_the_wrong_row, _look_ahead, _mix_up_branches, _one_position_late)
    if (family, plant) not in WITHOUT_EFFECT
]


@pytest.mark.parametrize(("family", "plant"), REPLAY_PLANTS)
def test_a_mutation_of_the_replay_turns_the_equality_red(family, plant, monkeypatch):
    tracer, arguments = setting(family, torch.float64)
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="off by"):
        check_grids(tracer, arguments)


WRONG_REPLAYS = pairs(
    ["llama", "neox"],
    [_attend_to_the_wrong_row, _look_ahead, _one_position_late],
    [1, 40],
    [torch.bfloat16, torch.float16, torch.float32],
)


@pytest.mark.parametrize(("family", "plant", "scale", "dtype"), WRONG_REPLAYS)
def test_a_replay_that_is_wrong_is_found_out_at_attach_and_whole_passes_are_used(
    family, plant, scale, dtype, monkeypatch
):
    with monkeypatch.context() as patch:
        plant(patch)
        lm = tiny.tiny_lm(family, scale=scale, dtype=dtype)
    assert lm.replay is None
    assert "other logits" in lm.engine
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=1.0)
    assert type(tracer._runs) is runs.Runs
    assert any("Whole forward passes are used" in note for note in tracer.notes)
