"""What all widgets share: the bundle, their keywords, what is sent."""

import json

import pytest
from ipywidgets import Layout

from rome_widgets.widgets import (
    PredictionCompare,
    RomeWidget,
    TraceGrid,
)
from rome_widgets.widgets.live.base import REMEDY, STATIC, bundle
from tests.helpers import xss_widgets
from tests.helpers.fake_engine import fake_trace


@pytest.fixture
def trace():
    return fake_trace()


def test_without_its_bundle_a_widget_imports_and_shows_the_remedy(tmp_path):
    class Bare(RomeWidget):
        _esm, _css = bundle("grid", tmp_path)

    widget = Bare()
    assert REMEDY in widget._esm
    assert "export default" in widget._esm
    assert "textContent" in widget._esm
    assert widget._css == ""


def test_the_bundle_of_the_package_is_read_from_its_files():
    assert TraceGrid()._esm == (STATIC / "grid.js").read_text("utf-8")
    assert PredictionCompare()._css == (STATIC / "edit.css").read_text("utf-8")


def test_a_misspelt_keyword_is_refused_with_the_nearest_name(trace):
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'them'\. Did you mean 'theme'"
    ):
        TraceGrid(trace, them="dark")


def test_a_closed_widget_closes_its_layout_but_not_one_that_was_given():
    grid, shared = TraceGrid(), Layout()
    own, other = grid.layout, TraceGrid(layout=shared)
    grid.close()
    other.close()
    assert own.comm is None
    assert shared.comm is not None
    shared.close()


def test_what_is_sent_is_utf8_whatever_python_holds():
    """Jupyter packs JSON as UTF-8; half of a surrogate pair would keep the widget from showing."""
    widget = xss_widgets.explorer("half \ud800")
    assert widget.prompt == "half \ud800"
    json.dumps(widget.get_state(), ensure_ascii=False, default=bytes.hex).encode("utf-8")
    assert widget.get_state("prompt") == {"prompt": "half \\ud800"}
