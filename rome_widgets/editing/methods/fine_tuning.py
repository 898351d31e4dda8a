"""Fine-tuning of one matrix, as the paper's baselines do it: FT, and FT-L with a bound.

Weight and bias of one layer's matrix follow the gradient of -log p(target | prompt). The change
is added to the matrix's output while it is looked for, so that no weight is written.

Source:
    Meng et al. 2022, appendix E.2, after Zhu et al. 2020. The published code reads every target
    token from the one prediction after the prompt; here each follows those before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rome_widgets.editing.methods.descent import descend
from rome_widgets.editing.methods.editor import Editor, Found, Task
from rome_widgets.editing.prompt_rows import PromptRow, prefixed_rows
from rome_widgets.editing.settings import Known, Settings, number, published_model
from rome_widgets.editing.site import Site
from rome_widgets.model.chosen_logits import logits_at
from rome_widgets.model.hooks import Seen, run_hooked
from rome_widgets.model.language_model import LanguageModel, upcast
from rome_widgets.model.ledger import Dense
from rome_widgets.records.edit import EditStep


@dataclass(frozen=True)
class FineTuningSettings(Settings):
    """Numbers that decide how a matrix is fine-tuned.

    Raises:
        SettingsError: A value outside its bounds.

    Example:
        >>> settings = rw.FineTuningSettings(steps=10)
        >>> change = rw.edit(lm, rw.bundled.facts()[0], method="ft", settings=settings)
        >>> change.report.settings["steps"]
        10
    """

    learning_rate: float = number(5e-4, above=0)
    """Of Adam."""
    steps: int = number(25, at_least=1)
    """Most passes; there is one update less."""
    stop_loss: float = number(0.01, at_least=0)
    """Stop once the loss is below it, nats."""
    max_change: float | None = number(None, above=0)
    """The most that an element of the weights may change; None: as much as it likes."""


_LAYERS = {"gpt2-xl": 1, "gpt-j-6b": 21}
"""The published layers without a bound; with one it is layer 0."""
_MAX_CHANGE = {"gpt2-medium": 2e-3, "gpt2-large": 1e-3, "gpt2-xl": 5e-4, "gpt-j-6b": 5e-5}
_OTHER_MAX_CHANGE = 5e-4
"""As of GPT-2 XL. A step of Adam moves an element by its rate, 5e-4: a bound of many steps' length
binds nothing."""


class FineTuning(Editor):
    """Both methods; where one is `bounded`, `max_change` has a value though nobody gives one."""

    changes = "the last matrix of one MLP, and its bias"
    settings = FineTuningSettings
    source = "Zhu et al. 2020, as in Meng et al. 2022"

    def __init__(self, title: str, *, bounded: bool) -> None:
        self.title, self.bounded = title, bounded

    @property
    def numbers(self) -> Sequence[str]:
        """The bound only where there is one."""
        bound = ["max_change"] if self.bounded else []
        return ["learning_rate", "steps", *bound, "stop_loss"]

    def known(self, lm: LanguageModel, card: Mapping[str, Any] | None = None) -> Known:
        """The published table's settings, else the card's, else the published defaults."""
        model = published_model(lm.name, lm.n_layers)
        if card and model is None:
            return super().known(lm, card)
        source = "the published defaults" if model is None else "the published table"
        if not self.bounded:
            return Known(FineTuningSettings(), source, _LAYERS.get(model or ""))
        bound = _MAX_CHANGE.get(model or "", _OTHER_MAX_CHANGE)
        return Known(FineTuningSettings(max_change=bound), source, None if model is None else 0)

    def edit(self, task: Task) -> Found:
        """Dense updates of the matrix and its bias."""
        settings: FineTuningSettings = task.settings
        site, why = task.choose_site()
        (row,) = prefixed_rows(site.lm, task.request, ("",))
        changes = {site.weight_name: torch.zeros_like(site.weight, dtype=site.dtype)}
        if getattr(site.module, "bias", None) is not None:
            bias = site.lm.model.get_parameter(f"{site.name}.bias")
            changes[f"{site.name}.bias"] = torch.zeros_like(bias, dtype=site.dtype)
        leaves = [change.requires_grad_() for change in changes.values()]

        def look() -> tuple[EditStep, Tensor]:
            return _look(site, row, task.request.target_ids, leaves)

        @torch.no_grad()
        def bound() -> None:
            if (limit := settings.max_change) is not None:
                for leaf in leaves:
                    leaf.clamp_(-limit, limit)

        steps, stopped = descend(task, leaves, settings.learning_rate, look, bound)
        updates = [
            Dense(name, change.detach().cpu(), site.transposed) for name, change in changes.items()
        ]
        return Found(updates, (site.layer,), why, steps, stopped)


def _look(
    site: Site, row: PromptRow, target_ids: Sequence[int], leaves: Sequence[Tensor]
) -> tuple[EditStep, Tensor]:
    """One pass: its figures, and the loss."""
    ids, wanted = site.lm.rows([row.ids]), torch.tensor([row.wanted], device=site.lm.device)

    def changed(seen: Seen) -> Tensor:
        keys, change = seen.args[0].double(), leaves[0].double()  # never in TF32
        more = keys @ (change if site.transposed else change.T)
        more = more + leaves[1] if len(leaves) > 1 else more
        return seen.output + more.view(seen.output.shape).to(seen.output)

    logits = run_hooked(lambda: logits_at(site.lm, ids, wanted), [(site.module, changed)])
    predicted = upcast(logits[0])
    loss = functional.cross_entropy(predicted, torch.tensor(target_ids, device=predicted.device))
    nll = float(loss.detach())
    return EditStep(nll, nll, 0.0, 0.0, math.exp(-nll), float(leaves[0].detach().norm())), loss
