"""The runs that an explorer keeps, and how one comes back."""

import json
import threading

import pytest

from rome_widgets.errors import Cancelled, StateError
from rome_widgets.widgets import TraceSettings
from rome_widgets.widgets.trace.run_history import MOST_RUNS
from tests.helpers.explorers import edited, traced
from tests.helpers.fake_engine import CLEAN, CORRUPTED, FUJI, PROMPT, SUBJECT
from tests.helpers.waiting import PATIENCE


def ids(explorer):
    return [run["id"] for run in explorer.history]


class TestHistory:
    def test_every_run_is_kept_with_its_settings_and_its_two_runs(self, explorer):
        traced(explorer, window=1, noise=2.5)
        assert ids(explorer) == [1, 2]
        assert explorer.run_shown == 2
        first, second = explorer.history
        assert first["settings"] == vars(TraceSettings(PROMPT, SUBJECT))
        assert (second["settings"]["window"], second["settings"]["noise"]) == (1, 2.5)
        assert (first["clean"], first["corrupted"], first["answer"]) == (
            CLEAN,
            CORRUPTED,
            " Seattle",
        )
        assert (first["edits"], first["complete"]) == (0, True)
        assert first["words"] == "window auto · noise 3 × σ · 10 samples · seed 1"
        json.dumps(explorer.history, allow_nan=False)

    def test_a_run_comes_back_with_its_numbers_and_its_form_and_nothing_is_traced(
        self, explorer, engine
    ):
        first, scores = explorer.trace, explorer.scores
        traced(explorer, prompt=FUJI, subject="Mount Fuji", samples=3, answer="Paris")
        explorer.recall(1)
        assert explorer.trace is first
        assert explorer.scores == scores
        assert explorer._trace["prompt"] == PROMPT
        assert explorer.settings == TraceSettings(PROMPT, SUBJECT)
        assert (explorer.status, explorer.stale, explorer.run_shown) == ("done", False, 1)
        assert ids(explorer) == [1, 2]
        assert len(engine.traced) == 2

    def test_a_click_on_a_run_that_came_back_asks_with_its_settings(self, explorer, engine):
        traced(explorer, window=1)
        explorer.recall(1)
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        assert len(explorer._restoration["states"]) == 3
        assert explorer._restoration["source"] == "exact"

    def test_a_selection_that_the_run_has_too_is_answered_again(self, explorer, engine):
        explorer.selection = [(2, 3, "mlp")]
        traced(explorer, window=1)
        assert explorer.wait(PATIENCE)
        assert len(explorer._restoration["states"]) == 1
        explorer.recall(1)
        assert explorer.wait(PATIENCE)
        assert len(explorer._restoration["states"]) == 3

    def test_a_run_of_the_model_as_it_was_says_so(self, explorer, engine):
        edited(explorer, 0.9)
        assert [run["edits"] for run in explorer.history] == [0, 1]
        assert explorer.history[1]["words"].endswith("seed 1 · 1 edit")
        explorer.recall(1)
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        assert explorer.stale
        assert explorer._comparison == {}
        assert explorer._restoration["source"] == "edited"
        assert len(engine.traced) == 2, "it is not traced again by itself"
        explorer.recall(2)
        assert not explorer.stale
        assert explorer._comparison["before"] == "without the edit"

    def test_a_run_that_came_back_is_made_again_when_the_model_is_edited_then(self, explorer):
        traced(explorer, window=1)
        explorer.recall(1)
        edited(explorer, 0.9)
        assert explorer.trace.windows["mlp"] == 3
        assert explorer.before.clean == CLEAN

    def test_the_same_run_again_replaces_the_one_before(self, explorer):
        traced(explorer)
        assert ids(explorer) == [2]

    def test_it_is_bounded_and_what_has_gone_is_refused(self, explorer):
        for samples in range(1, MOST_RUNS + 2):
            traced(explorer, samples=samples)
        assert len(explorer.history) == MOST_RUNS
        assert explorer.history[-1]["settings"]["samples"] == MOST_RUNS + 1
        with pytest.raises(StateError, match="no run 1"):
            explorer.recall(1)

    def test_a_running_trace_is_given_up_without_a_word(self, explorer, engine):
        engine.slow = True
        explorer.samples = 3
        threading.Timer(0.1, explorer.recall, [1]).start()
        with pytest.raises(Cancelled, match="Another trace"):
            explorer.run(wait=True)
        assert explorer.wait(PATIENCE)
        assert (explorer.status, explorer.samples) == ("done", 10)
        assert explorer.trace.complete

    def test_the_page_brings_a_run_back_and_hears_when_it_has_gone(self, explorer):
        traced(explorer, samples=3)
        explorer.set_state({"_request": {"id": 1, "op": "recall", "run": 1}})
        assert explorer.trace.samples == 10
        explorer.set_state({"_request": {"id": 2, "op": "recall", "run": 77}})
        assert "no run 77" in explorer.error["found"]
