"""ROME and r-ROME: one key gets one value, and other keys as little as can be.

ROME is the published recipe: the direction comes from the mean key over prefixed prompts, the
divisor from the bare prompt's. r-ROME uses the mean key for both, so that its divisor is
positive; it under-writes the bare prompt by ρ.

Source:
    Meng et al. 2022, section 3.1, and the published code; r-ROME: Gupta et al. 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rome_widgets.editing.methods.editor import Editor, Found, Task
from rome_widgets.editing.methods.rank_one.closed_form import ClosedForm, closed_form
from rome_widgets.editing.methods.rank_one.settings import (
    MEASURED,
    POST_NORMED,
    PUBLISHED,
    RankOneSettings,
)
from rome_widgets.editing.methods.rank_one.value import FoundValue, find_value
from rome_widgets.editing.prefixes import sample_prefixes
from rome_widgets.editing.prompt_rows import PromptRow, about_row, prefixed_rows
from rome_widgets.editing.rewrite_passes import Passes
from rome_widgets.editing.settings import Known, published_model
from rome_widgets.editing.site import Site, is_post_normed
from rome_widgets.editing.statistics.choose_second_moment import second_moment_of
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import LowRank
from rome_widgets.records.edit import EditProgress, RankOneReport

SMALL_DIVISOR = 0.1
"""k·u below this share of k̄·u is warned of: the edit is then ten times what the mean key needs."""


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys and values at the last subject token; `[d_in]` and `[d_out]`, float64."""

    bare: Tensor
    """Key of the prompt without a prefix."""
    mean: Tensor
    """Mean key over all prefixes (Meng et al. 2022, equation 3)."""
    bare_value: Tensor
    mean_value: Tensor


def read_keys(passes: Passes) -> Keys:
    """The keys of the prefixed prompts; the bare one is the first row."""
    weights, keys, values = passes.weights.double(), passes.keys.double(), passes.values.double()
    weights = weights / weights.sum()
    return Keys(keys[0], weights @ keys, values[0], weights @ values)


class RankOne(Editor):
    """Both methods; r-ROME is the `consistent` one, which uses the mean key everywhere."""

    needs = ("statistics",)
    changes = "the last matrix of one MLP, by a rank-one update"
    settings = RankOneSettings
    details = RankOneReport
    proposals = ({}, {"clamp": 0.5}, {"clamp": 1.0}, {"clamp": 2.0}, {"clamp": 4.0})

    def __init__(self, title: str, *, consistent: bool) -> None:
        self.title, self.consistent = title, consistent
        self.source = "Gupta et al. 2024" if consistent else "Meng et al. 2022"

    @property
    def numbers(self) -> Sequence[str]:
        """Those that a person may want to change."""
        return ("learning_rate", "steps", "clamp", "kl", "weight_decay", "stop_loss", "ridge")

    def known(self, lm: LanguageModel, card: Mapping[str, Any] | None = None) -> Known:
        """The published table's settings, else the card's, else those that others do well by."""
        if (model := published_model(lm.name, lm.n_layers)) is not None:
            layer, numbers = PUBLISHED[model]
            return Known(RankOneSettings(**numbers), "the published table", layer)
        if card:
            return super().known(lm, card)
        numbers = POST_NORMED if is_post_normed(lm) else MEASURED
        return Known(RankOneSettings(**numbers), "numbers found on small real models")

    def edit(self, task: Task) -> Found:
        """The rank-one update Λuᵀ, with W'k = v* at the key that the method divides by."""
        settings: RankOneSettings = task.settings
        site, why = task.choose_site()
        moment = second_moment_of(
            site,
            task.second_moment,
            wanted=settings.use_second_moment,
            ridge=settings.ridge,
            progress=task.progress,
            cancel=task.cancel,
        )
        texts = _prefixes(task, settings)
        task.progress(EditProgress("prefixes", 1, 1))
        rows = prefixed_rows(site.lm, task.request, texts)
        passes = Passes(site, rows, about_row(site.lm, task.request, settings.kl_position))
        keys = read_keys(passes)
        at = keys.mean if self.consistent else keys.bare
        form = closed_form(moment.solve, keys.mean[:, None], at=at[:, None])
        task.progress(EditProgress("key", 1, 1))
        value = find_value(task, passes)
        return Found(
            [self._update(site, keys, form, value)],
            (site.layer,),
            why,
            value.steps,
            value.stopped,
            _report(keys, form.read[0], value, texts, moment.about),
            (*moment.doubts, *self._warnings(site, rows[0], keys, form.read[0])),
            ("a larger clamp",) if value.clamped else (),
            texts,
        )

    def _update(self, site: Site, keys: Keys, form: ClosedForm, value: FoundValue) -> LowRank:
        before = keys.mean_value if self.consistent else keys.bare_value
        residual = value.start.double() + value.delta.double() - before
        read, write = (
            factor.to(site.dtype).cpu() for factor in (form.read, form.write(residual[:, None]))
        )
        return LowRank(site.weight_name, read, write, site.transposed)

    def _warnings(self, site: Site, prompt: PromptRow, keys: Keys, u: Tensor) -> list[str]:
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
        if site.layer == site.lm.n_layers - 1 and prompt.pos != prompt.wanted[0]:
            found.append(
                "In the last layer a change at the subject cannot reach the prediction after it: "
                "the optimisation has nothing to go by. Choose a lower layer."
            )
        return found


def _prefixes(task: Task, settings: RankOneSettings) -> tuple[str, ...]:
    """The user's texts, or sampled ones; the bare prompt is among them."""
    if settings.texts is not None:
        return ("",) * settings.bare + settings.texts
    return sample_prefixes(
        task.lm,
        settings.prefixes,
        task.seed,
        bare=settings.bare,
        first_words=settings.first_words,
        check=task.check,
    )


def _report(
    keys: Keys, u: Tensor, value: FoundValue, texts: tuple[str, ...], about: str
) -> RankOneReport:
    bare, mean = keys.bare @ u, keys.mean @ u
    return RankOneReport(
        prefixes=texts,
        second_moment=about,
        key_dot_u=float(bare),
        mean_key_dot_u=float(mean),
        rho=float(bare / mean),
        key_cosine=float(torch.cosine_similarity(keys.bare, keys.mean, dim=0)),
        key_norm=float(keys.bare.norm()),
        value_norm=float(value.start.norm()),
        delta_norm=float(value.delta.norm()),
        clamped=value.clamped,
    )
