"""What must hold on any model, whatever its numbers: T1-T7 and T10-T13 of the method."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import StateError
from rome_widgets.records.states import KINDS, cell_states, window_layers
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.replayed_runs import ReplayedRuns
from rome_widgets.tracing.runs import Runs
from rome_widgets.tracing.tracer import CausalTracer, default_window, trace
from tests.helpers import tiny

FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)
T, L = 7, tiny.N_LAYERS
EXACT = 1e-14
NOISE = Noise.absolute(2.0)


def tracer_of(family, noise=None, **options):
    lm = tiny.shared_lm(family, scale=40, dtype=torch.float64)
    noise = NOISE if noise is None else noise
    return CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=4, **options)


def probability(tracer, states):
    return tracer.restore(states).probability


@FAMILIES
def test_noise_is_not_vacuous(family):
    tracer = tracer_of(family)
    assert abs(tracer.clean - tracer.corrupted) > 1e-2


@FAMILIES
def test_t1_without_noise_every_score_is_the_clean_probability(family):
    result = tracer_of(family, Noise.absolute(0.0)).trace()
    assert result.corrupted == pytest.approx(result.clean, abs=EXACT)
    for kind in KINDS:
        np.testing.assert_allclose(result.scores[kind], result.clean, atol=EXACT)


@FAMILIES
def test_t2_restoring_never_changes_the_clean_run(family):
    """The engine keeps the clean row apart from the corrupted ones: neither it nor a fresh clean
    run may move, however much was restored."""
    tracer = tracer_of(family)
    kept = {place: state.clone() for place, state in tracer._runs.states.items()}
    tracer.trace()
    tracer.restore([(pos, layer, kind) for pos in range(T) for layer in range(L) for kind in KINDS])
    assert len(kept) == 3 * L
    assert all(torch.equal(tracer._runs.states[place], state) for place, state in kept.items())
    again = tracer.lm.next_token_probabilities(tracer._runs.ids)[0].numpy()
    np.testing.assert_allclose(tracer.restore([]).distributions[0], again, atol=EXACT)


@FAMILIES
def test_t3_restoring_nothing_is_the_corrupted_run_twice_the_same(family):
    tracer = tracer_of(family)
    first, second = tracer.restore([]), tracer.restore([])
    assert np.array_equal(first.distributions, second.distributions)
    assert first.probability == tracer.corrupted


@FAMILIES
@pytest.mark.parametrize("layer", range(L))
def test_t4_restoring_all_tokens_at_one_block_gives_the_clean_run(family, layer):
    tracer = tracer_of(family)
    everywhere = [(pos, layer, "hidden") for pos in range(T)]
    from_subject = everywhere[tracer.subject_span[0] :]
    assert probability(tracer, everywhere) == pytest.approx(tracer.clean, abs=EXACT)
    assert probability(tracer, from_subject) == pytest.approx(tracer.clean, abs=EXACT)


@FAMILIES
def test_t5_at_the_last_block_only_the_last_token_matters(family):
    tracer = tracer_of(family)
    scores = tracer.trace(["hidden"]).scores["hidden"][:, -1]
    assert scores[-1] == pytest.approx(tracer.clean, abs=EXACT)
    np.testing.assert_allclose(scores[:-1], tracer.corrupted, atol=EXACT)


@FAMILIES
def test_t6_before_the_subject_nothing_differs(family):
    tracer = tracer_of(family)
    result = tracer.trace()
    for kind in KINDS:
        before = result.scores[kind][: tracer.subject_span[0]]
        assert len(before)
        np.testing.assert_allclose(before, tracer.corrupted, atol=EXACT)


@FAMILIES
def test_t7_all_contributions_at_the_last_token_rebuild_its_state(family):
    tracer = tracer_of(family)
    states = [(T - 1, layer, kind) for layer in range(L) for kind in ("mlp", "attn")]
    assert probability(tracer, states) == pytest.approx(tracer.clean, abs=1e-12)
    only_mlp = [state for state in states if state[2] == "mlp"]
    assert abs(probability(tracer, only_mlp) - tracer.clean) > 1e-6


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (0, range(5)),
        (4, range(9)),
        (5, range(10)),
        (43, range(38, 48)),
        (47, range(42, 48)),
    ],
)
def test_t10_a_window_of_ten_over_48_layers(layer, expected):
    assert window_layers(layer, 10, 48) == expected
    assert [s.layer for s in cell_states(3, layer, "mlp", 10, 48)] == list(expected)


def test_t11_a_window_of_one_is_the_layer_itself():
    assert all(window_layers(layer, 1, 48) == range(layer, layer + 1) for layer in range(48))


@FAMILIES
@pytest.mark.parametrize("kind", ["mlp", "attn"])
def test_t11_a_window_of_one_equals_restoring_the_single_site(family, kind):
    tracer = tracer_of(family, window=1)
    grid = tracer.trace([kind]).scores[kind]
    for pos, layer in [(2, 0), (3, 2), (6, 4)]:
        single = probability(tracer, [(pos, layer, kind)])
        assert grid[pos, layer] == pytest.approx(single, abs=EXACT)


def test_t12_families_disagree_so_the_identities_are_not_about_one_model():
    scores = [tracer_of(family).trace(["mlp"]).scores["mlp"] for family in tiny.FAMILIES]
    for i, first in enumerate(scores):
        assert all(np.abs(first - second).max() > 1e-3 for second in scores[i + 1 :])


def test_t13_the_first_token_can_be_the_subject():
    lm = tiny.tiny_lm("gpt2", scale=40)
    result = trace(lm, tiny.PROMPT, "w3", noise=Noise.absolute(1.0), kinds="hidden")
    assert result.subject_span == (0, 1)
    assert result.indirect_effect("hidden")[0].any()


@FAMILIES
@pytest.mark.parametrize(
    ("runs", "tokens"),
    [(Runs, 1), (Runs, 60), (ReplayedRuns, 1), (ReplayedRuns, 7), (ReplayedRuns, 50)],
)
def test_the_grid_does_not_depend_on_how_it_is_batched(family, runs, tokens, monkeypatch):
    """One or two cells at a time by whole passes; one row, two or a few by replay."""
    tracer = tracer_of(family)
    if runs is Runs:
        lm = tiny.shared_lm(family, scale=40, dtype=torch.float64, engine="whole passes")
        tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=NOISE, samples=4)
    whole = tracer.trace()
    monkeypatch.setattr(runs, "tokens_per_call", tokens)
    single = tracer.trace()
    for kind in KINDS:
        np.testing.assert_allclose(whole.scores[kind], single.scores[kind], atol=EXACT)


@FAMILIES
@pytest.mark.parametrize("kind", ["mlp", "attn"])
class TestSevered:
    """T8 and T9, on both engines by their equality to the reference in `test_equality`."""

    def test_t8_with_nothing_restored_it_is_the_corrupted_run(self, family, kind):
        tracer = tracer_of(family)
        severed = tracer.sever(kind)
        assert probability(severed, []) == pytest.approx(tracer.corrupted, abs=EXACT)

    def test_t8_severing_before_the_subject_changes_nothing(self, family, kind):
        tracer = tracer_of(family)
        before = tracer.sever(kind, pos=0).trace("hidden").scores["hidden"]
        plain = tracer.trace("hidden").scores["hidden"]
        np.testing.assert_allclose(before, plain, atol=EXACT)

    def test_t9_above_the_last_block_there_is_nothing_to_sever(self, family, kind):
        tracer = tracer_of(family)
        pos = tracer.subject_span[1] - 1
        plain = tracer.trace("hidden").scores["hidden"][pos]
        severed = tracer.sever(kind).trace("hidden").scores["hidden"][pos]
        assert severed[-1] == pytest.approx(plain[-1], abs=EXACT)
        assert np.abs(severed - plain).max() > 1e-3

    def test_severing_both_kinds_leaves_the_token_to_itself(self, family, kind):
        """With both held, a state restored at layer 0 goes straight up its own residual."""
        tracer = tracer_of(family)
        other = {"mlp": "attn", "attn": "mlp"}[kind]
        both = tracer.sever(kind).sever(other)
        assert both.notes[-2:] == (
            f"The {kind} outputs at 'w15' (token 2) are severed.",
            f"The {other} outputs at 'w15' (token 2) are severed.",
        )
        again = tracer.sever(other).sever(kind)
        pair = probability(both, [(2, 0, "hidden")]), probability(again, [(2, 0, "hidden")])
        assert pair[0] == pytest.approx(pair[1], abs=EXACT)


def test_only_contributions_can_be_severed():
    with pytest.raises(StateError, match="'mlp' or 'attn'"):
        tracer_of("gpt2").sever("hidden")
    with pytest.raises(StateError, match="no position 7"):
        tracer_of("gpt2").sever("mlp", pos=7)


@FAMILIES
def test_a_cell_of_the_grid_is_what_restoring_its_states_gives(family):
    tracer = tracer_of(family)
    result = tracer.trace()
    for kind in KINDS:
        for pos, layer in [(2, 1), (3, 3), (6, 0)]:
            assert tracer.cell(pos, layer, kind) == result.cell(pos, layer, kind)
            again = probability(tracer, tracer.cell(pos, layer, kind))
            assert result.scores[kind][pos, layer] == pytest.approx(again, abs=EXACT)


def test_the_same_seed_gives_the_same_bits_in_any_order():
    first, second = tracer_of("gpt2"), tracer_of("gpt2")
    second.restore([(3, 3, "attn")])
    assert np.array_equal(first.trace().scores["mlp"], second.trace().scores["mlp"])


@pytest.mark.parametrize(
    ("n_layers", "window"), [(5, 1), (6, 3), (8, 3), (12, 5), (23, 7), (24, 10), (48, 10)]
)
def test_default_window(n_layers, window):
    assert default_window(n_layers) == window
