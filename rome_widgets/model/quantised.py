"""Whether a model's weights are plain numbers, whatever it was loaded from.

transformers hangs a quantizer on a model also where it unpacked every weight while loading, as it
does with a GGUF file. What decides is what the weights are now.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

PLAIN_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def is_quantised(model: nn.Module) -> bool:
    """Whether transformers quantised it and some weight is still packed.

    Packed weights are parameters of another class or dtype; tables of whole numbers among the
    buffers (GPTQ, AWQ); or numbers that a `forward` of the quantizer's rounds as it reads them.
    """
    if getattr(model, "hf_quantizer", None) is None:
        return False
    tables = [buffer for buffer in model.buffers() if buffer.ndim == 2 and min(buffer.shape) > 1]
    return (
        not all(map(is_plain, model.parameters()))
        or any(table.dtype not in PLAIN_DTYPES for table in tables)
        or any(map(_rounds, model.modules()))
    )


def is_plain(weight: Tensor) -> bool:
    """Whether it is a tensor of torch's own, of floating-point numbers."""
    own = type(weight) in (Tensor, nn.Parameter) and type(weight.data) is Tensor
    return own and weight.dtype in PLAIN_DTYPES


def _rounds(module: nn.Module) -> bool:
    held = vars(module)  # accelerate, too, puts a forward there, and says so
    replaced = "forward" in held and "_hf_hook" not in held
    own = isinstance(module, nn.Linear) and type(module).forward is not nn.Linear.forward
    return (replaced or own) and "weight" in module._parameters


def unpacked_from(model: Any) -> str:
    """What transformers unpacked the weights from, such as "a.gguf"; "" where it did not."""
    if getattr(model, "hf_quantizer", None) is None or is_quantised(model):
        return ""
    config = getattr(model.config, "quantization_config", None)
    method = getattr(config, "quant_method", None) or "quantised"
    return getattr(config, "gguf_file", "") or f"a {getattr(method, 'value', method)} checkpoint"


def as_plain(model: Any) -> Any:
    """The same weights in an outermost module that says nothing of what they were unpacked from.

    As transformers itself wants it before it saves such a model; the user's module stays as it is.
    """
    plain = copy.copy(model)
    plain.config = copy.deepcopy(model.config)
    say_plain(plain)
    return plain


def say_plain(model: Any) -> None:
    """Take off what says that the weights of this module and its configuration are quantised."""
    for held, name in (
        (model, "hf_quantizer"),
        (model, "quantization_method"),
        (model.config, "quantization_config"),
    ):
        vars(held).pop(name, None)
    model.is_quantized = False
