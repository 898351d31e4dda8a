"""The figure of a trace as a file for the page to save."""

from __future__ import annotations

import io
import re
from importlib.util import find_spec
from typing import Any, Literal

from rome_widgets.errors import MissingExtra
from rome_widgets.records.trace import CausalTrace

Form = Literal["svg", "png"]
TYPES: dict[Form, str] = {"svg": "image/svg+xml", "png": "image/png"}
PNG_SCALE = 3
"""Pixels of the file per pixel of the figure: sharp in print and on any screen."""


def picture(trace: CausalTrace, form: Form) -> dict[str, Any]:
    """Name, media type and bytes of the figure. Needs no network."""
    if find_spec("vl_convert") is None:  # Altair would say a ValueError, as it does for others.
        raise MissingExtra.drawing()
    drawn = io.StringIO() if form == "svg" else io.BytesIO()
    trace.chart().save(drawn, format=form, scale_factor=1 if form == "svg" else PNG_SCALE)
    data = drawn.getvalue()
    return {
        "name": f"{file_name(trace)}.{form}",
        "type": TYPES[form],
        "data": data.encode() if isinstance(data, str) else data,
    }


def file_name(trace: CausalTrace) -> str:
    """The subject and the answer as a name that every file system takes."""
    words = re.sub(r"\W+", "-", f"{trace.subject} {trace.answer_text}").strip("-").lower()
    return f"trace-{words[:60] or 'of-a-prompt'}"
