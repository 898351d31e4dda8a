"""What the weights are decides, not what hangs on the model."""

import types

import pytest
import torch
from torch import nn

from rome_widgets.model.quantised import as_plain, is_plain, is_quantised, say_plain, unpacked_from
from tests.helpers import tiny

QUANTIZER = object()


def with_a_quantizer():
    model = tiny.tiny_model("gpt2")
    model.hf_quantizer = QUANTIZER
    model.config.quantization_config = types.SimpleNamespace(quant_method="fp8")
    return model


class Packed(nn.Parameter):
    """A parameter of a library's own class."""


def another_class(matrix):
    matrix.weight = Packed(matrix.weight.detach())


def whole_numbers(matrix):
    matrix.weight = nn.Parameter(matrix.weight.detach().to(torch.int8), requires_grad=False)


def eight_bits(matrix):
    matrix.weight = nn.Parameter(
        matrix.weight.detach().to(torch.float8_e4m3fn), requires_grad=False
    )


def tables(matrix):
    """As GPTQ and AWQ keep them: no parameter at all."""
    del matrix.weight
    matrix.register_buffer("qweight", torch.ones(3, 4, dtype=torch.int32))


def rounding_as_it_reads(matrix):
    matrix.forward = types.MethodType(lambda self, x: x, matrix)


class RoundingLinear(nn.Linear):
    """As BitNet's, which rounds in a forward of its class."""

    def forward(self, x):
        return x.round() @ self.weight.T


def rounding_by_its_class(matrix):
    matrix.__class__ = RoundingLinear


@pytest.mark.parametrize(
    "pack",
    [another_class, whole_numbers, eight_bits, tables, rounding_as_it_reads, rounding_by_its_class],
)
def test_a_matrix_that_is_packed_makes_a_model_quantised(pack):
    model = with_a_quantizer()
    assert not is_quantised(model)
    assert unpacked_from(model) == "a fp8 checkpoint"
    pack(model.transformer.h[2].mlp.c_fc)
    assert is_quantised(model)
    assert unpacked_from(model) == ""
    model.hf_quantizer = None  # whoever edits such a matrix is told what it is
    assert not is_quantised(model)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_transformers_itself_makes_is_plain(family, dtype):
    model = tiny.tiny_model(family, dtype=dtype)
    model.hf_quantizer = QUANTIZER
    assert not is_quantised(model)
    assert all(map(is_plain, model.parameters()))


def test_accelerates_forward_is_no_quantizers():
    accelerate = pytest.importorskip("accelerate")
    model = with_a_quantizer()
    accelerate.hooks.add_hook_to_module(
        model.transformer.h[0].mlp.c_fc, accelerate.hooks.AlignDevicesHook("cpu")
    )
    assert not is_quantised(model)


def test_a_plain_copy_has_the_same_weights_and_the_users_model_stays():
    model = with_a_quantizer()
    plain = as_plain(model)
    assert not hasattr(plain.config, "quantization_config")
    assert getattr(plain, "hf_quantizer", None) is None
    assert plain.transformer is model.transformer
    assert model.hf_quantizer is QUANTIZER
    assert model.config.quantization_config.quant_method == "fp8"
    say_plain(model)
    assert unpacked_from(model) == ""
