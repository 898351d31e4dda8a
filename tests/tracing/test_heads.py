"""What one attention head writes, restored: cell by cell as the slow reference has it."""

import threading

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import Cancelled, StateError, UnsupportedModel
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
    monkeypatch.setattr(type(tracer._runs), "tokens_per_pass", 1)
    np.testing.assert_allclose(tracer.heads(1).scores, whole, atol=1e-12)


@pytest.mark.parametrize(("kind", "layers"), [("attn", [2, 3]), ("mlp", [1, 2, 3])])
def test_a_head_is_restored_where_its_attention_is_severed(kind, layers):
    """What is severed above it stays at its corrupted values."""
    tracer, arguments = setting("gpt2")
    model, names, *_ = arguments
    found = tracer.sever(kind, 2).heads(1, 2).scores
    noted, metric = {}, ("probability", tracer.answer_id)

    def first(out):
        return out[0] if isinstance(out, tuple) else out

    def note_then_hold(layer):
        def hook(module, args, out):
            if layer in noted:
                first(out)[1:, 2] = noted[layer]
            else:
                noted[layer] = first(out)[1:, 2].clone()

        return model.get_submodule(names[kind].format(layer)).register_forward_hook(hook)

    handles = [note_then_hold(layer) for layer in layers if layer < tiny.N_LAYERS]
    try:
        reference.scores(*arguments, [], *metric)
        wanted = expected(arguments, "gpt2", 1, [2], metric)
    finally:
        for handle in handles:
            handle.remove()
    assert np.ptp(wanted) > 1e-6
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert abs(found - tracer.heads(1, 2).scores).max() > 1e-6


def test_progress_is_told_and_a_cancel_carries_what_there_is(monkeypatch):
    tracer, _ = setting("gpt2")
    whole, told, stop = tracer.heads(1).scores, [], threading.Event()
    monkeypatch.setattr(type(tracer._runs), "tokens_per_pass", 1)

    def tell(so_far):
        told.append(int(np.isfinite(so_far.scores).sum()))
        if len(told) == 3:
            stop.set()

    with pytest.raises(Cancelled, match="after 3 of 12 heads") as stopped:
        tracer.heads(1, progress=tell, cancel=stop)
    assert told == [1, 2, 3]
    partial = stopped.value.partial
    np.testing.assert_allclose(partial.scores.flat[:3], whole.flat[:3], atol=1e-12)
    assert np.isnan(partial.scores.flat[3:]).all()
    assert partial.strongest()[2] == partial.scores.flat[:3].max()
    assert "head" in repr(partial) + partial._repr_html_()
    with pytest.raises(Cancelled) as stopped:
        tracer.heads(1, cancel=stop)
    assert "nan" in repr(stopped.value.partial)


def test_what_cannot_be_asked_is_refused():
    tracer, _ = setting("gpt2")
    for layer, pos in ((9, None), (1, 99), (1, "x"), ("x", 1), (1, [])):
        with pytest.raises(StateError):
            tracer.heads(layer, pos)
    lm = rw.LanguageModel(families.tiny_family("mamba"), tiny.word_tokenizer())
    with pytest.raises(UnsupportedModel, match="cannot be taken apart into heads"):
        CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=rw.Noise.absolute(1)).heads(0)
