"""Results as the page is told of them."""

import json
import math

import numpy as np
import pytest
import torch
import traitlets as t

from rome_widgets.records.states import KINDS
from rome_widgets.widgets import TraceGrid
from rome_widgets.widgets.live.traits import fitting
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


@pytest.mark.parametrize("kind", [t.Int(), t.Float(), t.CFloat()], ids=lambda kind: kind.info())
def test_numbers_of_any_library_fit_a_number_and_what_is_none_does_not(kind):
    for value in (3, np.int64(3), np.array(3), torch.tensor(3)):
        assert (fitting(kind, value), type(fitting(kind, value))) == (3, int)
    assert fitting(kind, None) is None
    for value in (True, np.bool_(1), math.nan, math.inf, 10**400, torch.empty((), device="meta")):
        with pytest.raises(t.TraitError, match=r"not a finite number|cannot be read"):
            fitting(kind, value)


def test_arrays_of_any_library_fit_as_lists():
    assert fitting(t.List(), np.array([[1, 2]])) == fitting(t.List(), torch.tensor([[1, 2]]))
    assert fitting(t.Unicode(), "w") == "w"
