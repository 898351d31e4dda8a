"""Results as the page is told of them."""

import json

import numpy as np
import pytest

from rome_widgets.records.states import KINDS
from rome_widgets.widgets import TraceGrid
from tests.helpers.fake_engine import fake_trace


@pytest.fixture
def trace():
    return fake_trace()


def test_scores_travel_as_float32_by_kind_position_and_layer(trace):
    grid = TraceGrid(trace)
    sent = np.frombuffer(grid.scores, "<f4").reshape(3, len(trace.tokens), trace.n_layers)
    for at, kind in enumerate(grid._trace["kinds"]):
        np.testing.assert_allclose(sent[at], trace.scores[kind], rtol=1e-6)
    assert grid._trace["kinds"] == list(KINDS)


def test_the_description_is_json_even_when_numbers_are_missing():
    trace = fake_trace(clean=float("nan"), seed=None, notes=("A half surrogate: \ud800",))
    text = json.dumps(TraceGrid(trace)._trace, allow_nan=False)
    text.encode("utf-8")
    assert json.loads(text)["clean"] is None
