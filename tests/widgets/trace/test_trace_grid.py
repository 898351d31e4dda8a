"""TraceGrid: a recorded trace answers what it can and says what it cannot."""

import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import traitlets

from rome_widgets.errors import StateError
from rome_widgets.records.states import KINDS, State
from rome_widgets.widgets import TraceGrid
from tests.helpers.fake_engine import CORRUPTED, fake_trace


@pytest.fixture
def trace():
    return fake_trace()


def test_an_estimated_trace_is_shown_as_an_estimate_and_answers_no_click():
    trace = fake_trace(estimated=True)
    grid = TraceGrid(trace, selection=[(2, 4, "hidden")])
    assert np.isnan(np.frombuffer(grid.scores, "<f4")).all()
    guess = np.frombuffer(grid.estimate, "<f4").reshape(3, len(trace.tokens), trace.n_layers)
    np.testing.assert_allclose(guess[0], trace.scores["hidden"], rtol=1e-6)
    assert grid._restoration["score"] is None
    assert "This trace is an estimate" in grid._restoration["message"]
    assert "estimate" in grid.to_text()
    assert "<b>estimate</b>" in grid.to_html_table()
    assert (
        f'title="MLP layer 3: estimate ≈ {trace.scores["mlp"][2, 3]:.2f}"' in grid.to_html_table()
    )


def test_a_trace_that_is_none_has_no_estimate_to_show(trace):
    grid = TraceGrid(trace)
    assert grid.estimate == b""
    assert "estimate" not in grid.to_text() + grid.to_html_table()


def test_an_empty_grid_takes_any_selection_and_answers_nothing():
    grid = TraceGrid()
    grid.selection = [(3, 5, "mlp")]
    assert grid._restoration == {}
    assert grid.selected_states == []
    assert grid.trace is None


def test_selection_is_sorted_unique_and_made_of_states(trace):
    grid = TraceGrid(trace)
    grid.selection = [[2, 4, "hidden"], (-6, 3, "mlp"), [2, 4, "hidden"]]
    assert grid.selection == [State(2, 3, "mlp"), State(2, 4, "hidden")]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ((2, 99, "mlp"), "There is no layer 99. Layers run from 0 to 7."),
        ((99, 2, "mlp"), "There is no position 99. Positions run from 0 to 7."),
        ((2, 3, "neuron"), "There is no kind 'neuron'."),
        ((2, 3), "is not a state"),
        ("ab", "is not a state"),
        ((2.5, 3, "mlp"), "is not a state"),
    ],
)
def test_a_bad_selection_is_refused_with_its_reason_and_changes_nothing(trace, cell, says):
    grid = TraceGrid(trace, selection=[(2, 3, "mlp")])
    with pytest.raises(traitlets.TraitError, match=r"TraceGrid\.selection") as caught:
        grid.selection = [cell]
    assert says in str(caught.value)
    assert grid.selection == [(2, 3, "mlp")]


def test_a_kind_that_was_not_traced_cannot_be_selected(trace):
    only = fake_trace(scores={"mlp": trace.scores["mlp"].copy()})
    with pytest.raises(traitlets.TraitError, match="no 'attn' scores"):
        TraceGrid(only, selection=[(2, 3, "attn")])


def test_cursor_is_a_cell_or_none(trace):
    grid = TraceGrid(trace)
    grid.cursor = [1, 2, "attn"]
    assert grid.cursor == State(1, 2, "attn")
    grid.cursor = None
    with pytest.raises(traitlets.TraitError, match=r"TraceGrid\.cursor"):
        grid.cursor = (1, 99, "attn")


def test_of_another_metric_the_grids_number_is_no_probability(trace):
    scores = {kind: 10 * grid - 9 for kind, grid in trace.scores.items()}
    ends = {"clean": 10 * trace.clean - 9, "corrupted": 10 * trace.corrupted - 9}
    measured = {"metric": "logit_difference", "against": " Paris", "against_id": 1}
    other = dataclasses.replace(trace, scores=scores, **ends, **measured)
    grid = TraceGrid(other, selection=[(2, 3, "mlp")])
    found = grid.restoration
    assert (found.score, found.probability) == (scores["mlp"][2, 3], None)
    assert found.recovery == pytest.approx(
        TraceGrid(trace, selection=[(2, 3, "mlp")]).restoration.recovery
    )
    assert "logit difference clean" in grid.to_text()
    assert "logit(Seattle) − logit(Paris): clean" in grid.to_html_table()
    with pytest.raises(StateError, match="has the metric"):
        TraceGrid(trace, before=other)


def test_one_cell_is_answered_with_the_grids_own_number(trace):
    grid = TraceGrid(trace, selection=[(2, 3, "mlp")])
    score = trace.scores["mlp"][2, 3]
    assert grid._restoration["score"] == score
    assert grid._restoration["recovery"] == pytest.approx(
        (score - trace.corrupted) / trace.total_effect
    )
    assert grid._restoration["source"] == "cell"
    assert grid._restoration["rows"] == []
    assert grid._restoration["states"] == [[2, 2, "mlp"], [2, 3, "mlp"], [2, 4, "mlp"]]
    assert grid._restoration["selection"] == [[2, 3, "mlp"]]


def test_one_cell_is_answered_from_the_recording_when_there_is_one(trace):
    ids = np.zeros((len(trace.tokens), trace.n_layers, 2), np.int32)
    ids[..., 1] = 40
    probabilities = np.full(ids.shape, 0.25, np.float32)
    recorded = fake_trace(
        recorded={"mlp": (ids, probabilities)}, recorded_tokens={0: " Seattle", 40: " <b>Rome"}
    )
    grid = TraceGrid(recorded, selection=[(2, 3, "mlp")])
    assert grid._restoration["source"] == "recorded"
    first, second = grid._restoration["rows"]
    assert first == {
        "token": " Seattle",
        "id": 0,
        "clean": 0.9352,
        "corrupted": CORRUPTED,
        "restored": 0.25,
    }
    assert second == {
        "token": " <b>Rome",
        "id": 40,
        "clean": None,
        "corrupted": None,
        "restored": 0.25,
    }


def test_several_cells_get_a_sentence_instead_of_a_made_up_number(trace):
    grid = TraceGrid(trace, selection=[(2, 3, "mlp"), (2, 4, "hidden")])
    assert grid._restoration["score"] is None
    assert "a live model is needed" in grid._restoration["message"]


def test_a_cell_that_was_not_computed_says_so(trace):
    scores = {kind: grid.copy() for kind, grid in trace.scores.items()}
    scores["mlp"][2, 3] = np.nan
    assert TraceGrid(fake_trace(scores=scores), selection=[(2, 3, "mlp")])._restoration["message"]


def test_clearing_the_selection_clears_the_answer(trace):
    grid = TraceGrid(trace, selection=[(2, 3, "mlp")])
    grid.selection = []
    assert grid._restoration == {}


def test_a_recorded_grid_says_that_it_has_no_single_states_of_a_window(trace):
    grid = TraceGrid(trace)
    grid.select_states([(2, 3, "mlp")])
    assert grid.selected_states == [State(2, 3, "mlp")]
    assert grid.restoration is None
    assert "live model" in grid._restoration["message"]
    grid.select_states([(2, 3, "hidden")])
    assert grid.restoration.states == (State(2, 3, "hidden"),)


def test_selected_states_are_the_union_of_what_the_cells_restored(trace):
    grid = TraceGrid(trace, selection=[(2, 3, "mlp"), (2, 4, "mlp")])
    assert grid.selected_states == [State(2, layer, "mlp") for layer in (2, 3, 4, 5)]


@pytest.mark.parametrize("values", [{"theme": "blue"}, {"kind": "neuron"}])
def test_a_value_that_is_not_a_choice_is_refused(trace, values):
    with pytest.raises(traitlets.TraitError):
        TraceGrid(trace, **values)


def test_what_the_page_sends_is_taken_and_answered(trace):
    grid = TraceGrid(trace)
    grid.set_state(
        {"selection": [[2, 3, "mlp"]], "cursor": [2, 3, "mlp"], "kind": "mlp", "_ping": "abc"}
    )
    assert grid.selection == [State(2, 3, "mlp")]
    assert grid._restoration["score"] == trace.scores["mlp"][2, 3]
    assert grid._pong == "abc"


def test_select_takes_the_last_subject_token_unless_told_otherwise(trace):
    grid = TraceGrid(trace)
    grid.select(layers=slice(3, 5), kind="mlp")
    assert grid.selection == [(2, 3, "mlp"), (2, 4, "mlp")]
    grid.select("first", layers=-1, kind="attn")
    assert grid.selection == [(0, 7, "attn")]
    grid.select(-1, layers=np.arange(2), kind="hidden")
    assert grid.selection == [(7, 0, "hidden"), (7, 1, "hidden")]


def test_select_without_layers_or_kind_takes_all_that_is_shown(trace):
    grid = TraceGrid(trace, kind="mlp")
    grid.select()
    assert grid.selection == [(2, layer, "mlp") for layer in range(trace.n_layers)]
    grid.kind = "all"
    grid.select(layers=0)
    assert {kind for _, _, kind in grid.selection} == set(KINDS)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"subject": "middle"}, "'middle' is no token to select"),
        ({"subject": 99}, "There is no position 99. Positions run from 0 to 7."),
        ({"layers": [3, 99]}, "There is no layer 99. Layers run from 0 to 7."),
        ({"layers": 2.5}, "is not a state"),
        ({"kind": "neuron"}, "There is no kind 'neuron'."),
    ],
)
def test_what_cannot_be_selected_is_refused_with_its_reason(trace, given, says):
    grid = TraceGrid(trace, selection=[(2, 3, "mlp")])
    with pytest.raises(StateError, match=re.escape(says)):
        grid.select(**given)
    assert grid.selection == [(2, 3, "mlp")]


def test_value_at_follows_the_scale(trace):
    grid, score = TraceGrid(trace), trace.scores["mlp"][2, 3]
    assert grid.value_at(2, 3, "mlp") == score
    grid.scale = "effect"
    assert grid.value_at(2, 3, "mlp") == trace.indirect_effect("mlp")[2, 3]
    grid.scale = "share"
    assert grid.value_at(-6, 3, "mlp") == pytest.approx(
        (score - trace.corrupted) / trace.total_effect
    )
    with pytest.raises(StateError, match="There is no layer 8"):
        grid.value_at(2, 8, "mlp")


def test_to_frame_is_that_of_the_trace(trace):
    assert TraceGrid(trace).to_frame().equals(trace.to_frame())


@pytest.mark.parametrize(
    "ask",
    [TraceGrid.select, TraceGrid.to_frame, lambda grid: grid.value_at(0, 0, "mlp")],
)
def test_an_empty_grid_has_nothing_to_select_or_read(ask):
    with pytest.raises(StateError, match="Nothing is traced yet"):
        ask(TraceGrid())


@pytest.mark.parametrize("given", [3, "needle.trace", {"scores": {}}])
def test_what_is_no_trace_is_refused_in_words(given):
    with pytest.raises(StateError, match=f"{type(given).__name__} is not a trace"):
        TraceGrid(given)


BLOCKED = "torch", "transformers", "pandas", "altair"


def test_widgets_import_and_work_where_torch_cannot_be_imported():
    code = f"""
import sys
for name in {BLOCKED!r}: sys.modules[name] = None
import rome_widgets.widgets
assert rome_widgets.widgets.TraceGrid().to_text()
for name in {BLOCKED!r}: assert sys.modules[name] is None
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
