"""Find where attention heads write: the last matrix of each block's attention, split by heads.

That matrix reads the heads side by side, so what one head writes is its slice of the input times
its slice of the weight. Found by a probe pass: it is the one matrix beside the MLP whose output is,
bit for bit, that of a module around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.hooks import Seen, run_hooked
from rome_widgets.model.quantised import is_plain
from rome_widgets.model.structure.geometry import Geometry, all_logits, probe_ids, tolerance


@dataclass(frozen=True)
class AttentionHeads:
    """Names the matrices through which attention heads write."""

    matrices: tuple[str, ...]
    """Per block; the input is `[batch, pos, n_heads * width]`."""
    n_heads: int
    width: int
    """Of a head's slice of the input."""

    def slice_of(self, head: int) -> slice:
        """A head's part of the input."""
        return slice(head * self.width, (head + 1) * self.width)

    def written(self, model: nn.Module, layer: int, head: int, read: Tensor) -> Tensor:
        """`[..., d_model]` that a head writes, from its `[..., width]` slice of the input."""
        matrix: Any = model.get_submodule(self.matrices[layer])
        weight = matrix.weight if isinstance(matrix, Conv1D) else matrix.weight.T
        return read.to(weight) @ weight[self.slice_of(head)]


def find_attention_heads(model: Any, geometry: Geometry) -> AttentionHeads:
    """The heads of a model, checked: together with the bias they write what its attention does.

    To be called where stand-ins of the model run.

    Raises:
        UnsupportedModel: Its attention cannot be taken apart into heads, with the reason.
    """
    config = model.config.get_text_config()
    n_heads = getattr(config, "num_attention_heads", None)
    if not geometry.attn or not isinstance(n_heads, int):
        raise _refusal(model, "its configuration names no attention heads")
    if any("linear" in str(each) for each in getattr(config, "layer_types", None) or ()):
        raise _refusal(model, "some of its layers are of linear attention")
    seen = _what_modules_read_and_write(model, geometry)
    found = [_matrix(model, geometry, block, seen) for block in geometry.blocks]
    widths = {seen[name][0].shape[-1] for name in found}
    if len(widths) > 1 or any(width % n_heads for width in widths):
        raise _refusal(model, f"{n_heads} heads do not fit its widths {sorted(widths)}")
    heads = AttentionHeads(tuple(found), n_heads, widths.pop() // n_heads)
    for layer, name in enumerate(found):
        weight = model.get_submodule(name).weight
        if not isinstance(weight, Tensor) or not is_plain(weight) or weight.is_meta:
            raise _refusal(model, f"the weight of {name} is packed or offloaded")
        _check(model, heads, layer, *seen[name])
    return heads


def _what_modules_read_and_write(
    model: nn.Module, geometry: Geometry
) -> dict[str, tuple[Tensor, Tensor]]:
    """Of every module in a block but those of its MLP, in a probe pass."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[[Seen], None]:
        def visit(each: Seen) -> None:
            read = each.output if each.entering is None else each.entering
            seen[name] = read.detach().clone(), each.output.detach().clone()

        return visit

    watching = [
        (module, keep(name))
        for block, mlp in zip(geometry.blocks, geometry.mlp or geometry.blocks, strict=True)
        for name, module in model.named_modules()
        if name.startswith(f"{block}.") and not f"{name}.".startswith(f"{mlp}.")
    ]
    ids = probe_ids(model)
    run_hooked(lambda: all_logits(model, ids), watching)
    return seen


def _matrix(
    model: nn.Module, geometry: Geometry, block: str, seen: dict[str, tuple[Tensor, Tensor]]
) -> str:
    """The matrix of a block whose output is that of a module around it, not the MLP's."""
    edited = {name for name in geometry.edited_matrices if name}
    found = [
        name
        for name in seen
        if name.startswith(f"{block}.")
        and name not in edited
        and isinstance(model.get_submodule(name), nn.Linear | Conv1D)
        and any(
            name.startswith(f"{around}.") and torch.equal(out.flatten(), seen[name][1].flatten())
            for around, (_, out) in seen.items()
        )
    ]
    if len(found) != 1:
        raise _refusal(model, f"{block} has {len(found)} matrices that end an attention")
    return found[0]


def _check(model: nn.Module, heads: AttentionHeads, layer: int, read: Tensor, out: Tensor) -> None:
    bias: Any = model.get_submodule(heads.matrices[layer]).bias
    parts = [
        heads.written(model, layer, head, read[..., heads.slice_of(head)])
        for head in range(heads.n_heads)
    ]
    total = torch.stack(parts).sum(dim=0) + (0 if bias is None else bias)
    if not (total - out).abs().max() <= tolerance(out.dtype) * out.abs().max():
        raise _refusal(model, f"the heads of layer {layer} do not add up to its attention")


def _refusal(model: nn.Module, why: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"The attention of {type(model).__name__} cannot be taken apart into heads: {why}.",
        "One matrix per block that reads the heads side by side was wanted.",
        "Trace kind 'attn', which is all heads of a layer together.",
    )
