"""Altair charts that a notebook draws by itself: Altair's own fetch their drawing code from a CDN.

JupyterLab and VS Code draw a Vega-Lite specification with code of their own, tooltips and all;
whoever else reads the notebook, nbconvert or GitHub, finds the same chart as SVG in it.
"""

from __future__ import annotations

import io
import re
from importlib.util import find_spec
from typing import Any

import altair as alt

DRAWN_BY_HOSTS = "application/vnd.vegalite.v5+json"
"""The newest version that JupyterLab has; it takes what these charts use of later ones."""


class _Offline:
    def _repr_mimebundle_(self: Any, *args: Any, **more: Any) -> Any:
        """The specification and the drawing; another renderer that was enabled is asked instead."""
        if alt.renderers.active != "default":
            return super()._repr_mimebundle_(*args, **more)  # pyright: ignore[reportAttributeAccessIssue]
        specification = self.to_dict()
        version = re.sub(r"/v\d+(\.\d+)*\.json$", "/v5.json", specification["$schema"])
        bundle = {DRAWN_BY_HOSTS: {**specification, "$schema": version}, "text/plain": repr(self)}
        if find_spec("vl_convert") is not None:
            bundle["image/svg+xml"] = to_svg(self)
        return bundle, {DRAWN_BY_HOSTS: {"embed_options": {"renderer": "svg", "actions": False}}}


class ConcatChart(_Offline, alt.HConcatChart):
    """Charts beside each other."""


class VConcatChart(_Offline, alt.VConcatChart):
    """Charts below each other."""


class LayerChart(_Offline, alt.LayerChart):
    """Charts on top of each other."""


def to_svg(chart: alt.TopLevelMixin) -> str:
    """The chart as SVG, drawn here. Needs vl-convert-python."""
    drawn = io.StringIO()
    chart.save(drawn, format="svg")
    return drawn.getvalue()
