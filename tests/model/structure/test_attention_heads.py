"""Where heads write, in every family: found, or refused with a reason."""

import pytest
import torch

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.structure import attention_heads as module
from rome_widgets.model.structure.attention_heads import find_attention_heads
from tests.helpers import tiny
from tests.tracing.test_heads import MATRICES


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_last_matrix_of_attention_is_found_and_split(family):
    lm = tiny.shared_lm(family, dtype=torch.float64)
    heads = find_attention_heads(lm)
    assert heads.matrices == tuple(MATRICES[family].format(at) for at in range(tiny.N_LAYERS))
    assert (heads.n_heads, heads.width) == (2, 4)
    assert heads.slice_of(1) == slice(4, 8)
    assert find_attention_heads(lm) is heads


def test_heads_that_do_not_add_up_are_refused(monkeypatch):
    written = module.AttentionHeads.written
    monkeypatch.setattr(
        module.AttentionHeads, "written", lambda self, *given: 1.01 * written(self, *given)
    )
    with pytest.raises(UnsupportedModel, match="do not add up"):
        find_attention_heads(tiny.tiny_lm("llama"))


def test_a_number_of_heads_that_does_not_fit_is_refused():
    lm = tiny.tiny_lm("llama")
    lm.model.config.num_attention_heads = 3
    with pytest.raises(UnsupportedModel, match="3 heads do not fit"):
        find_attention_heads(lm)
