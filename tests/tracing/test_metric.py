"""Every metric of every result equals the slow reference; what cannot be measured is refused."""

import dataclasses
import functools
import threading

import numpy as np
import pytest
import torch

from rome_widgets.errors import Cancelled, StateError
from rome_widgets.records.states import KINDS, State
from rome_widgets.tracing.metric import Measure, added
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import reference, tiny
from tests.helpers.counts import pairs
from tests.tracing.test_equality import by_reference

FAMILIES = pytest.mark.parametrize("family", ["gpt2", "llama"])
ENGINES = pytest.mark.parametrize("engine", ["replay", "whole passes"])
METRICS = ("logprob", "logit_difference")
EACH = pytest.mark.parametrize("metric", METRICS)
PAIRS = pytest.mark.parametrize(
    ("family", "engine", "metric"), pairs(["gpt2", "llama"], ["replay", "whole passes"], METRICS)
)
AGAINST = 11
STATES = [(1, 0, "hidden"), (2, 1, "mlp"), (3, 2, "attn"), (6, 3, "mlp")]


def setting(family, metric, *, engine="replay", samples=None, subject=tiny.SUBJECT):
    """A tracer, the reference's arguments, and how the reference names the metric."""
    lm = tiny.shared_lm(family, scale=40, dtype=torch.float64, engine=engine)
    *arguments, noise = by_reference(family, torch.float64, subject)
    against = AGAINST if metric == "logit_difference" else None
    options = {"noise": noise.numpy(), "window": 3, "metric": metric, "against": against}
    tracer = CausalTracer(lm, tiny.PROMPT, subject, **options)
    assert tracer.answer_id != AGAINST
    return tracer, (*arguments, noise), (metric, tracer.answer_id, against)


@functools.cache
def expected_grid(family, kind, name, answer, against):
    """The reference's grid, once for both engines."""
    arguments = by_reference(family, torch.float64)
    shape = answer, kind, 3, tiny.N_LAYERS
    return np.array(reference.grid(*arguments, *shape, (name, against)))


@PAIRS
def test_every_cell_equals_the_reference(family, engine, metric):
    tracer, arguments, (name, answer, against) = setting(family, metric, engine=engine)
    trace = tracer.trace()
    assert (trace.metric, trace.against_id) == (metric, against)
    for kind in KINDS:
        expected = expected_grid(family, kind, name, answer, against)
        assert np.ptp(expected) > 0.5
        np.testing.assert_allclose(trace.scores[kind], expected, atol=1e-9)
    clean, corrupted = reference.scores(*arguments, [], name, answer, against)
    assert (trace.clean, trace.corrupted) == pytest.approx((clean, corrupted), abs=1e-9)


@PAIRS
def test_sets_and_severed_graphs_equal_the_reference(family, engine, metric):
    tracer, arguments, how = setting(family, metric, engine=engine)
    for states in ([], STATES, STATES[:1]):
        clean, restored = reference.scores(*arguments, states, *how)
        found = tracer.restore(states)
        assert (found.clean, found.score) == pytest.approx((clean, restored), abs=1e-9)
        recovery = (restored - tracer.corrupted) / (clean - tracer.corrupted)
        assert found.recovery == pytest.approx(recovery, abs=1e-9)
        assert found.probability == found.distributions[2, tracer.answer_id]
    severed = tracer.sever("mlp").restore([(2, 1, "hidden")])
    assert severed.corrupted == tracer.corrupted
    assert abs(severed.score - tracer.restore([(2, 1, "hidden")]).score) > 1e-3
    one = tracer.sever("mlp", 2).sever("attn", 2).restore([(2, 0, "hidden")]).score
    assert one == pytest.approx(tracer.sever("attn").sever("mlp").restore([(2, 0, "hidden")]).score)


@FAMILIES
@EACH
def test_a_path_is_the_references_and_its_share_that_of_the_metric(family, metric):
    tracer, arguments, (name, answer, against) = setting(family, metric)
    if tracer.clean < tracer.corrupted:
        tracer, arguments, (name, answer, against) = setting(family, metric, subject="w3 w14")
    candidates = [
        State(pos, layer, kind) for pos in (1, 2, 3) for layer in (0, 2) for kind in KINDS
    ]
    candidates = sorted(each for each in candidates if each.pos >= tracer.subject_span[0])
    told = []
    path = tracer.find_path(0.1, among=candidates, progress=told.append)
    expected, score = reference.greedy_path(*arguments, answer, candidates, 0.1, (name, against))
    grown = told[len(expected) - 1]
    assert grown.states == tuple(expected)
    assert grown.score == pytest.approx(score, abs=1e-9)
    assert (path.metric, path.against) == (tracer.metric, tracer.against)
    assert path.recovery >= 0.1
    assert tracer.restore(path.states).recovery == pytest.approx(path.recovery, abs=1e-9)


@FAMILIES
@EACH
def test_the_lens_reads_the_metric_of_every_layer(family, metric):
    tracer, arguments, how = setting(family, metric)
    lens = tracer.lens(STATES)
    expected = reference.lens(
        *arguments, STATES, tiny.N_LAYERS, of=lambda rows: reference.measured(rows, *how)
    )
    for run in lens.runs:
        np.testing.assert_allclose(run.scores, expected[run.name], atol=1e-9)
    assert lens.runs[0].scores[-1] == pytest.approx(tracer.clean, abs=1e-9)
    assert lens.to_frame().score.tolist()[0] == lens.runs[0].scores[0]


@EACH
def test_the_estimate_is_the_slope_of_the_metric(metric):
    """By finite differences: towards the clean value, one part in a million of the way."""
    family = "gpt2"
    tracer, (model, names, ids, span, noise), how = setting(family, metric)
    estimate = tracer.estimate().scores["mlp"]
    tracer.window = 1
    single = tracer.estimate().scores["mlp"]
    assert not np.allclose(estimate, single)
    step, (pos, layer) = 1e-6, (2, 1)
    module = reference.part(model, names, "mlp", layer)

    def nudge(module, args, output):
        output = output.clone()
        output[1:, pos] += step * (output[0, pos] - output[1:, pos])
        return output

    handle = module.register_forward_hook(nudge)
    nudged = reference.scores(model, names, ids, span, noise, [], *how)[1]
    handle.remove()
    slope = (nudged - tracer.corrupted) / step
    if metric == "logprob" and single[pos, layer] > -1e-9:
        return
    rise = single[pos, layer] - tracer.corrupted
    assert rise == pytest.approx(slope, rel=1e-3)


def test_the_default_is_the_probability_bit_for_bit():
    tracer, _, _ = setting("gpt2", "probability")
    assert (tracer.metric, tracer.against, tracer.against_id) == ("probability", "", None)
    restored = tracer.restore(STATES)
    assert (restored.score, restored.measured) == (restored.probability, None)
    assert tracer.trace().symbol == f"p({tracer.answer.strip()})"


def test_a_difference_is_that_of_the_logarithms():
    """log p(a) - log p(b), as the vocabulary's sum is the same in both."""
    first, _, _ = setting("gpt2", "logit_difference")
    lm, noise = first.lm, by_reference("gpt2", torch.float64)[-1].numpy()
    other = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, metric="logprob", answer=11)
    log_p = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, metric="logprob")
    assert first.clean == pytest.approx(log_p.clean - other.clean, abs=1e-9)
    assert first.corrupted == pytest.approx(log_p.corrupted - other.corrupted, abs=1e-9)
    assert first._runs is log_p._runs


def test_an_improbable_answer_keeps_its_logarithm():
    logits = torch.tensor([0.0, 1000.0])
    assert float(Measure(0, "probability").of(logits)) == 0
    assert float(Measure(0, "logprob").of(logits)) == -1000
    assert float(Measure(0, "logit_difference", 1).of(logits)) == -1000


def test_totals_over_some_draws_each_add_up():
    logits = torch.randn(2, 5, 7, dtype=torch.float64)
    for measure in (Measure(3), Measure(3, "logprob"), Measure(3, "logit_difference", 1)):
        whole = measure.totals(logits)
        parts = added([measure.totals(logits[:, :2]), measure.totals(logits[:, 2:])])
        torch.testing.assert_close(parts, whole)
        torch.testing.assert_close(whole.scores, measure.of(logits).sum(dim=1))


def test_the_cells_of_another_metric_are_not_gone_on_with():
    tracer, _, _ = setting("gpt2", "logprob")
    stop = threading.Event()
    with pytest.raises(Cancelled) as stopped:
        tracer.trace(progress=lambda _: stop.set(), cancel=stop)
    partial = stopped.value.partial
    np.testing.assert_array_equal(
        tracer.trace(resume=partial).scores["mlp"], tracer.trace().scores["mlp"]
    )
    with pytest.raises(StateError, match="metric"):
        tracer.trace(resume=dataclasses.replace(partial, metric="probability"))


@pytest.mark.parametrize("metric", ["probability", *METRICS])
@pytest.mark.parametrize("n_tokens", [29, 300_000])
def test_scores_alone_are_the_same_bits_and_nothing_else_is_kept(metric, n_tokens):
    logits = torch.randn(3, 4, n_tokens, generator=torch.Generator().manual_seed(0))
    measure = Measure(5, metric, 7 if metric == "logit_difference" else None)
    whole = measure.totals(logits)
    alone = dataclasses.replace(measure, alone=True).totals(logits)
    assert torch.equal(alone.scores, whole.scores)
    assert alone.probabilities.shape == (3, 0)
    assert whole.probabilities.shape == (3, n_tokens)


@ENGINES
@pytest.mark.parametrize("metric", ["probability", *METRICS])
def test_a_click_and_its_cell_are_the_same_number(metric, engine):
    """One keeps every token's probability, the other does not."""
    tracer, *_ = setting("gpt2", metric, engine=engine)
    trace = tracer.trace("mlp")
    for pos, layer in [(2, 1), (0, 0), (6, 4)]:
        restored = tracer.restore(tracer.cell(pos, layer, "mlp"))
        (score,) = tracer._scores([tracer.cell(pos, layer, "mlp")], lambda: None)
        assert restored.recovery == pytest.approx(
            (score - tracer.corrupted) / (tracer.clean - tracer.corrupted), abs=1e-12
        )
        assert trace.scores["mlp"][pos, layer] == pytest.approx(score, abs=1e-12)
