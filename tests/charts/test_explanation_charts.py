"""Altair charts of a flow and of a lens."""

import numpy as np
import pytest

from rome_widgets.charts.offline import to_svg
from rome_widgets.errors import StateError
from rome_widgets.records.explanations import Lens
from tests.helpers.records import flow_of, lens_run_of


def values(chart):
    """The rows of a chart whose parts share them."""
    (rows,) = chart["datasets"].values()
    return rows


@pytest.mark.parametrize(
    ("run", "number"), [("clean", "written"), ("corrupted", "corrupted"), ("restored", "moved")]
)
def test_the_nodes_of_a_flow_are_those_of_its_run(run, number):
    flow = flow_of("x")
    shown = values(flow.chart(run).to_dict())
    assert len(shown) == 3 * flow.written["mlp"].size
    for node in shown:
        expected = getattr(flow, number)[node["kind"]][node["pos"], node["layer"]]
        one = run == "clean" and node["kind"] == "hidden"
        assert node["amount"] == (1.0 if one else expected)
    ringed = {(n["pos"], n["layer"], n["kind"]) for n in shown if n["restored here"]}
    assert ringed == set(flow.states)


def test_a_flow_shows_what_was_restored_unless_a_run_is_named():
    assert flow_of("x").chart().to_dict()["title"]["text"].startswith("restored")
    with pytest.raises(StateError, match="no run 'now'"):
        flow_of("x").chart("now")


def test_a_lens_has_its_tokens_probabilities_and_ranks():
    lens = Lens(" Seattle", 2, (), (lens_run_of("a"), lens_run_of("b")))
    chart = lens.chart().to_dict()
    _, *lines = chart["vconcat"]
    assert [row["shown"] for row in values(chart)] == ["a"] * 3 + ["b"] * 3
    assert [line["encoding"]["y"]["field"] for line in lines] == ["p", "rank"]


def test_frames_have_a_row_per_state_and_per_layer():
    flow = flow_of("x")
    frame = flow.to_frame().set_index(["kind", "pos", "layer"])
    assert frame.loc[("mlp", 1, 2), "moved"] == flow.moved["mlp"][1, 2]
    lens = Lens("x", 2, (), (lens_run_of("a"),)).to_frame()
    assert lens["rank"].tolist() == [3, 2, 1]
    assert np.allclose(lens["p"], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("text", ["<script>harm()</script>", '"]; harm(); ["', "a\nb", "🤖"])
def test_any_token_is_drawn_as_text(text):
    for chart in (flow_of(text).chart(), Lens(text, 2, (), (lens_run_of(text),)).chart()):
        svg = to_svg(chart)
        assert svg.startswith("<svg")
        assert "<script>" not in svg
