"""Rank-one model editing: one key gets one value, and other keys as little as can be.

"rome" is the published recipe: the direction comes from the mean key over prefixed prompts, the
divisor from the bare prompt's. "r-rome" uses the mean key for both, so that its divisor is
positive; it under-writes the bare prompt by ρ.

Source:
    Meng et al. 2022, section 3.1, and the published code; r-rome: Gupta et al. 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rome_widgets.editing.key import Keys, direction, read_keys
from rome_widgets.editing.methods import Found, Task
from rome_widgets.editing.prefixes import prefixes
from rome_widgets.editing.request import about_row, context_rows
from rome_widgets.editing.rewrite_passes import Passes
from rome_widgets.editing.statistics import second_moment
from rome_widgets.editing.value import FoundValue, find_value
from rome_widgets.errors import EditRefused
from rome_widgets.model.ledger import LowRank
from rome_widgets.records.edit import EditProgress

SMALL_DIVISOR = 0.1
"""k·u below this share of k̄·u is warned of: the edit is then ten times what the mean key needs."""


@dataclass(frozen=True)
class RankOne:
    """The method; `consistent` uses the mean key everywhere."""

    consistent: bool

    numbers: ClassVar = (
        "learning_rate",
        "steps",
        "clamp",
        "kl",
        "weight_decay",
        "stop_loss",
        "ridge",
    )

    def __call__(self, task: Task) -> Found:
        """The rank-one update Λuᵀ, with W'k = v* at the key that the method divides by."""
        site, settings = task.site, task.settings
        moment = second_moment.choose(
            site,
            task.second_moment,
            wanted=settings.use_second_moment,
            ridge=settings.ridge,
            progress=task.progress,
            cancel=task.cancel,
        )
        texts = prefixes(site.lm, settings, task.seed, task.check)
        task.progress(EditProgress("prefixes", 1, 1))
        rows = context_rows(site.lm, task.request, texts)
        about = about_row(site.lm, task.request, settings.kl_position)
        passes = Passes(site, rows, about)
        keys = read_keys(passes)
        u = direction(moment, keys.mean)
        task.progress(EditProgress("key", 1, 1))
        value = find_value(site, passes, task.request.target_ids, settings, task.step_done)
        update = self._update(task, keys, u, value)
        return Found(
            [update],
            value.steps,
            value.stopped,
            {
                "prefixes": texts,
                "second_moment": moment.about,
                "key_dot_u": float(keys.bare @ u),
                "mean_key_dot_u": float(keys.mean @ u),
                "rho": float((keys.bare @ u) / (keys.mean @ u)),
                "key_cosine": float(torch.cosine_similarity(keys.bare, keys.mean, dim=0)),
                "key_norm": float(keys.bare.norm()),
                "value_norm": float(value.start.norm()),
                "delta_norm": float(value.delta.norm()),
                "clamped": value.clamped,
            },
            tuple(self._warnings(task, keys, u)),
        )

    def _update(self, task: Task, keys: Keys, u: Tensor, value: FoundValue) -> LowRank:
        site = task.site
        wanted = value.start.double() + value.delta.double()
        key = keys.mean if self.consistent else keys.bare
        before = keys.mean_value if self.consistent else keys.bare_value
        divisor = key @ u
        if not abs(float(divisor)) > 1e-12 * float(key.norm()):
            raise EditRefused(
                f"k·u is {float(divisor):.2g}: the key is orthogonal to the edit's direction.",
                "A divisor away from zero was wanted.",
                'Use method="r-rome", whose divisor is positive.',
            )
        v = (wanted - before) / divisor
        return LowRank(
            site.weight_name,
            u.to(site.dtype).cpu()[None],
            v.to(site.dtype).cpu()[None],
            site.transposed,
        )

    def _warnings(self, task: Task, keys: Keys, u: Tensor) -> list[str]:
        found = []
        bare, mean = float(keys.bare @ u), float(keys.mean @ u)
        if not self.consistent and bare < SMALL_DIVISOR * mean:
            found.append(
                f"k·u is {bare:.3g}, against {mean:.3g} for the mean key: the edit is large and "
                'may disable the model. Try method="r-rome".'
            )
        if self.consistent and not 0.5 < bare / mean < 2:
            found.append(
                f"ρ is {bare / mean:.2f}: the bare prompt's value changes by that share of what "
                "was optimised."
            )
        prompt_end = len(task.site.lm.encode(task.request.prompt, task.request.fact.subject).ids)
        last = task.site.layer == task.site.lm.n_layers - 1
        if last and _subject_stop(task) != prompt_end:
            found.append(
                "In the last layer a change at the subject cannot reach the prediction after it: "
                "the optimisation has nothing to go by. Choose a lower layer."
            )
        return found


def _subject_stop(task: Task) -> int:
    fact = task.request.fact
    span = (fact.subject_start, fact.subject_start + len(fact.subject))
    return task.site.lm.encode(fact.text, span).subject_span[1]


EDITORS = {"rome": RankOne(consistent=False), "r-rome": RankOne(consistent=True)}
