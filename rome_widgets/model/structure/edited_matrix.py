"""Find the matrix of each block that ROME edits: the MLP's last one, where there is a single one.

By the numbers of the same probe pass as `residual_branches`.

Source:
    Meng et al. 2022, section 3.1: the edited matrix maps the key to the MLP's output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rome_widgets.model.structure.residual_branches import Block

Found = tuple[str | None, str | None]
"""Name of the matrix and why there is none; one of them is None."""


def find_edited_matrices(
    model: nn.Module, blocks: Sequence[Block], mlp: Sequence[str]
) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """Per block, the matrix whose output is the MLP's own, and why there is none.

    Args:
        model: The model.
        blocks: What a probe pass saw.
        mlp: Per block, the module whose output is the MLP contribution; empty for none.
    """
    if not mlp:
        reason = "its blocks have no single module for the MLP"
        return (None,) * len(blocks), (reason,) * len(blocks)
    owners = _owners(model)
    found = [
        _find_in_block(model, block, site.removeprefix(f"{block.name}."), owners)
        for block, site in zip(blocks, mlp, strict=True)
    ]
    return tuple(name for name, _ in found), tuple(reason for _, reason in found)


def _find_in_block(
    model: nn.Module, block: Block, site: str, owners: dict[int, list[str]]
) -> Found:
    module = model.get_submodule(block.name)
    part = block.parts[site]
    own = part.entering if part.is_norm and part.entering is not None else part.value
    matrices = [
        name
        for name, other in block.parts.items()
        if torch.equal(other.value, own) and _is_matrix(module.get_submodule(name))
    ]
    matrices = _owners_only(module, matrices)
    if len(matrices) != 1:
        return None, _why_none(module, matrices)
    (name,) = matrices
    if is_adapter(module.get_submodule(name)):
        return None, f"{block.name}.{name} carries an adapter that is not merged into the matrix"
    whole = f"{block.name}.{name}"
    weight = module.get_submodule(name)._parameters.get("weight")
    if weight is None:
        return None, f"the weight of {whole} is computed from other parameters"
    shared = [other for other in owners[id(weight)] if other != whole]
    if shared:
        return None, f"the matrix is shared with {', '.join(shared)}"
    return whole, None


def is_adapter(module: nn.Module) -> bool:
    """Whether it is one of PEFT's, which stand in the place of a matrix and hold it inside."""
    return hasattr(module, "base_layer") and hasattr(module, "get_base_layer")


def _owners_only(block: nn.Module, names: Sequence[str]) -> list[str]:
    """Without adapters that now put out what the matrix inside them does: merged, or off."""
    return [
        name
        for name in names
        if not (is_adapter(block.get_submodule(name)) and f"{name}.base_layer" in names)
    ]


def _is_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2


def _why_none(block: nn.Module, matrices: Sequence[str]) -> str:
    if matrices:
        return f"several matrices put out the same: {', '.join(matrices)}"
    # A convolution's weight has three axes too; one of them is 1, as each channel is by itself.
    experts = [w for w in block.parameters() if w.ndim == 3 and min(w.shape) > 1]
    if experts:
        return "its MLP is a choice of experts, so no single matrix makes the output"
    return "no single matrix puts out what the MLP does"


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """Names of the modules that hold each weight, by the weight's id."""
    owners: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(weight), []).append(name.rpartition(".")[0])
    return owners
