"""Memory, sharing and refusals of the runs behind a tracer."""

import gc
import weakref

import numpy as np
import pytest
import tiny
import torch

import rome_widgets as rw
from rome_widgets.errors import ModelChanged, NonFinite, OutOfMemory
from rome_widgets.results import KINDS
from rome_widgets.tracing import runs
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.runs import ReplayedRuns

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


@FAMILIES
@pytest.mark.parametrize("tokens", [6, 7, 11, 20, 40, 80, 150])
def test_out_of_memory_at_any_batch_size_gives_the_same_numbers(family, tokens):
    """6 tokens are one row from the first corrupted position on."""
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
    with Memory(lm, 0), pytest.raises(OutOfMemory, match="Tried to allocate") as caught:
        tracer.trace()
    assert "more" not in str(caught.value).split("row:")[1].split(".")[-1]
    assert tracer.trace().complete


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


# ------------------------------------------------------------------------------ numbers


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
    monkeypatch.setattr(runs, "UNEMBEDDED", 7 * tiny.VOCAB)
    split = tracer.trace()
    for kind in KINDS:
        np.testing.assert_allclose(split.scores[kind], whole.scores[kind], atol=1e-14)
