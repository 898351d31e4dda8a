"""Where heads write, in every family: found, or refused with a reason."""

import pytest
import torch
from torch import nn

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.structure import attention_heads as module
from rome_widgets.tracing.heads import attention_heads_of
from tests.helpers import tiny
from tests.tracing.test_heads import MATRICES


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_last_matrix_of_attention_is_found_and_split(family):
    lm = tiny.shared_lm(family, dtype=torch.float64)
    heads = attention_heads_of(lm)
    assert heads.matrices == tuple(MATRICES[family].format(at) for at in range(tiny.N_LAYERS))
    assert (heads.n_heads, heads.width) == (2, 4)
    assert heads.slice_of(1) == slice(4, 8)
    assert attention_heads_of(lm) is heads


def test_heads_that_do_not_add_up_are_refused(monkeypatch):
    written = module.AttentionHeads.written
    monkeypatch.setattr(
        module.AttentionHeads, "written", lambda self, *given: 1.01 * written(self, *given)
    )
    with pytest.raises(UnsupportedModel, match="do not add up"):
        attention_heads_of(tiny.tiny_lm("llama"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float8_e4m3fn, None])
def test_weights_that_are_packed_or_offloaded_are_refused(monkeypatch, dtype):
    """Such a weight is no matrix to multiply by."""
    lm = tiny.tiny_lm("llama")
    find = module._matrix

    def packed(model, geometry, block, seen):
        matrix = model.get_submodule(name := find(model, geometry, block, seen))
        weight = matrix.weight.detach()
        weight = weight.to("meta") if dtype is None else weight.to(dtype)
        monkeypatch.setitem(matrix._parameters, "weight", nn.Parameter(weight, False))
        return name

    monkeypatch.setattr(module, "_matrix", packed)
    with pytest.raises(UnsupportedModel, match="o_proj is packed or offloaded"):
        attention_heads_of(lm)


def test_a_number_of_heads_that_does_not_fit_is_refused():
    lm = tiny.tiny_lm("llama")
    lm.model.config.num_attention_heads = 3
    with pytest.raises(UnsupportedModel, match="3 heads do not fit"):
        attention_heads_of(lm)
