"""The estimate: right for small steps, harmless to the model, and in roughly the right order."""

import numpy as np
import pandas as pd
import pytest
import torch

import rome_widgets as rw
from rome_widgets import bundled
from rome_widgets.errors import NonFinite, UnsupportedModel
from rome_widgets.model.hooks import Seen
from rome_widgets.records.states import KINDS
from rome_widgets.tracing import attribution as module
from rome_widgets.tracing.attribution import attribution_patching
from rome_widgets.tracing.metric import Measure
from rome_widgets.tracing.runs import Runs
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import reference, tiny
from tests.helpers.counts import ESTIMATED_FACTS
from tests.helpers.gates import write_gate
from tests.helpers.model_guard import attached_hooks

IDS = [int(word[1:]) for word in tiny.PROMPT.split()]
SPAN, ANSWER, STEP = (1, 3), 5, 1e-3
SITES = [(kind, layer) for kind in KINDS for layer in range(tiny.N_LAYERS)]

MEASURED = {"hidden": (0.617, 0.22), "mlp": (0.721, 0.18), "attn": (0.644, 0.18)}
"""Rank correlation with the exact grid on 60 facts of the bundled model: mean, and standard
deviation between facts. A mean over n facts may lie three standard errors below; a few facts
(David Oistrakh, Hudson Bay) are far below the rest, so that n is not to be small."""


def draws(samples=1):
    return reference.draws(1, samples, SPAN[1] - SPAN[0], tiny.D_MODEL, 0.5)


def forward(family, model, noise, changed=None):
    """Plain hooks: log p(answer) of a corrupted row, and the states it passed through."""
    names, states, handles = tiny.NAMES[family], {}, []

    def corrupt(_, __, output):
        output = output.clone()
        output[:, SPAN[0] : SPAN[1]] += noise
        return output

    def hook(key):
        def see(_, __, output):
            state = (output[0] if isinstance(output, tuple) else output).clone()
            states[key] = state.clone()
            if changed and key in changed:
                pos, value = changed[key]
                state[:, pos] = value
            return (state, *output[1:]) if isinstance(output, tuple) else state

        return see

    embedding = model.get_submodule(names["embedding"])
    handles.append(embedding.register_forward_hook(corrupt))
    for kind, layer in SITES:
        site = model.get_submodule(names[kind].format(layer))
        handles.append(site.register_forward_hook(hook((kind, layer))))
    try:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([IDS])).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    return float(logits.log_softmax(0)[ANSWER]), states


def tiny_step(family):
    """A model, one draw, and clean states a small step away from the corrupted ones."""
    lm = tiny.tiny_lm(family, scale=10, dtype=torch.float64)
    noise = draws()
    _, clean = forward(family, lm.model, torch.zeros_like(noise))
    log_p, corrupted = forward(family, lm.model, noise)
    near = {key: corrupted[key] + STEP * (clean[key] - corrupted[key]) for key in SITES}
    return lm, noise, log_p, corrupted, near


def run(lm, noise, clean, kinds=KINDS, window=1):
    return attribution_patching(the_runs(lm, noise, clean), Measure(ANSWER), kinds, window)


def the_runs(lm, noise, clean):
    runs = Runs(lm, IDS, range(*SPAN), noise)
    runs.states = clean
    return runs


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_small_step_is_estimated_as_restoring_it_turns_out(family):
    lm, noise, log_p, corrupted, near = tiny_step(family)
    found = run(lm, noise, near)
    for kind, layer in SITES:
        for pos in range(len(IDS)):
            back = 2 * corrupted[kind, layer] - near[kind, layer]
            up, down = (
                forward(family, lm.model, noise, {(kind, layer): (pos, value[0, pos])})[0]
                for value in (near[kind, layer], back)
            )
            slope = (np.log(found[kind][pos, layer]) - log_p) / STEP
            # Llama's norms and GPT-J's attention are in float32 whatever the model is in.
            assert slope == pytest.approx((up - down) / (2 * STEP), rel=1e-3, abs=3e-4)
    assert np.ptp(np.log(found["mlp"])) / STEP > 3e-2, "nothing to compare"


def test_a_window_is_the_sum_of_its_layers():
    lm, noise, log_p, _, near = tiny_step("gpt2")
    one, three = (
        {kind: np.log(grid) - log_p for kind, grid in run(lm, noise, near, window=size).items()}
        for size in (1, 3)
    )
    np.testing.assert_allclose(three["hidden"], one["hidden"], atol=1e-14)
    for kind in ("mlp", "attn"):
        padded = np.pad(one[kind], ((0, 0), (1, 1)))
        expected = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        np.testing.assert_allclose(three[kind], expected, atol=1e-14)


def test_samples_are_averaged_however_many_run_at_once(monkeypatch):
    lm, _, _, _, near = tiny_step("gpt2")
    noise = draws(5)
    alone = [run(lm, noise[i : i + 1], near) for i in range(5)]
    together = run(lm, noise, near)
    monkeypatch.setattr(module, "TOKENS_PER_PASS", 2 * len(IDS))
    in_turns = run(lm, noise, near)
    for kind in KINDS:
        expected = np.mean([grids[kind] for grids in alone], axis=0)
        np.testing.assert_allclose(together[kind], expected, rtol=1e-10)
        np.testing.assert_allclose(in_turns[kind], expected, rtol=1e-10)


def a_tracer(family="gpt2", **options):
    lm = tiny.tiny_lm(family, scale=40, **options)
    return CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=draws(tiny.SAMPLES).numpy())


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_where_nothing_can_differ_the_estimate_is_the_corrupted_probability(family, dtype):
    tracer = a_tracer(family, dtype=dtype)
    trace = tracer.estimate()
    close = {"rtol": 1e-5 if dtype == torch.float32 else 0.2, "atol": 1e-9}
    for kind in KINDS:
        assert trace.scores[kind].shape == (len(IDS), tiny.N_LAYERS)
        assert ((trace.scores[kind] >= 0) & (trace.scores[kind] <= 1)).all()
        np.testing.assert_allclose(trace.scores[kind][: SPAN[0]], tracer.corrupted, **close)
    np.testing.assert_allclose(trace.scores["hidden"][:-1, -1], tracer.corrupted, **close)


def test_an_estimate_says_that_it_is_one(tmp_path):
    tracer = a_tracer()
    trace = tracer.estimate(kinds="mlp")
    assert trace.estimated
    assert trace.kinds == ("mlp",)
    assert "estimate" in repr(trace)
    assert trace.chart().to_dict()["hconcat"][0]["title"] == "MLP (estimate)"
    assert rw.load_trace(trace.save(tmp_path / "t")).estimated
    assert not tracer.trace().estimated
    assert "estimate" not in repr(tracer.trace())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("trainable", [True, False])
def test_it_works_in_every_grad_mode_and_touches_nothing(mode, trainable):
    tracer = a_tracer()
    expected = tracer.estimate()
    model = tracer.lm.model.requires_grad_(trainable)
    with mode():
        found = tracer.estimate()
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    for kind in KINDS:
        np.testing.assert_allclose(found.scores[kind], expected.scores[kind], rtol=1e-5)
    assert all(weight.grad is None for weight in model.parameters())
    assert all(weight.requires_grad == trainable for weight in model.parameters())
    assert attached_hooks(model) == []
    model.requires_grad_(True)


def test_a_model_in_training_is_estimated_without_its_dropout():
    tracer = a_tracer()
    expected = tracer.estimate()
    tracer.lm.model.train()
    found = tracer.estimate()
    assert tracer.lm.model.training
    tracer.lm.model.eval()
    np.testing.assert_array_equal(found.scores["mlp"], expected.scores["mlp"])


def test_only_the_kinds_asked_for_are_read():
    lm, noise, _, _, near = tiny_step("gpt2")
    only = {key: state for key, state in near.items() if key[0] == "attn"}
    assert list(run(lm, noise, only, kinds=["attn"])) == ["attn"]


def test_a_state_may_come_as_rows_of_tokens():
    """As the MLP of OPT puts its out: `[batch * pos, d_model]`."""
    state = torch.randn(2 * 7, 8)
    shares = {}
    visit = module._sharing(shares, ("mlp", 0), torch.randn(7, 8), 2)
    with torch.enable_grad():
        out = visit(Seen((), {}, state))
    assert out.shape == state.shape
    torch.testing.assert_close(out.detach(), state)
    assert shares["mlp", 0].shape == (2, 7)


def test_what_is_not_finite_is_refused(monkeypatch):
    lm, noise, _, _, near = tiny_step("gpt2")
    infinite = near | {("mlp", 2): near["mlp", 2] * np.inf}
    with pytest.raises(NonFinite):
        run(lm, noise, infinite)

    def no_numbers(_, places, **options):
        return [place.detach() + np.nan for place in places]

    monkeypatch.setattr(torch.autograd, "grad", no_numbers)
    with pytest.raises(NonFinite, match="gradient"):
        run(lm, noise, near)


def test_offloaded_weights_are_refused():
    lm, noise, _, _, near = tiny_step("gpt2")
    runs = the_runs(lm, noise, near)
    norm = lm.model.transformer.ln_f
    weight = norm.weight
    norm.weight = torch.nn.Parameter(weight.to("meta"))
    try:
        with pytest.raises(UnsupportedModel, match="offloaded"):
            attribution_patching(runs, Measure(ANSWER), KINDS, 1)
    finally:
        norm.weight = weight


def agreement(guess, exact):
    """Rank correlation, and which of the best 1 and 5 cells are the same; 1e-6 apart is a tie."""
    guess, exact = guess.ravel().round(6), exact.ravel().round(6)
    ranks = pd.Series(guess).rank(), pd.Series(exact).rank()
    best, truly = np.argsort(-guess)[:5], np.argsort(-exact)[:5]
    return {
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
        "top1": float(best[0] == truly[0]),
        "top5": len({*best} & {*truly}) / 5,
    }


def test_the_order_of_the_cells_is_roughly_that_of_the_exact_grid(bundled_lm):
    facts = bundled.facts()
    chosen = np.random.RandomState(0).choice(len(facts), ESTIMATED_FACTS, replace=False)
    found = {kind: [] for kind in KINDS}
    for at in chosen:
        tracer = CausalTracer(bundled_lm, facts[at], samples=10)
        start = tracer.subject_span[0]
        guess, exact = tracer.estimate(), tracer.trace()
        for kind in KINDS:
            cells = guess.scores[kind][start:], exact.scores[kind][start:]
            found[kind].append(agreement(*cells))
    figures = {kind: pd.DataFrame(rows).mean().round(3).to_dict() for kind, rows in found.items()}
    least = {kind: min(row["spearman"] for row in rows) for kind, rows in found.items()}
    write_gate("estimate", {"facts": len(chosen), "mean": figures, "least spearman": least})
    for kind, (mean, deviation) in MEASURED.items():
        assert figures[kind]["spearman"] >= mean - 3 * deviation / len(chosen) ** 0.5, figures
