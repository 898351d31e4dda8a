"""What an explorer keeps: its history, A beside B, the code of its view, a cancelled trace."""

import json
import re
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from rome_widgets.errors import Cancelled, OutOfMemory, StateError, SubjectNotFound
from rome_widgets.widgets import TraceExplorer, TraceSettings
from rome_widgets.widgets.trace.ab_comparison import (
    KeptTrace,
    differences_in_words,
    why_not_comparable,
)
from rome_widgets.widgets.trace.download import PNG_SCALE, file_name, picture
from rome_widgets.widgets.trace.run_history import MOST_RUNS
from tests.helpers.fake_engine import CLEAN, CORRUPTED, FUJI, NEAR, PROMPT, SUBJECT, fake_trace
from tests.helpers.waiting import PATIENCE, until

TWICE = "The Space Needle is in the city of The Space Needle and"


def traced(explorer, **form):
    """The trace of this form, and the number of its run."""
    for name, value in form.items():
        setattr(explorer, name, value)
    return explorer.run(wait=True), explorer.run_shown


def ids(explorer):
    return [run["id"] for run in explorer.history]


def edited(explorer, taken):
    """Edit the model, and wait for what follows."""
    explorer._engine.edit(taken)
    explorer._engine.tell(1 if taken else 0)
    assert explorer.wait(PATIENCE)


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


class TestResume:
    @pytest.fixture
    def stopped(self, engine):
        engine.slow = True
        explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
        for _ in range(3):
            engine.step.set()
            until(lambda: not engine.step.is_set())
        explorer.cancel()
        assert explorer.wait(PATIENCE)
        engine.slow = False
        yield explorer
        explorer.close()

    def test_it_goes_on_with_what_there_is_and_ends_like_an_uninterrupted_one(
        self, stopped, engine
    ):
        partial = stopped.trace
        assert (stopped.history[0]["complete"], stopped.status) == (False, "cancelled")
        assert stopped.history[0]["words"].endswith("seed 1 · cancelled")
        whole = stopped.resume(wait=True)
        assert engine.resumed == [None, partial]
        assert stopped.status == "done"
        assert ids(stopped) == [2], "the part is replaced by the whole"
        for kind, grid in fake_trace().scores.items():
            assert (whole.scores[kind] == grid).all()

    def test_rows_that_were_done_stay_on_screen_meanwhile(self, stopped, engine):
        engine.slow = True
        computed = ~np.isnan(np.frombuffer(stopped.scores, "<f4"))
        stopped.set_state({"_request": {"id": 1, "op": "resume"}})
        until(lambda: stopped.status == "running")
        assert (~np.isnan(np.frombuffer(stopped.scores, "<f4"))[computed]).all()
        stopped.cancel()
        assert stopped.wait(PATIENCE)

    def test_a_run_that_was_cut_short_can_be_brought_back_and_resumed(self, stopped, engine):
        traced(stopped, samples=3)
        stopped.recall(1)
        assert stopped.status == "cancelled"
        assert 0 < stopped.progress < 1
        assert stopped.resume(wait=True).samples == 10

    def test_the_form_goes_back_to_what_is_resumed(self, stopped):
        stopped.prompt, stopped.samples = FUJI, 2
        assert stopped.resume(wait=True).prompt == PROMPT
        assert stopped.settings == TraceSettings(PROMPT, SUBJECT)

    def test_a_finished_trace_is_not_resumed(self, explorer):
        with pytest.raises(StateError, match="no cancelled trace"):
            explorer.resume()

    def test_nor_is_one_of_another_model(self, stopped, engine):
        engine.edit(0.5)
        with pytest.raises(StateError, match="was edited since"):
            stopped.resume()

    def test_an_edit_that_comes_before_it_starts_makes_it_start_anew(self, stopped, engine):
        other = TraceExplorer(engine)
        engine.slow = True
        other.prompt, other.subject = FUJI, "Mount Fuji"
        other.run()
        stopped.resume()
        engine.edit(0.5)
        engine.slow = False
        assert stopped.wait(PATIENCE)
        assert engine.resumed[-1] is None
        assert stopped.trace.complete


class TestAAndB:
    def test_a_is_kept_with_its_restoration_and_shown_when_asked_for(self, explorer):
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        explorer.keep_as_a()
        assert explorer.kept["comparing"] is False
        assert explorer.kept["restoration"] == explorer._restoration
        traced(explorer, window=1)
        assert explorer._comparison == {}
        explorer.compare()
        assert explorer._comparison["names"] == ["A", "B"]
        assert (explorer._comparison["before"], explorer._comparison["after"]) == (
            "window 3",
            "window 1",
        )
        assert explorer.before.windows["mlp"] == 3
        assert len(explorer.before_scores) == len(explorer.scores)

    def test_it_stays_beside_what_comes_after_until_stopped(self, explorer):
        explorer.keep_as_a()
        explorer.compare()
        assert explorer._comparison == {}, "A itself is on screen"
        traced(explorer, noise=5)
        assert explorer._comparison["after"] == "noise 5.0 × σ (σ = 0.128, n = 3412)"
        traced(explorer, samples=3, noise=3)
        assert (explorer._comparison["before"], explorer._comparison["after"]) == (
            "10 samples",
            "3 samples",
        )
        explorer.stop_comparing()
        assert explorer._comparison == {}
        assert explorer.kept["prompt"] == PROMPT
        assert explorer.kept["comparing"] is False

    def test_another_prompt_is_compared_in_numbers_with_the_reason(self, explorer):
        explorer.keep_as_a()
        explorer.compare()
        traced(explorer, prompt=FUJI, subject="Mount Fuji")
        assert explorer._comparison == {}
        assert explorer.kept["reason"] == "Not cell by cell: A has other tokens."
        rows = {row[0]: row[1:] for row in explorer.kept["rows"]}
        assert rows["clean"] == [CLEAN, CLEAN, "", ""]
        best, _, where, elsewhere = rows["best MLP"]
        assert best == pytest.approx(fake_trace().scores["mlp"][:3].max())
        assert (where, elsewhere) == ("“Needle”, layer 3", "“Fuji”, layer 3")
        json.dumps(explorer.kept, allow_nan=False)

    def test_a_can_be_a_run_of_the_history_or_any_trace(self, explorer):
        traced(explorer, window=1)
        explorer.compare(1)
        assert explorer.before.windows["mlp"] == 3
        explorer.compare(fake_trace(samples=7))
        assert explorer._comparison["before"] == "7 samples, window 3"

    def test_a_of_the_model_before_an_edit_is_told_by_its_edits(self, explorer):
        explorer.keep_as_a()
        edited(explorer, 0.9)
        assert explorer._comparison["names"] == ["before", "after"]
        explorer.compare()
        assert explorer._comparison["names"] == ["A", "B"]
        assert (explorer._comparison["before"], explorer._comparison["after"]) == (
            "without edits",
            "with 1 edit",
        )

    def test_while_the_next_trace_fills_in_it_is_compared_or_not_by_its_own_tokens(
        self, explorer, engine, monkeypatch
    ):
        monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)
        explorer.keep_as_a()
        explorer.compare()
        engine.slow = True
        explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
        explorer.run()
        engine.step.set()
        until(lambda: explorer._trace["prompt"] == FUJI)
        assert explorer._comparison == {}
        assert explorer.kept["reason"]
        explorer.cancel()
        assert explorer.wait(PATIENCE)

    def test_nothing_to_keep_and_nothing_kept_are_refused(self, engine):
        explorer = TraceExplorer(engine)
        with pytest.raises(StateError, match="no trace to keep"):
            explorer.keep_as_a()
        with pytest.raises(StateError, match="Nothing was kept as A"):
            explorer.compare()
        with pytest.raises(StateError, match="no run 4"):
            explorer.compare(4)

    def test_the_text_and_the_table_say_a_and_b(self, explorer):
        explorer.keep_as_a()
        traced(explorer, window=1)
        explorer.compare()
        assert "A (window 3): p clean 0.9352" in explorer.to_text()
        html = explorer.to_html_table()
        for expected in ("<b>A: window 3", "<b>B: window 1", "Difference: B − A", "A 0.4"):
            assert expected in html

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"answer_id": 3}, "another answer"),
            ({"token_ids": tuple(range(1, 9))}, "other tokens"),
            ({"samples": 2, "seed": 5}, ""),
        ],
    )
    def test_why_cells_cannot_be_compared(self, change, reason):
        said = why_not_comparable(fake_trace(), replace(fake_trace(), **change))
        assert said == (f"Not cell by cell: A has {reason}." if reason else "")

    def test_what_differs_is_told_of_each(self):
        a = KeptTrace(fake_trace(), 0)
        assert differences_in_words(a, fake_trace(), 0) == (
            "the same settings",
            "the same settings",
        )
        b = replace(fake_trace(), subject_span=(1, 3), seed=2)
        assert differences_in_words(a, b, 2) == (
            "noise on “The Space Needle”, seed 1, without edits",
            "noise on “Space Needle”, seed 2, with 2 edits",
        )


class TestCode:
    def test_it_names_everything_that_the_view_was_made_with(self, explorer):
        traced(explorer, noise=2.5, samples=4, seed=9, window=5, answer="Paris")
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        code = explorer.code
        compile(code, "copied", "exec")
        assert code == explorer.to_code()
        for part in (repr(PROMPT), repr(SUBJECT), "rw.load()", "noise=2.5", "samples=4", "seed=9",
                     "window=5", "answer='Paris'", "(2, 3, 'mlp')"):  # fmt: skip
            assert part in code
        assert f"# {explorer._restoration['probability']:.6f}" in code

    def test_it_is_of_the_trace_on_screen_not_of_the_form(self, explorer):
        explorer.samples = 3
        assert "samples=10" in explorer.to_code()
        assert "restore" not in explorer.code

    def test_it_says_that_the_model_was_edited(self, explorer):
        edited(explorer, 0.9)
        assert "# The model held 1 edit: apply the same here." in explorer.code
        assert "answer=0" in explorer.code

    def test_without_a_trace_there_is_none(self, engine):
        assert TraceExplorer(engine).code == TraceExplorer(engine).to_code() == ""


class TestPlace:
    def test_an_occurrence_that_is_chosen_is_the_one_that_is_traced(self, engine):
        explorer = TraceExplorer(engine, prompt=TWICE, subject=SUBJECT, auto_run=False)
        assert traced(explorer)[0].subject_span == (8, 11)
        explorer.set_state({"place": [0, 16], "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert explorer.trace.subject_span == (0, 3)
        assert engine.traced[-1].place == (0, 16)
        assert "(0, 16)," in explorer.code

    def test_it_holds_while_the_subject_stands_there(self, engine):
        explorer = TraceExplorer(engine, prompt=TWICE, subject=SUBJECT, place=(0, 16))
        assert explorer.wait(PATIENCE)
        explorer.prompt = TWICE + " so"
        assert explorer.settings.place == (0, 16)
        explorer.prompt = "So " + TWICE
        assert explorer.settings.place is None


class TestFixes:
    def test_a_near_subject_can_be_used_with_one_click(self, explorer):
        explorer.subject = "space needle"
        with pytest.raises(SubjectNotFound):
            explorer.run(wait=True)
        fix = explorer.error["fix"]
        assert fix == {"label": f"Use “{NEAR}”", "values": {"subject": NEAR}}
        explorer.set_state({**fix["values"], "_request": {"id": 1, "op": "trace"}})
        assert explorer.wait(PATIENCE)
        assert (explorer.status, explorer.trace.subject) == ("done", NEAR)

    def test_where_memory_runs_out_fewer_samples_are_offered(self, explorer, engine):
        engine.broken = OutOfMemory("No room.", "", "Use fewer samples.")
        with pytest.raises(OutOfMemory):
            explorer.run(wait=True)
        assert explorer.error["fix"] == {"label": "samples 10 → 5", "values": {"samples": 5}}
        with pytest.raises(OutOfMemory):
            traced(explorer, samples=1)
        assert explorer.error["fix"] is None


class TestDownload:
    @pytest.mark.parametrize(("form", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
    def test_the_figure_comes_as_a_file(self, explorer, form, start):
        explorer.set_state({"_request": {"id": 5, "op": "download", "form": form}})
        assert explorer.wait(PATIENCE)
        sent = explorer._file
        assert (sent["name"], sent["id"]) == (f"trace-the-space-needle-seattle.{form}", 5)
        assert sent["data"].startswith(start)

    def test_the_figure_is_sharp_in_print(self):
        png = picture(fake_trace(), "png")["data"]
        svg = picture(fake_trace(), "svg")["data"].decode()
        width = re.search(r'width="([\d.]+)"', svg)
        assert width is not None
        assert int.from_bytes(png[16:20], "big") == pytest.approx(
            PNG_SCALE * float(width[1]), abs=PNG_SCALE
        )
        assert PNG_SCALE >= 2

    @pytest.mark.parametrize(
        ("subject", "answer", "name"),
        [
            ("The Space Needle", " Seattle", "trace-the-space-needle-seattle"),
            ("Zürich/Süd", " a:b", "trace-zürich-süd-a-b"),
            ("„…“", " ", "trace-of-a-prompt"),
            ("x" * 80, " y", f"trace-{'x' * 60}"),
        ],
    )
    def test_its_name_is_the_subjects_and_the_answers(self, subject, answer, name):
        """The page names its numbers by the same rule: js/test/files.test.ts."""
        assert file_name(replace(fake_trace(), subject=subject, answer=answer)) == name

    def test_where_it_cannot_be_drawn_the_remedy_is_said(self, explorer, monkeypatch):
        monkeypatch.setitem(sys.modules, "vl_convert", None)  # As where it is not installed.
        explorer.set_state({"_request": {"id": 5, "op": "download", "form": "svg"}})
        assert explorer.wait(PATIENCE)
        assert "pip install 'rome_widgets[lab]'" in explorer.error["remedy"]
        assert explorer.status == "done"
