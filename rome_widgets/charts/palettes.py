"""Colour ramps, as figures and widgets share them; no torch."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("palettes.json")


@cache
def ramp(name: str) -> tuple[str, ...]:
    """The colours of a kind's ramp, of "change" or of "cividis", as `#rrggbb`, on white."""
    return tuple(json.loads(_FILE.read_text("utf-8"))["light"][name])
