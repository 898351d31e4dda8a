"""Altair figures of a sweep."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rome_widgets.charts.offline import to_svg
from rome_widgets.charts.palettes import ramp
from rome_widgets.charts.sweep_charts import sites_chart
from rome_widgets.errors import ArgumentError, StateError
from rome_widgets.records.states import KINDS
from rome_widgets.records.swept_fact import ROLE_TITLES, ROLES
from tests.helpers.fake_sweep import fake_sweep
from tests.helpers.records import sweep_of

SWEEP = fake_sweep(7, n_layers=5)


def rows(chart, spec):
    """The data of a part of a chart."""
    return chart["datasets"][spec["data"]["name"]]


def test_figure_2_has_a_panel_per_kind_with_the_averages_on_one_scale_from_nothing():
    chart = SWEEP.chart().to_dict()
    *panels, legend = chart["hconcat"]
    most = max(SWEEP.effects(kind).mean.max() for kind in KINDS)
    for kind, panel in zip(KINDS, panels, strict=True):
        averages = SWEEP.effects(kind)
        drawn = {(each["role"], each["layer"]): each for each in rows(chart, panel)}
        assert len(drawn) == averages.mean.size
        for row, role in enumerate(ROLES):
            cell = drawn[ROLE_TITLES[role], 3]
            assert cell["effect"] == pytest.approx(averages.mean[row, 3])
            assert cell["interval"] == pytest.approx(averages.interval[row, 3])
            assert cell["tokens"] == averages.n[row]
        scale = panel["encoding"]["color"]["scale"]
        assert (scale["domain"][0], scale["domain"][-1]) == pytest.approx((0, most))
        assert scale["range"] == list(ramp(kind))
        assert panel["encoding"]["y"]["sort"] == list(ROLE_TITLES.values())
    assert len(legend["layer"]) == 3


def test_a_figure_says_of_what_it_is_and_how_it_was_measured():
    said = " ".join(SWEEP.chart().to_dict()["title"]["subtitle"])
    for words in ("numpy", "7 facts", "total effect on p 0.900", "3 × σ", "10 samples, seed 1"):
        assert words in said
    other = fake_sweep(2, noise={"subject": "Big Ben"}, seed=None, samples=1)
    said = " ".join(other.chart().to_dict()["title"]["subtitle"])
    assert said.endswith("in place of the subject: “Big Ben” 1 sample")


def test_figure_3_has_a_bar_with_its_interval_per_layer_and_severed_kind():
    chart = SWEEP.chart("severed").to_dict()
    bars, intervals = chart["hconcat"][0]["layer"]
    drawn = rows(chart, chart | bars)
    found = SWEEP.severed_effects()
    names = {None: "nothing severed", "mlp": "MLP severed", "attn": "attention severed"}
    assert len(drawn) == 3 * 5
    for kind, name in names.items():
        (bar,) = [each for each in drawn if (each["graph"], each["layer"]) == (name, 2)]
        assert bar["effect"] == pytest.approx(found[kind].mean[0, 2])
        assert bar["high"] - bar["low"] == pytest.approx(2 * found[kind].interval[0, 2])
    assert intervals["encoding"]["y"]["field"] == "low"
    assert bars["encoding"]["color"]["sort"] == list(names.values())


def test_curves_run_in_bands_of_their_intervals_by_role():
    chart = SWEEP.chart("curves").to_dict()
    for kind, plot in zip(KINDS, chart["hconcat"], strict=True):
        band, line = plot["layer"]
        averages = SWEEP.effects(kind)
        (point,) = [
            each
            for each in rows(chart, plot | line)
            if (each["role"], each["layer"]) == ("Last subject token", 2)
        ]
        assert point["effect"] == pytest.approx(averages.mean[2, 2])
        assert point["high"] - point["effect"] == pytest.approx(averages.interval[2, 2])
        assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("low", "high")


def test_peaks_of_facts_stand_on_the_averages_and_their_best_layers_below():
    above, below = (chart := SWEEP.chart("peaks", "last").to_dict())["vconcat"]
    for at, kind in enumerate(KINDS):
        _, circles = above["hconcat"][at]["layer"]
        counted = {(each["role"], each["layer"]): each["facts"] for each in rows(chart, circles)}
        expected = {
            (ROLE_TITLES[ROLES[row]], layer): count
            for (row, layer), count in np.ndenumerate(SWEEP.peaks(kind))
            if count
        }
        assert counted == expected
        bars, _line = below["hconcat"][at]["layer"]
        drawn = rows(chart, below["hconcat"][at] | bars)
        assert [each["facts"] for each in drawn] == SWEEP.best_layers(kind, "last").tolist()
        means = SWEEP.effects(kind).mean[ROLES.index("last")]
        assert [each["effect"] for each in drawn] == pytest.approx(means.tolist())
    assert below["title"]["text"] == "Best layer of each fact at the last token"


def test_roles_without_a_token_are_left_blank_and_not_drawn_as_nothing():
    two_tokens = replace(SWEEP, facts=SWEEP.facts[3:4])
    chart = two_tokens.chart().to_dict()
    name = ROLE_TITLES["middle subject"]
    middle = [each for each in rows(chart, chart["hconcat"][0]) if each["role"] == name]
    assert [each["effect"] for each in middle] == [None] * 5
    chart = two_tokens.chart("curves").to_dict()
    plot = chart["hconcat"][0]
    assert name not in {each["role"] for each in rows(chart, plot | plot["layer"][1])}


def test_figures_that_there_are_not_are_refused():
    with pytest.raises(StateError, match="no figure 'bars'"):
        SWEEP.chart("bars")
    with pytest.raises(StateError, match="no role 'end'"):
        SWEEP.chart("peaks", "end")
    with pytest.raises(StateError, match="No fact of this sweep was traced"):
        fake_sweep(0).chart()


def test_of_one_fact_figures_have_no_intervals_and_no_number_that_json_lacks():
    chart = fake_sweep(1).chart("severed").to_dict()
    json.dumps(chart, allow_nan=False)
    assert "±" not in str(chart["title"]["subtitle"])
    (drawn,) = chart["datasets"].values()
    assert {each["low"] for each in drawn} == {None}
    json.dumps(fake_sweep(1).chart("curves").to_dict(), allow_nan=False)
    json.dumps(sites_chart(edits().assign(interval=np.nan)).to_dict(), allow_nan=False)


def edits():
    return pd.DataFrame(
        [(role, layer, metric, layer / 3, 0.1) for role in ROLES[2:4] for layer in (2, 0, 1)
         for metric in ("ES", "PS")],
        columns=["role", "layer", "metric", "value", "interval"],
    )  # fmt: skip


def test_figure_5_has_a_plot_per_metric_with_a_line_per_role_in_the_order_of_layers():
    chart = sites_chart(edits()).to_dict()
    assert [plot["title"] for plot in chart["hconcat"]] == ["ES", "PS"]
    (plot, _) = chart["hconcat"]
    drawn = rows(chart, plot | plot["layer"][1])
    line = [each for each in drawn if each["role"] == "Last subject token"]
    assert [each["layer"] for each in line] == [0, 1, 2]
    assert (line[2]["low"], line[2]["high"]) == pytest.approx((2 / 3 - 0.1, 2 / 3 + 0.1))
    plain = sites_chart(edits().drop(columns="interval")).to_dict()
    (plot, _) = plain["hconcat"]
    assert {each["low"] for each in rows(plain, plot | plot["layer"][1])} == {None}, "no band"


def test_a_table_of_edits_that_lacks_something_is_refused():
    with pytest.raises(ArgumentError, match="has no value"):
        sites_chart(edits().drop(columns="value"))
    with pytest.raises(ArgumentError, match="has no rows"):
        sites_chart(edits().iloc[:0])
    with pytest.raises(ArgumentError, match="a role 'end'"):
        sites_chart(edits().assign(role="end"))


@pytest.mark.parametrize("figure", ["effects", "severed", "curves", "peaks"])
def test_every_figure_draws_any_text_as_text_and_without_a_network(figure):
    svg = to_svg(sweep_of("<script>harm()</script>").chart(figure))
    assert svg.startswith("<svg")
    assert "<script>" not in svg
