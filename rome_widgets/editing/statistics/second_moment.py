"""The second moment of the keys, C = E[k kᵀ]: what else the edited matrix is used for.

Uncentred. Gathered over the tokens of some text, once, and kept in a file (`gather`); shipped with
the bundled model; or replaced by the identity; and always said which.

Source:
    Meng et al. 2022, equation 2. The published code inverts it in float32 without a ridge; here it
    is factored in float64, because at a condition of 1e6 the former is off by half a percent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rome_widgets.errors import EditFileError, SettingsError, said
from rome_widgets.model.memory import Lacking, attempt, needs_memory
from rome_widgets.records import arguments
from rome_widgets.records.numbers import finite_number, whole_number


class SecondMoment:
    """C = E[k kᵀ] of one layer's keys, ready to be solved with; `second_moment` gathers one.

    Args:
        about: What it was computed over, a clause.
        matrix: `[d, d]` mean of k kᵀ, float64; or
        keys: `[n, d]`, fewer than d of them; or neither, for the identity.
        n_tokens: How many keys went into it.
        ridge: Added to the diagonal, in units of its mean.

    Raises:
        EditFileError: The matrix is not positive.

    Example:
        >>> moment = rw.SecondMoment.identity()
        >>> change = rw.edit(lm, rw.bundled.facts()[0], second_moment=moment)
        >>> change.report.second_moment
        'the identity: no statistics were used'
    """

    def __init__(
        self,
        about: str,
        *,
        matrix: Tensor | None = None,
        keys: Tensor | None = None,
        n_tokens: int = 0,
        ridge: float = 1e-4,
    ) -> None:
        self.about = arguments.text(about, "about")
        self.n_tokens = whole_number(n_tokens, "n_tokens", 0, error=SettingsError)
        self.ridge = finite_number(ridge, "ridge", 0, error=SettingsError)
        self._matrix, self._keys = _rows(matrix, "matrix"), _rows(keys, "keys")
        if self._matrix is not None and self._matrix.shape[0] != self._matrix.shape[1]:
            raise SettingsError(
                f"matrix has the shape {list(self._matrix.shape)}.", "A square one was wanted."
            )
        self._factor: Tensor | None = None

    def __repr__(self) -> str:
        return f"SecondMoment({self.about})"

    @classmethod
    def identity(cls) -> SecondMoment:
        """As if all keys were equally likely in all directions."""
        return cls("the identity: no statistics were used")

    @property
    def matrix(self) -> Tensor | None:
        """`[d, d]`, float64, without the ridge; None for the identity."""
        if self._matrix is not None or self._keys is None:
            return self._matrix
        return self._keys.T @ self._keys / len(self._keys)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What to say where it is of too few tokens: nothing, or one sentence."""
        of = self._matrix if self._keys is None else self._keys
        if of is None or not 0 < self.n_tokens < of.shape[1]:
            return ()
        return (
            f"The second moment is of {self.n_tokens:,} tokens, and a key has {of.shape[1]:,} "
            "numbers: little is known of what else the matrix is used for. Gather from more text, "
            'or say second_moment="self".',
        )

    @needs_memory("solve with the second moment")
    def solve(self, keys: Tensor) -> Tensor:
        """C⁻¹K, float64: `[d, u]`, or `[d]` for one key."""
        if not isinstance(keys, Tensor) or keys.ndim not in (1, 2) or keys.is_meta:
            raise SettingsError(f"The keys are {said(keys)}.", "A tensor [d, u] or [d] was wanted.")
        if keys.ndim == 1:
            return self.solve(keys[:, None])[:, 0]
        keys = keys.double()
        of = self._matrix if self._keys is None else self._keys
        if of is None:
            return keys
        if of.shape[1] != len(keys):
            raise SettingsError(
                f"The second moment is of keys of width {of.shape[1]}.",
                f"Width {len(keys)} was wanted: is it of another model or layer?",
            )
        try:
            solved = self._solved(keys)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # Singular: keys of length 0, for one.
            solved = torch.zeros_like(keys)
        if not torch.isfinite(solved).all() or not solved.any():
            raise EditFileError(
                "The second moment cannot be solved with: its numbers are too large or too small.",
                "A mean of k kᵀ was wanted.",
            )
        return solved

    def _solved(self, keys: Tensor) -> Tensor:
        """Where the keys are; by the CPU where that has no room for it."""
        found = attempt(lambda: self._solved_there(keys))
        if isinstance(found, Lacking):
            self._factor = None
            return self._solved_there(keys.cpu()).to(keys.device)
        return found

    def _solved_there(self, keys: Tensor) -> Tensor:
        if self._keys is not None:
            return self._woodbury(keys)
        assert self._matrix is not None
        if self._factor is None or self._factor.device != keys.device:
            self._factor = _cholesky(self._matrix.to(keys.device), self.ridge)
        return torch.cholesky_solve(keys, self._factor)

    def _woodbury(self, wanted: Tensor) -> Tensor:
        """The same with fewer keys than their width: no `[d, d]` matrix is made."""
        assert self._keys is not None
        keys = self._keys.to(wanted.device)
        n, width = keys.shape
        ridge = max(self.ridge, 1e-8) * float(keys.square().sum()) / n / width
        small = keys @ keys.T + n * ridge * torch.eye(n, dtype=keys.dtype, device=keys.device)
        inner = torch.linalg.solve(small, keys @ wanted)
        return (wanted - keys.T @ inner) / ridge


def _rows(given: Any, name: str) -> Tensor | None:
    """A tensor of two axes with numbers in it, or None."""
    if given is None:
        return None
    real = isinstance(given, np.ndarray) and given.dtype.kind == "f"
    rows = torch.from_numpy(given) if real else given
    if not (
        isinstance(rows, Tensor)
        and rows.ndim == 2
        and rows.is_floating_point()
        and rows.numel()
        and not rows.is_meta
        and torch.isfinite(rows).all()
    ):
        raise SettingsError(
            f"{name} is {said(given)}.", "A tensor of finite numbers with two axes was wanted."
        )
    return rows.double()


Statistics = (
    SecondMoment | Mapping[int, SecondMoment] | str | os.PathLike[str] | Iterable[str] | None
)
"""One, several by layer, "identity", a file, texts, or "self" for the model's own; None for what
comes with the model, else "self"."""


def _cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """The lower factor of C + ridge · mean diagonal; more ridge where that is not positive."""
    mean = float(matrix.diagonal().mean())
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for add in (ridge, *(10.0**power for power in range(-8, 0) if 10.0**power > ridge)):
        factor, failed = torch.linalg.cholesky_ex(matrix + add * mean * identity)
        if not int(failed):
            return factor
    raise EditFileError("The second moment is not positive.", "A mean of k kᵀ was wanted.")
