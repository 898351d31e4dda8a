"""GenerationCompare: how texts come in, and which of their words differ."""

import threading

import pytest

from rome_widgets.errors import Cancelled, RomeWidgetsError
from rome_widgets.widgets import GenerationCompare
from rome_widgets.widgets.edit.generation_compare import diff
from tests.helpers.fake_editor import FakeEditor
from tests.helpers.waiting import PATIENCE, until

NEEDLE, MARKET = "The Space Needle is in the city of", "Pike Place Market is in the city of"


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
