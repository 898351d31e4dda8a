"""The matrix of one layer that an edit changes: where it is, and whether it may be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rome_widgets.errors import EditRefused, SettingsError, said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.quantised import PLAIN_DTYPES, is_quantised
from rome_widgets.model.structure.edited_matrix import is_adapter
from rome_widgets.records.html import and_more
from rome_widgets.records.numbers import as_whole


@dataclass(frozen=True)
class Site:
    """The edited matrix of one layer: the last one of its MLP, which writes to the residual stream.

    It says by which name the model has it and how it is stored; the weight is read when asked for.
    """

    lm: LanguageModel
    layer: int
    name: str
    """Of the module."""
    transposed: bool
    """Whether the weight is stored `[d_in, d_out]`. By the type of the module: the shape does
    not tell where the matrix is square."""

    @property
    def module(self) -> nn.Module:
        """The module with the matrix."""
        return self.lm.model.get_submodule(self.name)

    @property
    def weight_name(self) -> str:
        """The parameter's name."""
        return f"{self.name}.weight"

    @property
    def weight(self) -> Tensor:
        """As it is stored."""
        return self.lm.model.get_parameter(self.weight_name)

    @property
    def dtype(self) -> torch.dtype:
        """In which the edit is computed: the weight's, but at least float32."""
        return torch.promote_types(torch.float32, self.weight.dtype)

    @property
    def d_in(self) -> int:
        """Width of a key."""
        return self.weight.shape[0 if self.transposed else 1]


def why_not(lm: LanguageModel, layer: int) -> str | None:
    """Why no edit is possible at this layer, a clause; None where one is."""
    name = lm.geometry.edited_matrices[layer]
    if name is None:
        return lm.geometry.edit_refusal[layer] or "it has no single matrix to edit"
    module: Any = lm.model.get_submodule(name)
    if any(weight.is_inference() for weight in lm.model.parameters()):
        return "its weights were made under torch.inference_mode, so that no gradient passes them"
    if is_quantised(lm.model):
        return "the model is quantised"
    if not isinstance(module, (nn.Linear, Conv1D)):
        return f"{name} is a {type(module).__name__}, not a plain matrix"
    weight = module._parameters.get("weight")
    if weight is None:
        return f"the weight of {name} is computed from other parameters"
    if type(weight) is not nn.Parameter or type(weight.data) is not Tensor:
        return f"the weight of {name} is quantised or sharded ({type(weight.data).__name__})"
    if weight.dtype not in PLAIN_DTYPES:
        return f"the weight of {name} is stored as {weight.dtype}"
    if weight.device.type == "meta" or getattr(getattr(module, "_hf_hook", None), "offload", False):
        return f"{name} is offloaded by accelerate, so that a change would be lost"
    if weight is getattr(lm.model.get_input_embeddings(), "weight", None):
        return f"{name} is tied to the embedding"
    return None


def is_gated(lm: LanguageModel, layer: int) -> bool:
    """Whether the MLP multiplies two products of its input, as Llama's does, and not only one.

    By size: beside the edited matrix it has then twice as many weights.
    """
    name = lm.geometry.edited_matrices[layer] or ""
    mlp, last = lm.model.get_submodule(name.rpartition(".")[0]), lm.model.get_submodule(name)
    others = [module for module in mlp.children() if module is not last]
    matrices = [getattr(module, "weight", None) for module in others]
    sizes = [each.numel() for each in matrices if isinstance(each, Tensor) and each.ndim == 2]
    return sum(sizes) > 1.5 * lm.model.get_parameter(f"{name}.weight").numel()


def is_post_normed(lm: LanguageModel) -> bool:
    """Whether a norm follows the edited matrices before anything is added, as in Gemma 2 and 3."""
    pairs = zip(lm.geometry.edited_matrices, lm.geometry.mlp, strict=False)
    return any(matrix and not f"{matrix}.".startswith(f"{added}.") for matrix, added in pairs)


def _remedy(lm: LanguageModel, layer: int) -> str:
    """What to do where a layer cannot be edited."""
    if any(weight.is_inference() for weight in lm.model.parameters()):
        return "Load the model outside torch.inference_mode(); torch.no_grad() saves as much."
    block = lm.model.get_submodule(lm.geometry.blocks[layer])
    if lm.geometry.edited_matrices[layer] is None and any(map(is_adapter, block.modules())):
        return (
            "Merge the adapter, model.merge_and_unload(), and edit the matrix of what it returns."
        )
    if foreign := lm.foreign:
        return f"Take off {and_more(foreign)}, edit, and put it back."
    return "Load the model unquantised, on one device; it can be traced as it is."


def editable_layers(lm: LanguageModel) -> list[int]:
    """The layers whose matrix can be edited.

    Raises:
        EditRefused: There is none, with the reason.
    """
    editable = [each for each in range(lm.n_layers) if why_not(lm, each) is None]
    if not editable:
        raise EditRefused(
            f"{lm.name} has no layer that can be edited: {why_not(lm, 0)}.",
            "A plain matrix of floating-point numbers that nothing else uses was wanted.",
            _remedy(lm, 0),
        )
    return editable


def find_site(lm: LanguageModel, layer: int) -> Site:
    """The matrix to edit at this layer.

    Raises:
        SettingsError: The model has no such layer.
        EditRefused: No edit is possible there, with the reason.
    """
    if (number := as_whole(layer)) is None:
        raise SettingsError(f"The layer is {said(layer)}.", "A whole number was wanted.")
    layer = number
    if not -lm.n_layers <= layer < lm.n_layers:
        raise SettingsError(
            f"There is no layer {said(layer)}.", f"Layers run from 0 to {lm.n_layers - 1}."
        )
    layer %= lm.n_layers
    reason = why_not(lm, layer)
    name = lm.geometry.edited_matrices[layer]
    if reason is not None or name is None:
        others = ", ".join(map(str, editable_layers(lm)))
        raise EditRefused(
            f"{lm.name} cannot be edited at layer {layer}: {reason}.",
            "A plain matrix of floating-point numbers that nothing else uses was wanted.",
            f"These layers can be edited: {others}.",
        )
    module = lm.model.get_submodule(name)
    if not torch.isfinite(lm.model.get_parameter(f"{name}.weight")).all():
        raise EditRefused(
            f"{name} has NaN or infinity in its weights.", "Finite weights were wanted."
        )
    return Site(lm, layer, name, isinstance(module, Conv1D))
