"""Altair charts of a trace."""

import html
import json
from pathlib import Path

import numpy as np
import pytest

import rome_widgets as rw
from rome_widgets.charts import palettes
from rome_widgets.records.states import KINDS
from rome_widgets.records.trace import WholeAnswer
from tests.helpers.records import make_trace


def test_a_chart_has_a_panel_per_kind_on_one_scale_in_the_pages_colours():
    trace = make_trace()
    *panels, legend = trace.chart().to_dict()["hconcat"]
    scales = [panel["encoding"]["color"]["scale"] for panel in panels]
    ends = [0.1, max(0.9, *(grid.max() for grid in trace.scores.values()))]
    light = json.loads(Path(palettes.__file__).with_suffix(".json").read_text("utf-8"))["light"]
    for kind, scale, stripe in zip(KINDS, scales, legend["layer"], strict=True):
        assert scale["range"] == light[kind], "from its first, near-white colour"
        assert scale["domain"] == pytest.approx(np.linspace(*ends, len(light[kind])).tolist())
        stops = stripe["mark"]["color"]["stops"]
        assert [stop["color"] for stop in stops] == light[kind]
        assert stripe["encoding"]["y"]["scale"]["domain"] == pytest.approx(ends)
    assert all(panel["encoding"]["color"]["legend"] is None for panel in panels)
    assert legend["title"]["text"] == "p(d)"


def test_the_colours_of_a_chart_span_more_than_a_weak_effect():
    grids = {"mlp": np.full((4, 3), 0.98)}
    trace = make_trace(clean=0.9995, corrupted=0.98, scores=grids, recorded={})
    panel, legend = trace.chart().to_dict()["hconcat"]
    for domain in (
        panel["encoding"]["color"]["scale"]["domain"],
        legend["layer"][0]["encoding"]["y"]["scale"]["domain"],
    ):
        assert (domain[0], domain[-1]) == pytest.approx((0.98, 1.08))


def test_a_chart_says_what_was_measured_and_how():
    title = make_trace().chart().to_dict()["title"]
    assert title["text"] == ["a <b> 'c\" is → d"]
    said = " ".join(title["subtitle"])
    for word in ("tiny", "p(d): clean 0.9, corrupted 0.1", "3 × σ", "10 samples", "seed 1"):
        assert word in said
    given = make_trace(seed=None, samples=1, prompt="word " * 100).chart().to_dict()["title"]
    assert "seed" not in " ".join(given["subtitle"])
    assert given["subtitle"][-1].endswith("1 sample")
    assert max(map(len, given["text"])) < 60


def test_an_answer_of_several_tokens_stands_whole_wherever_a_trace_is_shown():
    whole = WholeAnswer("New York", (" New", " York"), 0.25, 2.5e-11)
    trace = make_trace(whole=whole)
    said = "'New York', all 2 tokens: clean 0.2500, corrupted 2.5e-11"
    assert said in " ".join(trace.chart().to_dict()["title"]["subtitle"])
    assert said in repr(trace)
    assert said in html.unescape(trace._repr_html_())
    assert said in rw.TraceGrid(trace).to_text()
    assert trace.answer_text == "New York"
    assert make_trace().answer_text == "d"


def test_rows_of_a_chart_that_were_not_computed_keep_their_place():
    scores = {"mlp": np.random.RandomState(0).rand(4, 3)}
    scores["mlp"][:2] = np.nan
    (panel, _) = make_trace(scores=scores, recorded={}).chart().to_dict()["hconcat"]
    assert panel["encoding"]["y"]["scale"]["domain"] == [0, 1, 2, 3]
    assert panel["encoding"]["x"]["scale"]["domain"] == [0, 1, 2]


def test_tokens_never_become_code_in_a_chart():
    spec = json.dumps(make_trace().chart().to_dict()["hconcat"][0]["encoding"]["y"])
    assert "<b>" not in spec
    assert "\\\\u003cb\\\\u003e" in spec


def test_a_chart_of_a_long_prompt_on_a_deep_model_is_drawn():
    tokens = tuple("abcdefgh" * 15)
    wide = {"mlp": np.random.RandomState(0).rand(120, 48)}
    trace = make_trace(tokens=tokens, scores=wide, n_layers=48, recorded={})
    assert '"layer": 47' in trace.chart().to_json(indent=None)


def test_a_chart_says_where_it_is_an_estimate():
    titles = [panel["title"] for panel in make_trace().chart().to_dict()["hconcat"][:-1]]
    assert titles == ["Hidden state", "MLP", "Attention"]
    estimated = make_trace(estimated=True).chart().to_dict()["hconcat"][:-1]
    assert [panel["title"] for panel in estimated] == [f"{title} (estimate)" for title in titles]
