"""The figure of a page as a file for it to save."""

from __future__ import annotations

import io
import re
from importlib.util import find_spec
from typing import Any, Literal

from rome_widgets.errors import MissingExtra, StateError
from rome_widgets.records.explanations import Flow, Lens
from rome_widgets.records.trace import CausalTrace

Form = Literal["svg", "png"]
TYPES: dict[Form, str] = {"svg": "image/svg+xml", "png": "image/png"}
PNG_SCALE = 3
"""Pixels of the file per pixel of the figure: sharp in print and on any screen."""


def picture(
    trace: CausalTrace, form: Form, shown: Flow | Lens | None = None, run: Any = None
) -> dict[str, Any]:
    """Name, media type and bytes of a figure. Needs no network.

    Args:
        trace: Of which the figure is, and after which the file is called.
        form: "svg" or "png".
        shown: The flow or lens to draw; None draws the trace.
        run: Of a flow, which run of it.
    """
    if find_spec("vl_convert") is None:  # Altair would say a ValueError, as it does for others.
        raise MissingExtra.drawing()
    if form not in TYPES:
        raise StateError(f"There is no figure {form!r}.", "svg or png was wanted.")
    chart = shown.chart(run) if isinstance(shown, Flow) else (shown or trace).chart()
    drawn = io.StringIO() if form == "svg" else io.BytesIO()
    chart.save(drawn, format=form, scale_factor=1 if form == "svg" else PNG_SCALE)
    data = drawn.getvalue()
    what = "trace" if shown is None else type(shown).__name__.lower()
    return {
        "name": f"{file_name(trace, what)}.{form}",
        "type": TYPES[form],
        "data": data.encode() if isinstance(data, str) else data,
    }


def file_name(trace: CausalTrace, what: str = "trace") -> str:
    """The subject and the answer as a name that every file system takes."""
    words = re.sub(r"\W+", "-", f"{trace.subject} {trace.answer_text}").strip("-").lower()
    return f"{what}-{words[:60] or 'of-a-prompt'}"
