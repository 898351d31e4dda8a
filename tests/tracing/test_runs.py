"""Memory, sharing and refusals of the runs behind a tracer."""

import gc
import weakref

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import ModelChanged, NonFinite, OutOfMemory
from rome_widgets.records.states import KINDS
from rome_widgets.tracing import replayed_runs, runs
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.replayed_runs import ReplayedRuns
from tests.helpers import tiny

NOISE = Noise.absolute(2.0)
FAMILIES = pytest.mark.parametrize("family", tiny.FAMILIES)


def tracer_of(lm, **options):
    options = {"noise": NOISE, "samples": tiny.SAMPLES} | options
    return rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, **options)


class Memory:
    """A device that holds at most so many tokens of a block's call at a time."""

    def __init__(self, lm, tokens):
        self.tokens, self.refused = tokens, 0
        blocks = [lm.model.get_submodule(name) for name in lm.geometry.blocks]
        self._handles = [block.register_forward_pre_hook(self._call) for block in blocks]

    def _call(self, block, args):
        if args[0].shape[0] * args[0].shape[1] > self.tokens:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self._handles:
            handle.remove()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("tokens", [7, 11, 40, 150])
def test_out_of_memory_at_any_batch_size_gives_the_same_numbers(family, tokens):
    """7 tokens are one row of the prompt."""
    lm = tiny.tiny_lm(family, scale=40, dtype=torch.float64)
    tracer = tracer_of(lm)
    whole = tracer.trace()
    before = lm.tokens_per_call
    with Memory(lm, tokens) as memory:
        again = tracer.trace()
        assert memory.refused
        tracer.trace()
        refused = memory.refused
        tracer.trace()
        assert memory.refused == refused, "the size that fits was not remembered"
    assert 1 <= lm.tokens_per_call < before
    for kind in KINDS:
        np.testing.assert_allclose(again.scores[kind], whole.scores[kind], atol=1e-14)


def test_rows_that_are_done_are_not_done_again():
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer, seen = tracer_of(lm), []
    with Memory(lm, 20):
        tracer.trace(progress=lambda progress: seen.append(progress.done))
    assert seen == sorted(set(seen))
    assert seen[-1] == 105


def test_no_room_for_one_row_is_an_error_and_the_next_trace_works():
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer = tracer_of(lm)
    before = lm.tokens_per_call
    uses = [
        tracer.trace,
        lambda: tracer.restore([(2, 1, "hidden")]),
        lambda: tracer.sever("mlp"),
        tracer.estimate,
        lambda: tracer_of(lm, seed=2),
    ]
    for use in uses:
        with Memory(lm, 0), pytest.raises(OutOfMemory, match="Tried to allocate") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert lm.tokens_per_call == before
    assert tracer.trace().complete


@pytest.mark.parametrize("where", ["the head", "between two blocks"])
def test_out_of_memory_outside_a_block_does_not_make_blocks_slow(where, monkeypatch):
    """Fewer cells at once, but as many tokens to a call as before."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer = tracer_of(lm)
    whole, before = tracer.trace(), lm.tokens_per_call
    refused = []
    if where == "the head":
        logits = type(lm.replay).logits

        def small(self, hidden):
            if len(hidden) > 5:
                refused.append(len(hidden))
                raise torch.OutOfMemoryError("no room")
            return logits(self, hidden)

        monkeypatch.setattr(type(lm.replay), "logits", small)
    else:
        put = runs.Placed.put

        def small(self, target):
            if len(target) > 8:
                refused.append(len(target))
                raise torch.OutOfMemoryError("no room")
            put(self, target)

        monkeypatch.setattr(runs.Placed, "put", small)
    again = tracer.trace()
    assert refused
    assert lm.tokens_per_call == before
    for kind in KINDS:
        np.testing.assert_allclose(again.scores[kind], whole.scores[kind], atol=1e-6)


def test_no_tensor_outlives_an_out_of_memory():
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer, kept = tracer_of(lm), []

    def watch(block, args, output):
        kept.append(weakref.ref(output))

    block = lm.model.get_submodule(lm.geometry.blocks[2])
    handle = block.register_forward_hook(watch)
    with Memory(lm, 12):
        tracer.trace()
    handle.remove()
    gc.collect()
    assert len(kept) > 10
    assert not any(ref() is not None for ref in kept)


# ---------------------------------------------------------------------------- shared runs


def counting_captures(lm, monkeypatch):
    captures = []
    capture = type(lm.replay).capture

    def counted(self, *args, **kwargs):
        captures.append(self)
        return capture(self, *args, **kwargs)

    monkeypatch.setattr(type(lm.replay), "capture", counted)
    return captures


def test_tracers_of_one_prompt_and_noise_share_their_runs(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40)
    captures = counting_captures(lm, monkeypatch)
    first = tracer_of(lm)
    second = tracer_of(lm, window=3, answer="w7")
    assert len(captures) == 1
    assert second.restore([]).clean != first.restore([]).clean
    others = [tracer_of(lm, seed=2), tracer_of(lm, samples=3), tracer_of(lm, noise=2.0)]
    others += [rw.CausalTracer(lm, tiny.PROMPT, "w14", noise=NOISE, samples=tiny.SAMPLES)]
    assert len(captures) == 1 + len(others)


def test_runs_go_when_no_tracer_keeps_them(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40)
    captures = counting_captures(lm, monkeypatch)
    tracer = tracer_of(lm)
    kept = weakref.ref(tracer._runs)
    del tracer
    gc.collect()
    assert kept() is None
    tracer_of(lm)
    assert len(captures) == 2


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_runs_of_other_weights_are_refused_and_new_ones_are_made(engine):
    lm = tiny.tiny_lm("gpt2", scale=40)
    if engine != "replay":
        lm.replay = None
    tracer = tracer_of(lm)
    weight = lm.model.transformer.h[2].mlp.c_proj.weight
    saved = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(2)
    for use in (tracer.trace, lambda: tracer.restore([]), lambda: tracer.sever("mlp")):
        with pytest.raises(ModelChanged, match="Make a new CausalTracer"):
            use()
    assert tracer_of(lm).clean != tracer.clean
    with torch.no_grad():
        weight.copy_(saved)


@pytest.mark.parametrize("engine", ["replay", "whole passes"])
def test_what_leaves_no_mark_on_the_weights_is_noticed_by_what_the_model_says(engine):
    """A user's own hook, and a weight written through `.data`: new tracers see them, old refuse."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    if engine != "replay":
        lm.replay = None
    tracer = tracer_of(lm)
    block = lm.model.transformer.h[2].mlp
    handle = block.register_forward_hook(lambda module, args, output: output * 0)
    ablated = tracer_of(lm)
    assert ablated.clean != tracer.clean
    with pytest.raises(ModelChanged):
        tracer.trace()
    handle.remove()
    assert tracer.trace().complete
    with pytest.raises(ModelChanged):
        ablated.trace()
    saved = block.c_proj.weight.data.clone()
    block.c_proj.weight.data.mul_(2)
    assert tracer_of(lm).clean != tracer.clean
    with pytest.raises(ModelChanged):
        tracer.trace()
    block.c_proj.weight.data.copy_(saved)
    assert tracer_of(lm).clean == tracer.clean


def test_another_implementation_of_attention_makes_new_runs():
    """What was captured with one is not what the other takes: its masks have other types."""
    for family in ("gpt2", "neox", "llama"):
        lm = tiny.tiny_lm(family, scale=40)
        tracer = tracer_of(lm)
        lm.model.set_attn_implementation("eager")
        with pytest.raises(ModelChanged):
            tracer.restore([(2, 1, "hidden")])
        fast = tracer_of(lm).trace()
        lm.replay = None
        slow = tracer_of(lm).trace()
        for kind in KINDS:
            np.testing.assert_allclose(fast.scores[kind], slow.scores[kind], atol=1e-5)


# ------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_half_precision_is_replayed_as_whole_passes_compute_it(family, dtype):
    lm = tiny.tiny_lm(family, scale=40, dtype=dtype)
    assert lm.engine == "replay"
    fast = tracer_of(lm).trace()
    lm.replay = None
    slow = tracer_of(lm).trace()
    for kind in KINDS:
        assert np.ptp(slow.scores[kind]) > 0.05
        np.testing.assert_allclose(fast.scores[kind], slow.scores[kind], atol=5e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("scale", [1, 20])
def test_a_soft_cap_that_hardly_bends_is_not_left_out(scale, dtype):
    from tests.helpers.families import FAMILIES, tiny_family

    assert "gemma2" in FAMILIES
    model = tiny_family("gemma2").to(dtype)
    model.config.final_logit_softcapping = 30.0
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    assert lm.engine == "replay"
    fast = tracer_of(lm, noise=1.0).trace()
    lm.replay = None
    slow = tracer_of(lm, noise=1.0).trace()
    for kind in fast.kinds:
        np.testing.assert_allclose(fast.scores[kind], slow.scores[kind], atol=2e-3)


def test_infinity_that_a_restoration_brings_names_its_module():
    """The clean and the corrupted run are finite; only a replayed block is not."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer = tracer_of(lm)
    block = lm.model.get_submodule(lm.geometry.blocks[3])
    handle = block.mlp.register_forward_hook(lambda module, args, output: output / 0.0)
    with pytest.raises(NonFinite, match=r"first in transformer\.h\.4"):
        tracer.trace()
    handle.remove()
    assert tracer.trace().complete


def test_a_short_prompt_of_one_subject_token_traces():
    lm = tiny.tiny_lm("gpt2", scale=40)
    for prompt, subject in (("w3 w5", "w3"), ("w3 w5", "w5"), ("w3", "w3")):
        tracer = rw.CausalTracer(lm, prompt, subject, noise=NOISE, samples=2)
        trace = tracer.trace()
        assert isinstance(tracer._runs, ReplayedRuns)
        lm.replay, replay = None, lm.replay
        slow = rw.CausalTracer(lm, prompt, subject, noise=NOISE, samples=2).trace()
        lm.replay = replay
        for kind in KINDS:
            np.testing.assert_allclose(trace.scores[kind], slow.scores[kind], atol=1e-6)


def test_many_samples_are_split_within_a_cell(monkeypatch):
    lm = tiny.tiny_lm("gpt2", scale=40, dtype=torch.float64)
    tracer = tracer_of(lm, samples=30)
    whole = tracer.trace()
    monkeypatch.setattr(ReplayedRuns, "tokens_per_call", 10)
    monkeypatch.setattr(replayed_runs, "UNEMBEDDED", 7 * tiny.VOCAB)
    split = tracer.trace()
    for kind in KINDS:
        np.testing.assert_allclose(split.scores[kind], whole.scores[kind], atol=1e-14)
