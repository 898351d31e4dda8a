"""The value: what the MLP should put out at the last subject token, found by gradient descent.

Source:
    Meng et al. 2022, section 3.1, equation 4, and the published code, which divides the weight
    decay by the squared length of the value before, and reads the KL term at the subject.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rome_widgets.editing.methods.rank_one.settings import RankOneSettings
from rome_widgets.editing.rewrite_passes import Passes
from rome_widgets.editing.site import Site
from rome_widgets.errors import NonFinite
from rome_widgets.records.edit import EditStep

StepDone = Callable[[int, EditStep], None]
"""Told the number of a pass and what it found; raises where the work should stop."""


@dataclass(frozen=True, eq=False)
class FoundValue:
    """The change of the MLP's output, and how it was found."""

    delta: Tensor
    """`[d_model]`, to add to `start`."""
    start: Tensor
    """`[d_model]`: the output before, of the bare prompt."""
    steps: tuple[EditStep, ...]
    clamped: bool
    """Whether the length was cut in the last step."""
    stopped: str
    """"loss" or "steps"."""


def find_value(
    site: Site,
    passes: Passes,
    target_ids: Sequence[int],
    settings: RankOneSettings,
    step_done: StepDone,
) -> FoundValue:
    """Optimise the change so that every row goes on with the target.

    Args:
        site: The matrix.
        passes: The prefixed prompts, and the row that should stay.
        target_ids: Tokens of the target.
        settings: Steps, rates and weights.
        step_done: See `StepDone`.

    Raises:
        NonFinite: The loss is NaN or infinity; nothing was changed.
    """
    start = passes.values[0]
    objective = _Objective(passes, target_ids, settings, float(start.norm()))
    delta = torch.zeros_like(start, requires_grad=True)
    rate = settings.learning_rate_for(float(start.norm()), len(start))
    optimizer = torch.optim.Adam([delta], lr=rate)
    longest = settings.clamp * start.norm()
    steps: list[EditStep] = []
    clamped, stopped = False, "steps"
    for number in range(settings.steps):
        last = number == settings.steps - 1  # nothing follows its gradient
        step, gradient = site.lm.run(lambda: objective.look(delta), gradients=not last)
        steps.append(step)
        step_done(number, step)
        if settings.reached(step.loss, step.nll):
            stopped = "loss"
            break
        if last:
            break
        delta.grad = gradient
        optimizer.step()
        clamped = _clamp(delta, longest)
    return FoundValue(delta.detach(), start, tuple(steps), clamped, stopped)


def _clamp(delta: Tensor, longest: Tensor) -> bool:
    with torch.no_grad():
        length = delta.norm()
        if length <= longest:
            return False
        delta.mul_(longest / length)
        return True


class _Objective:
    """The loss as a function of the change."""

    def __init__(
        self,
        passes: Passes,
        target_ids: Sequence[int],
        settings: RankOneSettings,
        start_norm: float,
    ) -> None:
        self._passes, self._settings = passes, settings
        self._target = torch.tensor([list(target_ids)])
        self._decay = settings.weight_decay / start_norm**2 if start_norm else 0.0
        self._before: Tensor | None = None

    def look(self, delta: Tensor) -> tuple[EditStep, Tensor]:
        """One pass: its figures, and the gradient of the loss."""
        asked, about = self._passes.log_probabilities(delta)
        per_row = self._nll(asked).to(delta)
        weights = self._passes.weights
        nll = weights @ per_row
        kl = self._settings.kl * self._kl(about).to(delta)
        norm = delta.norm()
        decay = self._decay * norm
        loss = nll + kl + decay
        gradient = _gradient(loss, delta)
        probability = weights @ (-per_row).exp()
        figures = torch.stack([loss, nll, kl, decay, probability, norm])
        step = EditStep(*figures.detach().tolist())
        if not (math.isfinite(step.loss) and torch.isfinite(gradient).all()):
            raise NonFinite(
                f"The optimisation of the edit diverged: its loss is {step.loss}.",
                "Finite numbers were wanted; the model is unchanged.",
                "Try a smaller learning_rate or clamp, or load the model in float32.",
            )
        return step, gradient

    def _nll(self, predicted: Tensor) -> Tensor:
        """`[row]`: -log p per target token."""
        target = self._target.to(predicted.device).expand(len(predicted), -1)
        return -predicted.gather(2, target[..., None])[..., 0].mean(dim=1)

    def _kl(self, now: Tensor) -> Tensor:
        if self._before is None:
            self._before = now.detach()
        return (now.exp() * (now - self._before)).sum()


def _gradient(loss: Tensor, delta: Tensor) -> Tensor:
    """Of the change alone; the weights' own gradients are neither computed nor touched."""
    if not loss.requires_grad:
        return torch.zeros_like(delta)
    (gradient,) = torch.autograd.grad(loss, [delta], allow_unused=True)
    return torch.zeros_like(delta) if gradient is None else gradient
