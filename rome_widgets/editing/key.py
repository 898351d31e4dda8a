"""The key: what the edited matrix reads where the subject ends, and the direction it stands for.

Source:
    Meng et al. 2022, equation 3: the mean over prefixed prompts; equation 2: u = C⁻¹k̄.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rome_widgets.editing.passes import Passes
from rome_widgets.editing.second_moment import SecondMoment


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys and values at the last subject token; `[d_in]` and `[d_out]`, float64."""

    bare: Tensor
    """Key of the prompt without a prefix."""
    mean: Tensor
    """Mean key over all prefixes."""
    bare_value: Tensor
    mean_value: Tensor


def read_keys(passes: Passes) -> Keys:
    """The keys of the prefixed prompts; the bare one is the first row of the first group."""
    asked = [number for number, group in enumerate(passes.groups) if not group.about]
    weights = torch.cat([passes.groups[number].weights for number in asked]).double()
    keys = torch.cat([passes.keys[number] for number in asked]).double()
    values = torch.cat([passes.values[number] for number in asked]).double()
    weights = weights / weights.sum()
    return Keys(keys[0], weights @ keys, values[0], weights @ values)


def direction(second_moment: SecondMoment, key: Tensor) -> Tensor:
    """u: `[d_in]`, of length 1, what the update reads; any positive scale of C cancels."""
    solved = second_moment.solve(key)
    return solved / solved.norm()
