"""The widgets that are open, as every version of ipywidgets keeps them."""

from ipywidgets import Widget
from ipywidgets.widgets import widget


def open_widgets():
    """Every widget that was made and not closed."""
    kept = getattr(widget, "_instances", None)  # ipywidgets 8; 7 has them at the class
    return list((Widget.widgets if kept is None else kept).values())
