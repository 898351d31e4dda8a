"""Replaying what can have changed gives what whole passes give, at any size of a call."""

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import Cancelled, ModelChanged, NonFinite
from rome_widgets.records.states import KINDS
from rome_widgets.tracing import replayed_waves, runs
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.replayed_runs import ReplayedRuns
from tests.helpers import tiny
from tests.helpers.library_hooks import as_of_a_library

NOISE = Noise.absolute(2.0)


@pytest.mark.parametrize("where", ["the head", "between two blocks"])
def test_out_of_memory_outside_a_block_does_not_make_blocks_slow(where, monkeypatch):
    """Fewer cells at once, but as many tokens to a call as before."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer = tiny.tiny_tracer(lm)
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


def test_another_implementation_of_attention_makes_new_runs():
    """What was captured with one is not what the other takes: its masks have other types."""
    for family in ("gpt2", "neox", "llama"):
        lm = tiny.tiny_lm(family, scale=40)
        tracer = tiny.tiny_tracer(lm)
        lm.model.set_attn_implementation("eager")
        with pytest.raises(ModelChanged):
            tracer.restore([(2, 1, "hidden")])
        fast = tiny.tiny_tracer(lm).trace()
        lm.replay = None
        slow = tiny.tiny_tracer(lm).trace()
        for kind in KINDS:
            np.testing.assert_allclose(fast.scores[kind], slow.scores[kind], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_half_precision_is_replayed_as_whole_passes_compute_it(family, dtype):
    lm = tiny.tiny_lm(family, scale=40, dtype=dtype)
    assert lm.engine == "replay"
    fast = tiny.tiny_tracer(lm).trace()
    lm.replay = None
    slow = tiny.tiny_tracer(lm).trace()
    for kind in KINDS:
        assert np.ptp(slow.scores[kind]) > 0.05
        np.testing.assert_allclose(fast.scores[kind], slow.scores[kind], atol=5e-3)


def test_infinity_that_a_restoration_brings_names_its_module():
    """The clean and the corrupted run are finite; only a replayed block is not."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer = tiny.tiny_tracer(lm)
    block = lm.model.get_submodule(lm.geometry.blocks[3])
    divide = as_of_a_library(lambda module, args, output: output / 0.0)
    handle = block.mlp.register_forward_hook(divide)
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
    tracer = tiny.tiny_tracer(lm, samples=30)
    whole = tracer.trace()
    monkeypatch.setattr(ReplayedRuns, "tokens_per_call", 10)
    monkeypatch.setattr(replayed_waves, "LOGITS_AT_ONCE", 7 * tiny.VOCAB)
    split = tracer.trace()
    for kind in KINDS:
        np.testing.assert_allclose(split.scores[kind], whole.scores[kind], atol=1e-14)


def test_a_cancel_is_noticed_between_two_calls_of_a_block(monkeypatch):
    """Within one row of the grid, not only between rows."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    monkeypatch.setattr(ReplayedRuns, "tokens_per_call", 8)
    calls = []

    class Flag:
        def is_set(self):
            calls.append(None)
            return len(calls) > 3

    with pytest.raises(Cancelled):
        tiny.tiny_tracer(lm).trace(cancel=Flag())
    assert len(calls) == 4
