"""Gradients that must be there: where none arrives it is an error, not a zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rome_widgets.errors import UnsupportedModel


def gradients_of(total: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of a number with respect to each leaf.

    Raises:
        UnsupportedModel: To one of them none arrives.
    """
    found: Sequence[Tensor | None] = (None,)
    if total.requires_grad:
        found = torch.autograd.grad(total, leaves, allow_unused=True)
    there = tuple(gradient for gradient in found if gradient is not None)
    if len(there) < len(leaves):
        raise UnsupportedModel(
            "No gradient arrives from the model's prediction at what is changed inside it.",
            "A model that can be differentiated was wanted.",
            "Does its code, or a hook on it, say torch.no_grad(), .detach() or .data?",
        )
    return there
