"""Text token by token: with or without a cache, the logits are those of whole passes."""

import pytest
import torch

from rome_widgets.model.generation import IncrementalDecoder
from rome_widgets.model.structure.geometry import all_logits
from tests.helpers import tiny
from tests.helpers.library_hooks import as_of_a_library

ROWS = torch.tensor([[3, 14, 15, 9, 26, 5, 8, 11, 2], [2, 7, 1, 8, 28, 18, 4, 0, 6]])


def lm_of(family, *, cache=True):
    lm = tiny.tiny_lm(family, scale=40, dtype=torch.float64)
    if not cache:
        lm.replay = None
    return lm


def tokens_per_call(lm):
    """A list that fills with how many positions each call of the first block gets."""
    seen = []
    block = lm.model.get_submodule(lm.geometry.blocks[0])

    def note(module, args, kwargs):
        seen.append((args or (kwargs["hidden_states"],))[0].shape[1])

    handle = block.register_forward_pre_hook(as_of_a_library(note), with_kwargs=True)
    return seen, handle


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_growing_rows_give_the_logits_of_whole_passes(family, cache):
    """By one token and by several at a time."""
    lm = lm_of(family, cache=cache)
    writer = IncrementalDecoder(lm)
    for length in (3, 4, 5, 8, 9):
        found = lm.run(lambda length=length: writer.logits(ROWS[:, :length]))
        wanted = lm.run(lambda length=length: all_logits(lm.model, ROWS[:, :length])[:, -1])
        assert found.shape == (len(ROWS), tiny.VOCAB)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("cache", "expected"), [(True, [3, 1, 4]), (False, [3, 4, 8])])
def test_with_a_cache_only_new_positions_run(cache, expected):
    lm = lm_of("gpt2", cache=cache)
    seen, handle = tokens_per_call(lm)
    writer = IncrementalDecoder(lm)
    for length in (3, 4, 8):
        lm.run(lambda length=length: writer.logits(ROWS[:, :length]))
    handle.remove()
    assert seen == expected


def test_the_models_settings_of_sampling_do_not_matter():
    lm = lm_of("llama")
    wanted = lm.run(lambda: IncrementalDecoder(lm).logits(ROWS[:, :4]))
    lm.model.generation_config.update(do_sample=True, temperature=9.0, top_k=1, use_cache=False)
    assert torch.equal(lm.run(lambda: IncrementalDecoder(lm).logits(ROWS[:, :4])), wanted)
    assert torch.equal(lm.run(lambda: IncrementalDecoder(lm).logits(ROWS[:, :4])), wanted)


def test_greedy_text_is_that_of_transformers():
    lm = lm_of("llama")
    writer, rows = IncrementalDecoder(lm), ROWS[:1, :4]
    for _ in range(6):
        logits = lm.run(lambda rows=rows: writer.logits(rows))
        rows = torch.cat([rows, logits.argmax(dim=-1, keepdim=True)], dim=1)
    wanted = lm.model.generate(
        ROWS[:1, :4],
        attention_mask=torch.ones(1, 4, dtype=torch.long),
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert rows.tolist() == wanted.tolist()
