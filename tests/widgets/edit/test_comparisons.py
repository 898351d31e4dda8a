"""PredictionCompare and GenerationCompare: what is shown, and how it comes in."""

import json
import threading

import pytest

from rome_widgets.errors import Cancelled, RomeWidgetsError, StateError
from rome_widgets.records.edit import Comparison, ComparisonRow
from rome_widgets.widgets import GenerationCompare, PredictionCompare, PredictionRun
from rome_widgets.widgets.edit.generation_compare import diff
from tests.helpers.fake_editor import FakeEditor
from tests.widgets.edit.test_edit_panel import PATIENCE, until

NEEDLE, MARKET = "The Space Needle is in the city of", "Pike Place Market is in the city of"
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


class TestDiff:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", ""),
            (" in Seattle.", " in Paris."),
            ("a b c", "a c"),
            ("  two\n\nlines ", "two lines"),
            ("same", "same"),
            ("one", "quite other words\t"),
            (" ", "x"),
        ],
    )
    def test_the_pieces_of_each_text_are_the_text(self, before, after):
        for text, spans in zip((before, after), diff(before, after), strict=True):
            assert "".join(piece for _, piece in spans) == text

    def test_only_differing_words_are_marked_and_never_the_space_before_them(self):
        assert diff(" in Seattle, a city", " in Paris, a city") == (
            [[False, " in"], [False, " "], [True, "Seattle,"], [False, " a city"]],
            [[False, " in"], [False, " "], [True, "Paris,"], [False, " a city"]],
        )


class TestGenerationCompare:
    def test_each_prompt_has_a_row_with_its_words_marked_or_collapsed(self):
        shown = GenerationCompare(FakeEditor(), [NEEDLE, MARKET])
        assert shown.wait(PATIENCE)
        assert shown.status == "done"
        needle, market = shown.cells
        assert [True, "Seattle, Washington."] in needle["spans"][0]
        assert [True, "Paris, France."] in needle["spans"][1]
        assert not needle["same"]
        assert market["same"]
        assert shown.columns == ["before", "after"]

    def test_text_streams_in_unmarked_word_by_word(self, monkeypatch):
        monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
        seen = []
        shown = GenerationCompare(FakeEditor(), [NEEDLE], auto_run=False)
        shown.observe(lambda change: seen.append(change["new"][0]["spans"]), "cells")
        shown.run(wait=True)
        lengths = [len(spans[0][0][1]) for spans in seen[:-1]]
        assert lengths == sorted(lengths)
        assert len(set(lengths)) > 5
        assert not any(differs for spans in seen[:-1] for cell in spans for differs, _ in cell)

    def test_it_streams_ten_times_a_second_at_most(self, monkeypatch):
        monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 1e9)
        seen = []
        shown = GenerationCompare(FakeEditor(), [NEEDLE, MARKET], auto_run=False)
        shown.observe(lambda change: seen.append(change["new"]), "cells")
        shown.run(wait=True)
        assert len(seen) <= 3

    def test_cancel_keeps_what_was_written(self, monkeypatch):
        monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
        engine = FakeEditor(slow=True)
        shown = GenerationCompare(engine, [NEEDLE])
        for _ in range(3):
            engine.step.set()
            until(lambda: not engine.step.is_set())
        until(lambda: shown.texts and shown.texts[0])
        shown.set_state({"_cancel_id": 1})
        assert shown.wait(PATIENCE)
        assert shown.status == "cancelled"
        assert shown.texts[0]["before"].startswith(" Seattle,")
        assert shown.columns == ["before", "after"], "also where nothing was written in one"

    def test_waiting_for_a_run_that_is_cancelled_raises_with_the_texts_so_far(self, monkeypatch):
        monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
        engine = FakeEditor(slow=True)
        shown = GenerationCompare(engine, [NEEDLE], auto_run=False)

        def stop():
            engine.step.set()
            until(lambda: shown.texts and shown.texts[0])
            shown.cancel()

        threading.Thread(target=stop).start()
        with pytest.raises(Cancelled) as caught:
            shown.run(wait=True)
        assert shown.status == "cancelled"
        assert caught.value.partial == shown.texts == [{"before": " Seattle,"}]

    def test_waiting_for_a_run_that_is_cancelled_before_it_begins_raises_too(self):
        engine = FakeEditor(slow=True)
        first = GenerationCompare(engine, [MARKET])  # Keeps the worker busy.
        shown = GenerationCompare(engine, [NEEDLE], auto_run=False)
        until(lambda: first.status == "running")
        shown.observe(lambda change: threading.Timer(0.05, shown.cancel).start(), "status")
        with pytest.raises(Cancelled, match="before it began") as caught:
            shown.run(wait=True)
        assert caught.value.partial is None
        engine.slow = False
        assert first.wait(PATIENCE)

    def test_the_page_asks_again_and_the_latest_run_counts(self):
        engine = FakeEditor(slow=True)
        shown = GenerationCompare(engine, [NEEDLE])
        until(lambda: shown.status == "running")
        shown.prompts = [MARKET]
        statuses = []
        shown.observe(lambda change: statuses.append(change["new"]), "status")
        shown.set_state({"_request": {"id": 1, "op": "generate"}})
        engine.slow = False
        assert shown.wait(PATIENCE)
        assert [row["prompt"] for row in shown.cells] == [MARKET]
        assert len(engine.order) == 2
        assert "cancelled" not in statuses

    def test_an_error_arrives_as_data_and_is_raised_when_waited_for(self):
        engine = FakeEditor()
        engine.broken = RomeWidgetsError("No room.", "", "Fewer prompts.")
        shown = GenerationCompare(engine, [NEEDLE])
        assert shown.wait(PATIENCE)
        assert (shown.status, shown.error["remedy"]) == ("error", "Fewer prompts.")
        with pytest.raises(RomeWidgetsError, match="No room"):
            shown.run(wait=True)

    @pytest.mark.parametrize("trait", ["cells", "columns", "progress"])
    def test_a_failing_observer_of_the_users_does_not_leave_it_running(self, caplog, trait):
        shown = GenerationCompare(FakeEditor(), [NEEDLE], columns=["text"], auto_run=False)

        def fail(change):
            raise ZeroDivisionError("in the user's observer")

        shown.observe(fail, trait)
        shown.run()
        assert shown.wait(PATIENCE)
        assert shown.status in ("done", "error")
        assert "in the user's observer" in shown.error["message"]

    def test_recorded_texts_need_no_model(self):
        shown = GenerationCompare(
            prompts=[NEEDLE],
            columns=["before", "after", "twice"],
            texts=[{"before": " a b", "after": " a c", "twice": " d b"}],
        )
        assert shown.status == "static"
        assert shown.cells[0]["spans"][2] == [[False, " "], [True, "d"], [False, " b"]]
        with pytest.raises(RomeWidgetsError, match="no model"):
            shown.run()
        shown.set_state({"_request": {"id": 1, "op": "generate"}})

    def test_a_run_ends_with_its_widget(self):
        engine = FakeEditor(slow=True)
        shown = GenerationCompare(engine, [NEEDLE])
        until(lambda: shown.status == "running")
        shown.close()
        assert shown._worker.wait(shown._places(), PATIENCE)
