"""Numbers as people write them: Python's, NumPy's and torch's, read in one place."""

from __future__ import annotations

import math
import operator
from typing import Any


def whole_number(value: Any) -> int | None:
    """The whole number that a value is; None where it is none, as True and 2.0 are not.

    Example:
        >>> whole_number(np.int64(3)), whole_number(True), whole_number("3")
        (3, None, None)
    """
    if _is_truth(value):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def real_number(value: Any) -> float | None:
    """The number that a value is, perhaps infinite; None where it is none, or NaN.

    Example:
        >>> real_number(np.float32(0.5)), real_number(2), real_number("2")
        (0.5, 2.0, None)
    """
    if _is_truth(value) or isinstance(value, (str, bytes)) or getattr(value, "ndim", 0):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
