"""The key: what the edited matrix reads where the subject ends, and the direction it stands for.

Source:
    Meng et al. 2022, equation 3: the mean over prefixed prompts; equation 2: u = C⁻¹k̄.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rome_widgets.editing.rewrite_passes import Passes
from rome_widgets.editing.statistics.second_moment import SecondMoment


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
    """The keys of the prefixed prompts; the bare one is the first row."""
    weights, keys, values = passes.weights.double(), passes.keys.double(), passes.values.double()
    weights = weights / weights.sum()
    return Keys(keys[0], weights @ keys, values[0], weights @ values)


def direction(second_moment: SecondMoment, key: Tensor) -> Tensor:
    """u: `[d_in]`, of length 1, what the update reads; any positive scale of C cancels."""
    solved = second_moment.solve(key)
    return solved / solved.norm()
