"""PredictionCompare: what is shown of which runs."""

import json

import pytest

from rome_widgets.errors import StateError
from rome_widgets.records.edit import Comparison, ComparisonRow
from rome_widgets.widgets import PredictionCompare, PredictionRun

CLEAN = PredictionRun("clean", [" Seattle", " Tacoma", " Paris"], [0.9, 0.06, 0.01], [1, 2, 9])
EDITED = PredictionRun("edited", [" Paris", " Seattle", " Lyon"], [0.8, 0.1, 0.05])


class TestPredictionCompare:
    def test_every_token_of_any_run_has_a_row_and_what_is_unknown_is_none(self):
        compared = PredictionCompare([CLEAN, EDITED])
        rows = {row["token"]: row for row in compared.rows}
        assert rows[" Paris"] == {"token": " Paris", "probs": [0.01, 0.8], "ranks": [9, 1]}
        assert rows[" Lyon"] == {"token": " Lyon", "probs": [None, 0.05], "ranks": [None, 3]}
        assert compared.runs == ["clean", "edited"]
        json.dumps(compared.rows, allow_nan=False)

    def test_shown_is_the_union_of_the_first_k_and_the_target(self):
        compared = PredictionCompare([CLEAN, EDITED], k=1)
        assert {row["token"] for row in compared.shown} == {" Seattle", " Paris"}
        compared.target = " Lyon"
        assert {row["token"] for row in compared.shown} == {" Seattle", " Paris", " Lyon"}
        compared.k = 2
        assert " Tacoma" in {row["token"] for row in compared.shown}

    def test_ranks_follow_the_probabilities_where_none_are_given(self):
        run = PredictionRun("x", ["a", "b", "c"], [0.1, 0.7, 0.2])
        assert [row["ranks"] for row in PredictionCompare([run]).rows] == [[3], [1], [2]]

    @pytest.mark.parametrize(
        "runs", [3, "clean", [3], [{"name": "x"}], {"name": "x"}, [{"tokens": [], "prob": []}]]
    )
    def test_what_is_no_run_is_refused_in_words(self, runs):
        with pytest.raises(StateError, match=r"is nothing to compare.*edit\.compare"):
            PredictionCompare(runs)

    def test_runs_come_as_dicts_too_and_can_be_replaced(self):
        compared = PredictionCompare([CLEAN, EDITED], baseline=1)
        compared.show([{"name": "only", "tokens": ["a"], "probabilities": [1.0]}])
        assert (compared.runs, compared.baseline) == (["only"], 0)

    def test_other_runs_have_a_sort_and_a_target_of_their_own(self):
        def comparison(word):
            row = ComparisonRow(f" {word}", 1, 0.1, 0.9, 2, 1)
            return Comparison("x is", (row,), row)

        compared = PredictionCompare(comparison("Paris"), sort="token")
        compared.show(comparison("Rome"))
        assert (compared.target, compared.sort) == (" Rome", "1")
        compared.show([CLEAN])
        assert (compared.target, compared.sort) == (None, "0")

    @pytest.mark.parametrize("more", [{"probabilities": [0.1]}, {"ranks": [1, 2]}])
    def test_a_run_whose_lists_differ_in_length_is_refused(self, more):
        given = {"name": "x", "tokens": ["a"], "probabilities": [0.1], "ranks": [1]}
        with pytest.raises(StateError, match="probabilities"):
            PredictionCompare([{**given, "tokens": ["a", "b", "c"], **more}])
