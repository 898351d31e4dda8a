"""The core of every closed form: the update of a matrix from keys, residuals and a second moment.

With keys K `[d_in, u]`, residuals R `[d_out, u]` (wanted minus present output) and C = E[k kᵀ],

    ΔW = R · (Kᵀ C⁻¹ K + ridge)⁻¹ Kᵀ C⁻¹.

Without a ridge every key gets its residual, and of all such changes this one costs other keys
least; a ridge shares out between the two. By the push-through identity it is as well
R Kᵀ (ridge · C + K Kᵀ)⁻¹, the form for many facts; no `[d_in, d_in]` matrix is inverted here.

Source:
    Meng et al. 2022, equation 2 (one key); Meng et al. 2023, MEMIT, equation 14 (ridge λ);
    Gupta et al. 2024, EMMET (no ridge; as shipped, ridge times the weight of C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rome_widgets.errors import EditRefused

SMALLEST = 1e-12
"""Least singular value of what is divided by, in lengths of the keys."""


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """What the keys decide of an update: ΔW = `factors(R)[1]ᵀ` · `read`."""

    read: Tensor
    """`[u, d_in]`: the rows of Kᵀ C⁻¹, each of length 1; what the update reads of a key."""
    divisor: Tensor
    """`[u, u]`: what the residuals are divided by; for one key k·u."""
    key_length: float
    """Of the keys that it was made of, Frobenius."""

    def write(self, residual: Tensor) -> Tensor:
        """`[u, d_out]`: what the update puts out for each row of `read`.

        Args:
            residual: `[d_out, u]`, float64.

        Raises:
            EditRefused: The divisor is singular.
        """
        smallest = float(torch.linalg.svdvals(self.divisor)[-1])
        if not smallest > SMALLEST * self.key_length:
            raise EditRefused(
                f"The keys divide by {smallest:.2g}: they are orthogonal to the edit's direction, "
                "or the same twice.",
                "A divisor away from zero was wanted.",
                'Of one fact, try method="r-rome", whose divisor is positive.',
            )
        return torch.linalg.solve(self.divisor.T, residual.T)


def closed_form(
    solve: Callable[[Tensor], Tensor], keys: Tensor, *, at: Tensor | None = None, ridge: float = 0.0
) -> ClosedForm:
    """The part of an update that keys and second moment decide; any scale of C cancels at ridge 0.

    Args:
        solve: K → C⁻¹K, such as `SecondMoment.solve`.
        keys: `[d_in, u]`, float64; fewer than `d_in`, and independent.
        at: `[d_in, u]`: the keys that get the residuals, where those are others than decide the
            directions; ROME's bare prompt beside its mean key.
        ridge: λ of MEMIT; the product of ridge and weight of C that EMMET ships. In units of
            kᵀC⁻¹k.
    """
    solved = solve(keys)
    lengths = solved.norm(dim=0)
    read = (solved / lengths).T
    at = keys if at is None else at
    return ClosedForm(read, read @ at + torch.diag(ridge / lengths), float(at.norm()))
