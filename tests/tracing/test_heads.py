"""What one attention head writes, restored: cell by cell as the slow reference has it."""

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import StateError, UnsupportedModel
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import families, reference, tiny
from tests.tracing.test_equality import by_reference

MATRICES = {
    "gpt2": "transformer.h.{}.attn.c_proj",
    "gptj": "transformer.h.{}.attn.out_proj",
    "neox": "gpt_neox.layers.{}.attention.dense",
    "llama": "model.layers.{}.self_attn.o_proj",
}
WIDTH = tiny.D_MODEL // 2
FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)


def setting(family, noise=None, **options):
    lm = tiny.shared_lm(family, scale=40, dtype=torch.float64)
    *arguments, drawn = by_reference(family, torch.float64)
    noise = drawn if noise is None else noise
    given = noise.numpy() if isinstance(noise, torch.Tensor) else rw.Subject("w21 w2")
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=given, **options)
    return tracer, (*arguments, noise)


def expected(arguments, family, layer, positions, metric):
    def one(pos, head):
        cell = (pos, layer, head, WIDTH)
        return reference.head(*arguments, cell, metric, MATRICES[family])

    return np.array([[one(pos, head) for head in range(2)] for pos in positions])


@FAMILIES
def test_every_head_of_a_layer_equals_the_reference(family):
    tracer, arguments = setting(family)
    wanted = expected(arguments, family, 1, range(1, 7), ("probability", tracer.answer_id))
    found = tracer.heads(1)
    assert (found.layer, found.positions) == (1, tuple(range(1, 7)))
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(found.scores, wanted, atol=1e-9)


@pytest.mark.parametrize("noise", [None, [21, 2]])
def test_heads_are_measured_as_the_tracer_measures(noise):
    options = {"metric": "logit_difference", "against": 11}
    tracer, arguments = setting("llama", noise, **options)
    metric = "logit_difference", tracer.answer_id, 11
    wanted = expected(arguments, "llama", 2, [2, 6], metric)
    found = tracer.heads(2, [6, 2])
    np.testing.assert_allclose(found.scores, wanted, atol=1e-9)
    assert (found.metric, found.against) == ("logit_difference", "w11")
    np.testing.assert_allclose(found.indirect_effect, wanted - tracer.corrupted, atol=1e-9)
    one = tracer.heads(-3, 2)
    np.testing.assert_allclose(one.scores, wanted[:1], atol=1e-9)
    assert one.to_frame().score.tolist() == one.scores[0].tolist()


def test_a_family_with_a_norm_behind_its_attention_is_taken_apart_before_it():
    """Gemma 2's attention leaves through a norm, where contributions of heads do not add up."""
    family = families.FAMILIES["gemma2"]
    lm = rw.LanguageModel(families.tiny_family("gemma2"), tiny.word_tokenizer())
    ids = [int(word[1:]) for word in tiny.PROMPT.split()]
    std = 3 * float(lm.model.get_input_embeddings().weight.detach().std())
    noise = reference.draws(1, 3, 2, families.D_MODEL, std)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise.numpy())
    arguments = lm.model, family.names, ids, (1, 3), noise
    found = tracer.heads(1, [2, 6])
    for row, pos in enumerate(found.positions):
        for head in range(2):
            cell, metric = (pos, 1, head, 4), ("probability", tracer.answer_id)
            matrix = "model.layers.{}.self_attn.o_proj"
            wanted = reference.head(*arguments, cell, metric, matrix)
            assert found.scores[row, head] == pytest.approx(wanted, abs=1e-6)


def test_few_cells_at_a_time_give_the_same(monkeypatch):
    tracer, _ = setting("gpt2")
    whole = tracer.heads(1).scores
    monkeypatch.setattr(type(tracer._runs), "tokens_per_call", 1)
    np.testing.assert_allclose(tracer.heads(1).scores, whole, atol=1e-12)


def test_a_severed_layer_stays_severed():
    tracer, _ = setting("gpt2")
    cut = tracer.sever("attn", 2)
    np.testing.assert_allclose(cut.heads(1, 2).scores, tracer.corrupted, atol=1e-12)
    assert np.ptp(tracer.heads(1, 2).scores) > 1e-6


def test_what_cannot_be_asked_is_refused():
    tracer, _ = setting("gpt2")
    for layer, pos in ((9, None), (1, 99), (1, "x"), ("x", 1), (1, [])):
        with pytest.raises(StateError):
            tracer.heads(layer, pos)
    lm = rw.LanguageModel(families.tiny_family("mamba"), tiny.word_tokenizer())
    with pytest.raises(UnsupportedModel, match="cannot be taken apart into heads"):
        CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=rw.Noise.absolute(1)).heads(0)
