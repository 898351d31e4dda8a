"""Charts that follow a grid and that a grid follows, without a browser."""

import builtins
import gc
import weakref

import altair as alt
import numpy as np
import pytest

import rome_widgets as rw
from rome_widgets.errors import MissingExtra, StateError
from rome_widgets.records.states import KINDS, State
from rome_widgets.widgets.trace.trace_explorer import TraceExplorer
from tests.helpers.fake_engine import FakeEngine, fake_trace

FIGURES = pytest.mark.parametrize("figure", ["trace", "recovery"])


def click(chart, *cells):
    """What the page sends after a click on these points."""
    name = "pick" if "pick" in chart._vl_selections else f"pick_{cells[0][2]}"
    points = [dict(zip(("pos", "layer", "kind"), cell, strict=True)) for cell in cells]
    value = {"vlPoint": {"or": points}} if points else None
    chart._vl_selections = {**chart._vl_selections, name: {"value": value, "store": []}}


@FIGURES
def test_the_chart_marks_what_the_grid_selects_and_where_its_cursor_is(figure):
    grid = rw.TraceGrid(fake_trace(), selection=[(2, 4, "hidden")])
    chart = grid.linked_chart(figure)
    assert chart.params.selected == ["hidden 2 4"]
    assert chart.params.cursor_layer == 4
    grid.selection = [(2, 3, "mlp"), (7, 5, "attn")]
    assert chart.params.selected == ["mlp 2 3", "attn 7 5"]
    grid.cursor = (1, 6, "mlp")
    assert chart.params.cursor_layer == 6
    assert chart._params["cursor_layer"] == 6, "what the page gets"
    grid.selection, grid.cursor = [], None
    assert (chart.params.selected, chart.params.cursor_layer) == ([], -1)


@FIGURES
def test_a_click_on_the_chart_selects_in_the_grid(figure):
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart(figure)
    click(chart, (2, 4, "hidden"))
    assert grid.selection == [State(2, 4, "hidden")]
    assert grid._restoration["score"] == pytest.approx(fake_trace().scores["hidden"][2, 4])
    assert chart.params.selected == ["hidden 2 4"]
    click(chart, (2, 4, "hidden"), (7, 7, "hidden"))
    assert grid.selection == [State(2, 4, "hidden"), State(7, 7, "hidden")]


@FIGURES
def test_a_click_beside_the_points_leaves_the_grids_selection(figure):
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart(figure)
    click(chart, (2, 4, "hidden"))
    chart._vl_selections = {name: {"value": None, "store": []} for name in chart._vl_selections}
    assert grid.selection == [State(2, 4, "hidden")]


@FIGURES
def test_neither_answers_its_own_change(figure):
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart(figure)
    grids, charts = [], []
    grid.observe(grids.append, "selection")
    chart.observe(charts.append, ["_params", "_vl_selections"])
    click(chart, (2, 4, "hidden"))
    assert len(grids) == 1
    assert [change["name"] for change in charts].count("_vl_selections") == 1
    assert len(charts) <= 3, "the click, the cells, the layer"
    charts.clear()
    grid.selection = [(1, 1, "mlp")]
    assert len(grids) == 2
    assert {change["name"] for change in charts} == {"_params"}


@FIGURES
@pytest.mark.parametrize("closed", ["grid", "chart"])
def test_closing_either_ends_the_link(figure, closed):
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart(figure)
    {"grid": grid, "chart": chart}[closed].close()
    grid.selection = [(2, 4, "hidden")]
    assert chart.params.selected == []
    click(chart, (1, 1, "hidden"))
    assert grid.selection == [State(2, 4, "hidden")]


def test_it_closes_also_where_somebody_has_taken_its_observers_off():
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart()
    grid.unobserve_all("selection")
    chart.close()
    grid.cursor = (1, 6, "mlp")
    assert chart.params.cursor_layer == -1


@FIGURES
@pytest.mark.parametrize("kept", ["grid", "chart"])
def test_one_that_is_closed_and_gone_is_not_held_by_the_other(figure, kept):
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart(figure)
    both = {"grid": grid, "chart": chart}
    stays = both.pop(kept)
    ((_, goes),) = both.items()
    gone = weakref.ref(goes)
    goes.close()
    del grid, chart, both, goes
    gc.collect()
    assert gone() is None
    assert stays is not None


def test_a_grid_that_shows_another_prompt_is_no_longer_this_charts():
    grid = rw.TraceGrid(fake_trace())
    chart = grid.linked_chart()
    click(chart, (2, 4, "hidden"))
    grid._show(fake_trace("Mount Fuji is in the country of", "Mount Fuji", token_ids=(9,) * 7))
    grid.selection = []
    click(chart, (7, 7, "hidden"))
    assert grid.selection == []
    assert chart.params.selected == ["hidden 2 4"]


def test_a_live_grid_answers_a_click_on_its_chart():
    explorer = TraceExplorer(FakeEngine(), prompt="The Space Needle is in the city of",
                             subject="The Space Needle")  # fmt: skip
    assert explorer.wait(20)
    chart = explorer.linked_chart("recovery")
    click(chart, (2, 4, "hidden"), (2, 3, "mlp"))
    assert explorer.wait(20)
    assert explorer._restoration["selection"] == [[2, 3, "mlp"], [2, 4, "hidden"]]
    assert chart.params.selected == ["mlp 2 3", "hidden 2 4"]


def test_it_needs_no_network():
    chart = rw.TraceGrid(fake_trace()).linked_chart()
    assert isinstance(chart, alt.JupyterChart)
    assert "https://esm.sh" not in str(chart._esm)[:2000]
    assert len(str(chart._esm)) > 100_000, "Vega is inside"


def test_without_vl_convert_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(alt.JupyterChart, "_is_offline", False)
    find = builtins.__import__

    def without(name, *rest):
        if name == "vl_convert":
            raise ImportError("No module named 'vl_convert'")
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"vl-convert-python"):
        rw.TraceGrid(fake_trace()).linked_chart()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(StateError, match="no chart 'pie'"):
        rw.TraceGrid(fake_trace()).linked_chart("pie")
    with pytest.raises(StateError, match="Nothing is traced yet"):
        rw.TraceGrid().linked_chart()
    with pytest.raises(StateError, match="took nothing away"):
        fake_trace(clean=0.03, corrupted=0.03).recovery_chart()


# ------------------------------------------------------------------------ the chart itself


def points_of(trace):
    spec = trace.recovery_chart().to_dict()
    return spec["datasets"][spec["layer"][1]["data"]["name"]]


def test_the_lines_are_the_shares_of_the_last_subject_token_and_of_the_last():
    trace = fake_trace()
    points = points_of(trace)
    assert len(points) == 2 * len(KINDS) * trace.n_layers
    for row in points:
        score = trace.scores[row["kind"]][row["pos"], row["layer"]]
        assert row["share"] == pytest.approx((score - trace.corrupted) / trace.total_effect)
    assert {(row["pos"], row["place"]) for row in points} == {
        (2, "last subject token"),
        (7, "last token"),
    }


def test_what_was_not_computed_is_left_out_and_one_token_is_one_place():
    scores = {"mlp": np.full((2, 4), np.nan)}
    scores["mlp"][1, 2] = 0.5
    trace = fake_trace("a b", "b", scores=scores, n_layers=4)
    points = points_of(trace)
    assert [(row["pos"], row["layer"], row["place"]) for row in points] == [(1, 2, "last token")]


@FIGURES
def test_the_picture_of_a_chart_stays_where_no_widget_runs(figure):
    data, _ = rw.TraceGrid(fake_trace()).linked_chart(figure)._repr_mimebundle_()
    assert data["image/svg+xml"].startswith("<svg")
    assert "application/vnd.jupyter.widget-view+json" in data
