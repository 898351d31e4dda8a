"""The runs behind a tracer: in whole passes right by hand, and in as much memory as there is."""

import gc
import weakref

import numpy as np
import pytest
import torch

from rome_widgets.errors import OutOfMemory
from rome_widgets.records.states import KINDS
from tests.helpers import tiny
from tests.helpers.library_hooks import as_of_a_library


class Memory:
    """A device that holds at most so many tokens of a block's call at a time."""

    def __init__(self, lm, tokens):
        self.tokens, self.refused = tokens, 0
        blocks = [lm.model.get_submodule(name) for name in lm.geometry.blocks]
        # As one of ours, since a device is no part of a model's identity.
        refuse = as_of_a_library(lambda block, args: self._call(block, args))
        self._handles = [block.register_forward_pre_hook(refuse) for block in blocks]

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
    tracer = tiny.tiny_tracer(lm)
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
    tracer, seen = tiny.tiny_tracer(lm), []
    with Memory(lm, 20):
        tracer.trace(progress=lambda progress: seen.append(progress.done))
    assert seen == sorted(set(seen))
    assert seen[-1] == 105


def test_no_room_for_one_row_is_an_error_and_the_next_trace_works():
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer = tiny.tiny_tracer(lm)
    before = lm.tokens_per_call
    uses = [
        tracer.trace,
        lambda: tracer.restore([(2, 1, "hidden")]),
        lambda: tracer.sever("mlp"),
        tracer.estimate,
        lambda: tiny.tiny_tracer(lm, seed=2),
    ]
    for use in uses:
        with Memory(lm, 0), pytest.raises(OutOfMemory, match="Tried to allocate") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert lm.tokens_per_call == before
    assert tracer.trace().complete


def test_no_tensor_outlives_an_out_of_memory():
    lm = tiny.tiny_lm("gpt2", scale=40)
    tracer, kept = tiny.tiny_tracer(lm), []

    def watch(block, args, output):
        kept.append(weakref.ref(output))

    block = lm.model.get_submodule(lm.geometry.blocks[2])
    handle = block.register_forward_hook(as_of_a_library(watch))
    with Memory(lm, 12):
        tracer.trace()
    handle.remove()
    gc.collect()
    assert len(kept) > 10
    assert not any(ref() is not None for ref in kept)
