"""Heat maps as tables of coloured cells."""

import re

import numpy as np
import pytest

from rome_widgets.charts.heat_table import heat_map, trace_table
from rome_widgets.charts.palettes import ramp
from tests.helpers.records import make_trace


def colours(html):
    return re.findall('background-color:([^"]+)', html)


def test_the_ends_of_the_scale_are_the_ends_of_the_ramp_and_nan_is_grey():
    grid = np.array([[0.1, 0.9, 0.5], [-1, 2, np.nan]])
    html = heat_map("seen", ["a", "b"], grid, ("mlp", 0.1, 0.9), [["1", "2", "3"]] * 2, [1])
    low, high = ramp("mlp")[0], ramp("mlp")[-1]
    first, second, between, *others, none = colours(html)
    assert (first, second, *others) == (low, high, low, high)
    assert between not in (low, high)
    assert none.startswith("rgba(128,128,128")
    assert "<bdi>b</bdi>*" in html
    assert "<bdi>a</bdi>*" not in html


@pytest.mark.parametrize("same", [0.3, np.nan])
def test_a_scale_without_extent_is_its_lowest_colour(same):
    html = heat_map("", ["a"], np.array([[0.3]]), ("attn", 0.3, same), [["x"]])
    assert colours(html) == [ramp("attn")[0]]


def test_a_trace_is_a_heat_map_per_kind_and_says_what_was_run():
    html = trace_table(make_trace())
    assert html.count("<table") == 3
    assert html.count("background-color") == 3 * 4 * 3
    for words in ("a &lt;b&gt; &#x27;c&quot; is", "clean 0.9000", "3 × σ", "MLP layer 2: p"):
        assert words in html
    assert "estimate ≈" in trace_table(make_trace(estimated=True))
    unknown = {"mlp": np.full((4, 3), np.nan)}
    assert "not computed" in trace_table(make_trace(scores=unknown, recorded={}))


def test_a_weak_effect_has_a_weak_colour():
    grid = np.full((4, 3), 0.98)
    grid[1, 1] = 0.9995
    html = trace_table(make_trace(clean=0.9995, corrupted=0.98, scores={"mlp": grid}, recorded={}))
    (strongest,) = set(colours(html)) - {ramp("mlp")[0]}
    brightness = sum(bytes.fromhex(strongest[1:]))
    assert brightness > sum(bytes.fromhex(ramp("mlp")[3][1:]))


def test_a_large_trace_is_a_list_of_its_strongest_states():
    scores = {"mlp": np.random.RandomState(0).rand(100, 48)}
    html = trace_table(make_trace(tokens=("x",) * 100, n_layers=48, scores=scores, recorded={}))
    assert "The 20 strongest of 4800 states" in html
    assert f"{scores['mlp'].max():.4f}" in html
    assert len(html) < 10_000
