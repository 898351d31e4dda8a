"""How far a call has come that has nothing to show on the way."""

from __future__ import annotations

from typing import NamedTuple


class CallProgress(NamedTuple):
    """What a function given as `progress` is called with, where there is no record of the call."""

    done: int
    total: int | None
    """None where nobody knows."""
    phase: str = ""
    """What is being done, where a call does several things."""
