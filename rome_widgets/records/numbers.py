"""Checks of numbers: scalars of NumPy and torch are taken wherever a number is, booleans never."""

from __future__ import annotations

import math
from typing import Any

from rome_widgets.errors import NoiseError, SettingsError, StateError


def as_whole(value: Any) -> int | None:
    """The whole number that `value` is, or None."""
    try:
        return None if _is_boolean(value) else int(value.__index__())
    except (AttributeError, TypeError, ValueError):
        return None


def as_float(value: Any) -> float:
    """The number that `value` is, perhaps infinite, or NaN."""
    if _is_boolean(value) or isinstance(value, str | bytes) or getattr(value, "ndim", 0):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def whole_number(
    value: Any,
    name: str,
    least: int,
    most: int | None = None,
    *,
    error: type[StateError] | type[NoiseError] | type[SettingsError] = StateError,
) -> int:
    """`value` as a Python int.

    Args:
        value: What the user gave.
        name: What it is, such as "samples".
        least: The smallest allowed.
        most: The largest allowed; None for no limit.
        error: What to raise.

    Raises:
        StateError: Or `error`: no whole number, or one out of range.
    """
    number = as_whole(value)
    if number is None or number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise error(f"{name} is {value!r}.", f"A whole number {limits} was wanted.")
    return number


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
