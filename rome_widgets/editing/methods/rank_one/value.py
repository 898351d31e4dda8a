"""The value: what the MLP should put out at the last subject token, found by gradient descent.

Source:
    Meng et al. 2022, section 3.1, equation 4, and the published code, which divides the weight
    decay by the squared length of the value before, and reads the KL term at the subject.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rome_widgets.editing.methods.descent import descend
from rome_widgets.editing.methods.editor import Task
from rome_widgets.editing.methods.rank_one.settings import RankOneSettings
from rome_widgets.editing.rewrite_passes import Passes
from rome_widgets.records.edit import EditStep

SCALE = 0.75
"""First step of the optimisation over the length of the value, where no rate is given."""


@dataclass(frozen=True, eq=False)
class FoundValue:
    """The change of the MLP's output, and how it was found."""

    delta: Tensor
    """`[d_model]`, to add to `start`."""
    start: Tensor
    """`[d_model]`: the output before, of the bare prompt."""
    steps: tuple[EditStep, ...]
    stopped: str
    """"loss" or "steps"."""
    clamped: bool
    """Whether the length was cut in the last step."""


def find_value(task: Task, passes: Passes) -> FoundValue:
    """Optimise the change so that every row of `passes` goes on with the target.

    Raises:
        NonFinite: The loss is NaN or infinity; nothing was changed.
        UnsupportedModel: The model gives no gradient.
    """
    settings: RankOneSettings = task.settings
    start, clamped = passes.values[0], False
    length = start.norm()
    delta = torch.zeros_like(start, requires_grad=True)
    objective = _Objective(task, passes, float(length))

    def clamp() -> None:
        nonlocal clamped
        with torch.no_grad():
            now, longest = delta.norm(), settings.clamp * length
            clamped = not now <= longest
            if clamped:
                delta.mul_(longest / now)

    rate = settings.learning_rate or SCALE * (float(length) or 1.0) / math.sqrt(len(start))
    steps, stopped = descend(task, [delta], rate, lambda: objective.look(delta), clamp)
    return FoundValue(delta.detach(), start, steps, stopped, clamped)


class _Objective:
    """The loss as a function of the change."""

    def __init__(self, task: Task, passes: Passes, length: float) -> None:
        self._passes, self._settings = passes, task.settings
        self._target = torch.tensor([list(task.request.target_ids)], device="cpu")
        self._decay = task.settings.weight_decay / length**2 if length else 0.0
        self._before: Tensor | None = None

    def look(self, delta: Tensor) -> tuple[EditStep, Tensor, Tensor]:
        """One pass: its figures, and what the loss is made of, by the model and by the length."""
        asked, about = self._passes.log_probabilities(delta)
        target = self._target.to(asked.device).expand(len(asked), -1)
        per_row = -asked.gather(2, target[..., None])[..., 0].mean(dim=1).to(delta)
        nll = (self._passes.weights * per_row).sum()
        if self._before is None:
            self._before = about.detach()
        kl = self._settings.kl * (about.exp() * (about - self._before)).sum().to(delta)
        norm = delta.norm()
        decay = self._decay * norm
        said = nll + kl
        loss = said + decay
        probability = (self._passes.weights * (-per_row).exp()).sum()
        figures = torch.stack([loss, nll, kl, decay, probability, norm])
        return EditStep(*figures.detach().tolist()), said, decay
