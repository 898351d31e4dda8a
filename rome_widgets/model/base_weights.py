"""The model as it was before its edits: run without touching a weight, and named by a digest.

Statistics of the keys are of the original model (Meng et al. 2022, section 3.1: C is computed
once). A matrix below the layer in question may carry edits by then, so its output is computed
from the ledger's copy instead, by the module's own operation: bit for bit what it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rome_widgets.model.hooks import Visitor
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import ledger_of

SAMPLED = 1024
"""Values per parameter, evenly spaced, that go into the digest of a model."""


UneditedOutput = Callable[[Tensor], Tensor]
"""From what an edited module reads, what it put out before its edits."""


def unedited_modules(lm: LanguageModel) -> list[tuple[nn.Module, UneditedOutput]]:
    """Every module that an edit has changed, as it was."""
    copies: dict[str, dict[str, Tensor]] = {}
    for name, copy in ledger_of(lm.model).bases.items():
        module, _, parameter = name.rpartition(".")
        place = lm.model.get_parameter(name).device
        copies.setdefault(module, {})[parameter] = copy.to(place)
    modules = [(lm.model.get_submodule(name), some) for name, some in copies.items()]
    return [(module, _original(module, some)) for module, some in modules]


def without_edits(lm: LanguageModel) -> list[tuple[nn.Module, Visitor]]:
    """Visitors under which the model runs as if it carried no edit."""
    return [
        (module, lambda seen, original=original: original(seen.args[0]))
        for module, original in unedited_modules(lm)
    ]


def _original(module: Any, copies: Mapping[str, Any]) -> UneditedOutput:
    def put_out(keys: Tensor) -> Tensor:
        weight = copies.get("weight", module.weight)
        bias = copies.get("bias", module.bias)
        if isinstance(module, Conv1D):
            flat = torch.addmm(bias, keys.reshape(-1, keys.shape[-1]), weight)
            return flat.view(*keys.shape[:-1], -1)
        return nn.functional.linear(keys, weight, bias)

    return put_out


def digest_without_edits(lm: LanguageModel) -> str:
    """Tells models apart by their weights without any edit.

    Of every parameter its name, shape, dtype and some evenly spaced values: a second for a model
    that SHA-256 over all bytes would take minutes for. A training step changes nearly all values.
    """
    return _digest(lm, ledger_of(lm.model).bases)


def digest_of_weights(lm: LanguageModel) -> str:
    """The same of the weights as they are now, edits and all."""
    return _digest(lm, {})


def _digest(lm: LanguageModel, copies: Mapping[str, Any]) -> str:
    found = hashlib.sha256()
    for name, parameter in lm.model.named_parameters():
        weight: Any = copies.get(name, parameter)
        found.update(f"\0{name} {tuple(weight.shape)} {weight.dtype}".encode())
        if not weight.is_meta and weight.numel():
            flat = weight.detach().reshape(-1)
            some = flat[:: max(1, len(flat) // SAMPLED)].cpu().contiguous()
            found.update(some.view(torch.uint8).numpy().data)
    return found.hexdigest()
