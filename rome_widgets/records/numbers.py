"""Checks of numbers: scalars of NumPy and torch are taken wherever a number is, booleans never."""

from __future__ import annotations

import math
from typing import Any

from rome_widgets.errors import ArgumentError, RomeWidgetsError, StateError, said


def plain(value: Any) -> Any:
    """A scalar of NumPy or torch as Python's own, an array of them as lists; else the value.

    Raises:
        ArgumentError: A tensor without values, on the meta device.
    """
    if not (hasattr(value, "dtype") and hasattr(value, "tolist")):
        return value
    try:
        return value.tolist()
    except Exception as error:
        raise ArgumentError(
            f"{said(value)} cannot be read: {error}.", "A number, or several, was wanted."
        ) from None


def as_whole(value: Any) -> int | None:
    """The whole number that `value` is, or None."""
    if _is_boolean(value) or getattr(value, "ndim", 0):
        return None
    try:
        return int(value.__index__())
    except Exception:  # AttributeError mostly; a tensor on the meta device has words of its own
        return None


def as_float(value: Any) -> float:
    """The number that `value` is, perhaps infinite, or NaN."""
    if _is_boolean(value) or isinstance(value, str | bytes) or getattr(value, "ndim", 0):
        return math.nan
    if "complex" in str(getattr(value, "dtype", "")):
        return math.nan
    try:
        return float(value)
    except Exception:  # TypeError, OverflowError; a complex tensor has words of its own
        return math.nan


def whole_number(
    value: Any,
    name: str,
    least: int,
    most: int | None = None,
    *,
    error: type[RomeWidgetsError] = StateError,
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
        raise error(f"{name} is {said(value)}.", f"A whole number {limits} was wanted.")
    return number


def finite_number(
    value: Any,
    name: str,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    error: type[RomeWidgetsError] = StateError,
) -> float:
    """`value` as a Python float that is finite; see `whole_number`."""
    number = as_float(value)
    if not (math.isfinite(number) and least <= number <= most):
        limits = ""
        if least > -math.inf:
            limits = (
                f" of at least {least:g}"
                if most == math.inf
                else f" between {least:g} and {most:g}"
            )
        raise error(f"{name} is {said(value)}.", f"A finite number{limits} was wanted.")
    return number


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
