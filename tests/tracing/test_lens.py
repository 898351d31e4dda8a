"""What each layer would say next: as the slow reference reads it; the last layer's is real."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import ModelChanged, StateError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.tracing import lens as module
from rome_widgets.tracing.lens import read_clean_lens
from rome_widgets.tracing.runs import Runs
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import families, reference, tiny

SAMPLES = 3
STATES = [(2, 1, "hidden"), (5, 2, "hidden")]
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}

NORMS = {
    "gpt2": "transformer.ln_f",
    "gptj": "transformer.ln_f",
    "neox": "gpt_neox.final_layer_norm",
    "llama": "model.norm",
}
"""What lies between the last block and the head, from reading each family's modelling code."""


def setting(name, *, dtype=None):
    family = families.FAMILIES[name]
    lm = LanguageModel(families.tiny_family(name, dtype=dtype), tiny.word_tokenizer(), name=name)
    embedding = lm.model.get_input_embeddings().weight.detach().double()
    noise = reference.draws(1, SAMPLES, 2, embedding.shape[1], 3 * float(embedding.std()))
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise.numpy())
    ids = [int(word[1:]) for word in tiny.PROMPT.split()]
    return tracer, (lm.model, family.names, ids, (1, 3), noise)


def check_against(lens, expected, tolerance):
    assert [run.name for run in lens.runs] == list(expected)
    for run in lens.runs:
        said = expected[run.name].numpy()
        answer = said[:, lens.answer_id]
        np.testing.assert_allclose(run.probabilities, answer, atol=tolerance, rtol=tolerance)
        for layer, row in enumerate(said):
            # Of a tie, and rounding makes ties, either order will do.
            above = (row > answer[layer] * (1 + tolerance)).sum()
            level = (row >= answer[layer] * (1 - tolerance)).sum()
            assert above < run.ranks[layer] <= level
            words = [int(token[1:]) for token, _ in run.top[layer]]
            probabilities = [p for _, p in run.top[layer]]
            np.testing.assert_allclose(probabilities, row[words], atol=tolerance)
            assert probabilities == sorted(probabilities, reverse=True)
            assert probabilities[-1] >= np.sort(row)[-len(words)] - tolerance


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_layer_equals_the_reference_and_the_last_is_the_prediction(name):
    tracer, arguments = setting(name)
    expected = reference.lens(*arguments, STATES, families.N_LAYERS)
    lens = tracer.lens(STATES)
    check_against(lens, expected, TOLERANCE[tracer.lm.dtype])
    real = tracer.restore(STATES)
    last = [run.probabilities[-1] for run in lens.runs]
    wanted = [real.clean, real.corrupted, real.probability]
    assert last == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    assert lens.runs[0].top[-1][0][0] == tracer.answer
    assert lens.runs[0].ranks[-1] == 1


@pytest.mark.parametrize("family", NORMS)
def test_a_state_is_read_by_the_models_norm_and_head(family):
    lm = tiny.tiny_lm(family, scale=40, dtype=torch.float64)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=np.zeros((1, 2, tiny.D_MODEL)))
    norm, head = map(lm.model.get_submodule, (NORMS[family], "lm_head"))
    seen = {("hidden", layer): None for layer in range(tiny.N_LAYERS)}
    ids = list(tracer.token_ids)
    reference.run(lm.model, tiny.NAMES[family], ids, (1, 3), torch.zeros(1, 2, 8), (), seen)
    with torch.no_grad():
        states = torch.stack([seen["hidden", layer][0, -1] for layer in range(tiny.N_LAYERS)])
        said = head(norm(states)).softmax(dim=-1)[:, tracer.answer_id]
    np.testing.assert_allclose(tracer.lens().runs[0].probabilities, said, rtol=1e-6)


def _the_layer_before(monkeypatch):
    read = module._read
    monkeypatch.setattr(
        module, "_read", lambda name, lm, states, *rest: read(name, lm, states.roll(1, 0), *rest)
    )


def _the_middle_of_the_prompt(monkeypatch):
    together = Runs.run_side_by_side

    def earlier(self, states, watching, *rest):
        def one_back(watch):
            return lambda runs: watch(type(runs)(*(rows[..., :-1, :] for rows in runs)))

        together(self, states, [(name, one_back(watch)) for name, watch in watching], *rest)

    monkeypatch.setattr(Runs, "run_side_by_side", earlier)


def _no_mean(monkeypatch):
    read = module._mean_predictions

    def of_one_draw(lm, states, *rest):
        return read(lm, states[:, :1], *rest)

    monkeypatch.setattr(module, "_mean_predictions", of_one_draw)


@pytest.mark.parametrize("plant", [_the_layer_before, _the_middle_of_the_prompt, _no_mean])
def test_a_planted_mistake_turns_the_equality_red(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_every_layer_equals_the_reference_and_the_last_is_the_prediction("gpt2")


def test_without_states_there_is_no_restored_run():
    lens = setting("gpt2")[0].lens()
    assert [run.name for run in lens.runs] == ["clean", "corrupted"]
    assert lens.states == ()


def test_a_severed_tracers_lens_ends_in_its_own_prediction():
    tracer, _ = setting("gpt2")
    states = [(1, 0, "hidden"), (2, 0, "hidden")]
    cut = tracer.sever("mlp", 2).sever("attn", 6)
    ends = [each.lens(states).runs[2].probabilities[-1] for each in (cut, tracer)]
    wanted = [each.restore(states).probability for each in (cut, tracer)]
    assert ends == pytest.approx(wanted, rel=1e-6)
    assert ends[0] != pytest.approx(ends[1], rel=1e-3)


def test_few_rows_at_a_time_give_the_same_lens(monkeypatch):
    tracer, _ = setting("llama")
    whole = tracer.lens(STATES)
    monkeypatch.setattr(module, "PROBABILITIES", 2 * tiny.VOCAB)
    monkeypatch.setattr(type(tracer._runs), "tokens_per_call", 3 * 7)
    again = tracer.lens(STATES)
    for one, other in zip(whole.runs, again.runs, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-9)
        assert one.ranks == other.ranks


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_the_last_layer_is_the_prediction_too(dtype):
    tracer, _ = setting("llama", dtype=dtype)
    lens, real = tracer.lens(STATES), tracer.restore(STATES)
    last = [run.probabilities[-1] for run in lens.runs]
    assert last == pytest.approx([real.clean, real.corrupted, real.probability], abs=0.02)


@pytest.mark.parametrize("k", [1, 29, 1000])
def test_as_many_tokens_are_named_as_wanted_and_there_are(k):
    for run in setting("gpt2")[0].lens(k=k).runs:
        assert [len(row) for row in run.top] == [min(k, tiny.VOCAB)] * families.N_LAYERS


@pytest.mark.parametrize("k", [0, -1, True, 1.5, None])
def test_another_number_of_tokens_is_refused(k):
    with pytest.raises(StateError, match=f"k is {k!r}. A whole number"):
        setting("gpt2")[0].lens(k=k)


def test_a_clean_run_with_visitors_is_read_as_the_clean_run_is():
    tracer, _ = setting("gpt2")
    lm = tracer.lm
    mlp = lm.model.get_submodule(lm.sites("mlp")[1])
    same = read_clean_lens("same", lm, tracer.token_ids, tracer.measure, 5, [])
    other = read_clean_lens(
        "other",
        lm,
        tracer.token_ids,
        tracer.measure,
        5,
        [(mlp, lambda seen: torch.zeros_like(seen.output))],
    )
    clean = tracer.lens().runs[0]
    np.testing.assert_allclose(same.probabilities, clean.probabilities, rtol=1e-9)
    assert other.probabilities[0] == pytest.approx(clean.probabilities[0], rel=1e-9)
    assert other.probabilities[1] != pytest.approx(clean.probabilities[1], rel=1e-3)


def test_a_changed_model_is_refused():
    tracer, _ = setting("gpt2")
    weight = tracer.lm.model.get_input_embeddings().weight.data
    saved = weight.clone()
    weight.mul_(2)
    with pytest.raises(ModelChanged):
        tracer.lens()
    weight.copy_(saved)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_head_alone_reads_what_a_pass_over_one_token_reads(family):
    lm = tiny.tiny_lm(family, dtype=torch.float64)
    states = torch.randn(3, tiny.D_MODEL, dtype=torch.float64)
    alone = module._next_token(lm, states)
    lm.replay = None
    assert (module._next_token(lm, states) - alone).abs().max() < 1e-9
