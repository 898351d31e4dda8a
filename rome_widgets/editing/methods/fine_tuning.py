"""Fine-tuning of the same matrix, as the paper's baselines do it: "ft", and "ft-l" with a bound.

Weight and bias of one layer's matrix follow the gradient of -log p(target | prompt). The change
is added to the matrix's output while it is looked for, so that no weight is written.

Source:
    Meng et al. 2022, appendix E.2, after Zhu et al. 2020. The published code reads every target
    token from the one prediction after the prompt; here each follows those before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rome_widgets.editing.methods import Found, Task
from rome_widgets.editing.request import Row, context_rows
from rome_widgets.errors import NonFinite
from rome_widgets.model.hooks import Seen, run_hooked
from rome_widgets.model.language_model import upcast
from rome_widgets.model.ledger import Dense
from rome_widgets.model.structure.geometry import all_logits
from rome_widgets.records.edit import EditStep


@dataclass(frozen=True)
class FineTuning:
    """The method; `bounded` keeps every element within `settings.max_change` of its value."""

    bounded: bool

    @property
    def numbers(self) -> Sequence[str]:
        """The settings that it goes by."""
        bound = ("max_change",) if self.bounded else ()
        return ("learning_rate", "steps", *bound, "stop_loss")

    def __call__(self, task: Task) -> Found:
        """Dense updates of the matrix and its bias."""
        site, settings = task.site, task.settings
        (row,) = context_rows(site.lm, task.request, ("",))
        changes = {site.weight_name: torch.zeros_like(site.weight, dtype=site.dtype)}
        if getattr(site.module, "bias", None) is not None:
            bias = site.lm.model.get_parameter(f"{site.name}.bias")
            changes[f"{site.name}.bias"] = torch.zeros_like(bias, dtype=site.dtype)
        leaves = [change.requires_grad_() for change in changes.values()]
        optimizer = torch.optim.Adam(leaves, lr=settings.learning_rate or 5e-4)
        steps: list[EditStep] = []
        stopped = "steps"
        for number in range(settings.steps):
            step, gradients = site.lm.run(lambda: _look(task, row, leaves), gradients=True)
            steps.append(step)
            task.step_done(number, step)
            if settings.reached(step.loss, step.nll):
                stopped = "loss"
                break
            if number == settings.steps - 1:
                break
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            optimizer.step()
            if self.bounded and settings.max_change is not None:
                with torch.no_grad():
                    for leaf in leaves:
                        leaf.clamp_(-settings.max_change, settings.max_change)
        updates = [
            Dense(name, change.detach().cpu(), site.transposed) for name, change in changes.items()
        ]
        return Found(updates, tuple(steps), stopped)


def _look(task: Task, row: Row, leaves: Sequence[Tensor]) -> tuple[EditStep, Sequence[Tensor]]:
    """One pass: its figures, and the gradients."""
    site = task.site
    ids = torch.tensor([row.ids], device=site.lm.device)

    def changed(seen: Seen) -> Tensor:
        keys = seen.args[0].to(site.dtype)
        more = keys @ (leaves[0] if site.transposed else leaves[0].T)
        more = more + leaves[1] if len(leaves) > 1 else more
        return seen.output + more.view(seen.output.shape).to(seen.output)

    logits = run_hooked(lambda: all_logits(site.lm.model, ids), [(site.module, changed)])
    predicted = upcast(logits[0, list(row.wanted)]).log_softmax(dim=-1)
    target = torch.tensor(task.request.target_ids, device=predicted.device)
    loss = -predicted.gather(1, target[:, None]).mean()
    nll = float(loss.detach())
    norm = float(leaves[0].detach().norm())
    if not math.isfinite(nll):
        raise NonFinite(
            f"Fine-tuning diverged: its loss is {nll}.",
            "Finite numbers were wanted; the model is unchanged.",
            "Try a smaller learning_rate, or load the model in float32.",
        )
    step = EditStep(nll, nll, 0.0, 0.0, math.exp(-nll), norm)
    return step, torch.autograd.grad(loss, list(leaves))


EDITORS = {"ft": FineTuning(bounded=False), "ft-l": FineTuning(bounded=True)}
