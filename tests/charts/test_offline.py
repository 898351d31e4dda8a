"""Charts draw without a network wherever a notebook is shown."""

import json
import re

import altair as alt
import pytest

from rome_widgets.charts.offline import DRAWN_BY_HOSTS, to_svg
from tests.helpers.fake_engine import fake_trace

CHARTS = {
    "trace": lambda trace: trace.chart(),
    "recovery": lambda trace: trace.recovery_chart(),
    "changed by its user": lambda trace: trace.chart().properties(title="Mine"),
}


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_a_specification_for_hosts_that_draw_and_a_drawing_for_those_that_do_not(make):
    data, metadata = make(fake_trace())._repr_mimebundle_()
    assert set(data) == {DRAWN_BY_HOSTS, "image/svg+xml", "text/plain"}
    assert data[DRAWN_BY_HOSTS]["$schema"].endswith("vega-lite/v5.json")
    assert set(metadata) == {DRAWN_BY_HOSTS}
    json.dumps(data)


@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_nothing_of_a_drawing_is_fetched(make):
    data, _ = make(fake_trace())._repr_mimebundle_()
    drawing = data["image/svg+xml"]
    assert "<script" not in drawing
    known = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"' )]+", drawing)) <= known


def test_the_drawing_is_what_saving_the_chart_gives():
    chart = fake_trace().chart()
    plain = re.compile(r"(clip|gradient_)\d+")
    data, _ = chart._repr_mimebundle_()
    assert plain.sub("", data["image/svg+xml"]) == plain.sub("", to_svg(chart))


def test_a_renderer_that_a_user_enables_is_asked():
    with alt.renderers.enable("json"):
        made = fake_trace().chart()._repr_mimebundle_()
    assert "application/json" in (made[0] if isinstance(made, tuple) else made)
