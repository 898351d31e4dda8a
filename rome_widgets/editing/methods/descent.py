"""The descent that methods share: Adam on a few tensors, until a loss is small or steps run out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rome_widgets.editing.methods.editor import Task
from rome_widgets.errors import NonFinite
from rome_widgets.model.gradients import gradients_of
from rome_widgets.records.edit import EditStep

Look = Callable[[], tuple[EditStep, *tuple[Tensor, ...]]]
"""One pass: its figures, and the terms of the loss, each differentiable in what is changed."""


def descend(
    task: Task,
    leaves: Sequence[Tensor],
    rate: float,
    look: Look,
    stepped: Callable[[], None] = lambda: None,
) -> tuple[tuple[EditStep, ...], str]:
    """Change `leaves` in place so that a loss falls; the model's own gradients stay as they are.

    Args:
        task: Whose settings say the most passes (`steps`), the loss to stop at (`stop_loss`) and
            perhaps the figure that counts (`stop_on`). There is one update less than passes.
        leaves: Any shapes; they require gradients.
        rate: Adam's.
        look: See `Look`.
        stepped: Called after each update, to keep the leaves within bounds.

    Returns:
        The passes, and why there are no more: "loss" or "steps".

    Raises:
        NonFinite: The loss or its gradient is NaN or infinity.
        UnsupportedModel: The model gives no gradient.
    """
    settings, steps = task.settings, []
    optimizer = torch.optim.Adam(leaves, lr=rate)
    for number in range(settings.steps):
        last = number == settings.steps - 1  # nothing follows its gradient
        step, gradients = task.lm.run(lambda: _pass(look, leaves), gradients=not last)
        steps.append(step)
        task.step_done(number, step)
        if getattr(step, getattr(settings, "stop_on", "loss")) < settings.stop_loss:
            return tuple(steps), "loss"
        if not last:
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            optimizer.step()
            stepped()
    return tuple(steps), "steps"


def _pass(look: Look, leaves: Sequence[Tensor]) -> tuple[EditStep, Sequence[Tensor]]:
    """Figures and gradients; none where nothing follows."""
    step, *terms = look()
    gradients: Sequence[Tensor] = ()
    if torch.is_grad_enabled():
        # Term by term: what a penalty knows of a leaf must not hide that the model knows nothing.
        by_term = zip(*(gradients_of(term, leaves) for term in terms), strict=True)
        gradients = [torch.stack(some).sum(dim=0) if some[1:] else some[0] for some in by_term]
    if not (math.isfinite(step.loss) and all(torch.isfinite(g).all() for g in gradients)):
        raise NonFinite(
            f"The optimisation of the edit diverged: its loss is {step.loss}.",
            "Finite numbers were wanted; the model is unchanged.",
            "Try a smaller learning_rate or bound, or load the model in float32.",
        )
    return step, gradients
