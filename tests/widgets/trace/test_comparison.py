"""Two traces beside each other: before and after an edit, and A beside B."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from rome_widgets.errors import StateError
from rome_widgets.widgets import EditPanel, TraceExplorer, TraceGrid, TraceSettings
from rome_widgets.widgets.trace.comparison import (
    KeptTrace,
    differences_in_words,
    in_words,
    why_not_comparable,
)
from tests.helpers.explorers import edit, edited, traced
from tests.helpers.fake_editor import NEEDLE, FakeEditor
from tests.helpers.fake_engine import CLEAN, CORRUPTED, FUJI, PROMPT, SUBJECT, fake_trace
from tests.helpers.waiting import PATIENCE, until


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.trace.trace_run.QUIET", 0.0)
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)


def test_an_edit_traces_the_same_again_and_keeps_the_trace_before(explorer, engine):
    before = explorer.trace
    edited(explorer)
    assert explorer.before is before
    assert explorer.trace is not before
    assert engine.traced[1] == TraceSettings(PROMPT, SUBJECT, answer_id=0)
    assert explorer.trace.answer == before.answer
    assert (explorer.status, explorer.stale) == ("done", False)
    assert explorer._comparison == {
        "names": ["before", "after"],
        "before": "without the edit",
        "after": "with 1 edit",
        "clean": CLEAN,
        "corrupted": CORRUPTED,
        "same": False,
    }
    assert np.frombuffer(explorer.before_scores, "<f4") == pytest.approx(
        np.stack([before.scores[kind] for kind in before.kinds]).ravel()
    )
    assert explorer._trace["settings"]["answer_id"] is None, "the form is not said to have changed"


def test_only_a_change_of_the_weights_traces_again(explorer, engine):
    engine.tell(0)
    engine.tell(1)
    assert explorer.wait(PATIENCE)
    assert len(engine.traced) == 1
    assert explorer.before is None


def test_what_is_before_stays_while_edits_follow_one_another(explorer):
    before = explorer.trace
    edited(explorer, 0.9, 1)
    edited(explorer, 0.5, 1)
    edited(explorer, 0.7, 2)
    assert explorer.before is before
    assert explorer._comparison["before"] == "without the edits"
    assert explorer._comparison["after"] == "with 2 edits"


def test_reverting_traces_again_and_says_that_every_number_is_what_it_was(explorer, engine):
    edited(explorer)
    edited(explorer, 0.0, 0)
    assert len(engine.traced) == 3
    assert explorer._comparison["same"] is True
    assert explorer._comparison["after"] == "without edits, as the model is now"
    assert explorer.trace.clean == explorer.before.clean
    assert "nothing changed" in explorer.to_text()


def test_another_prompt_or_setting_compares_with_nothing(explorer, engine):
    edited(explorer)
    explorer.samples = 5
    explorer.run(wait=True)
    assert explorer.before is None
    assert explorer._comparison == {}
    assert explorer.before_scores == b""
    assert engine.traced[-1].answer_id is None
    assert explorer.trace.answer == " Paris", "it follows what the model says now"


def test_the_same_trace_again_stays_compared(explorer):
    before = explorer.trace
    edited(explorer)
    explorer.run(wait=True)
    assert explorer.before is before


def test_comparing_can_be_stopped_from_either_side(explorer, engine):
    edited(explorer)
    after = explorer.trace
    explorer.set_state({"_request": {"id": 1, "op": "stop_comparing"}})
    assert (explorer.before, explorer.comparison, explorer.trace) == (None, None, after)
    edited(explorer, 0.5, 2)
    assert explorer.before is after
    assert engine.traced[-1].answer_id == 0


def test_without_retrace_the_trace_is_stale_and_a_run_compares(explorer, engine):
    explorer.retrace = False
    before = explorer.trace
    edited(explorer)
    assert (len(engine.traced), explorer.stale, explorer.before) == (1, True, None)
    explorer.set_state({"_request": {"id": 1, "op": "trace"}})
    assert explorer.wait(PATIENCE)
    assert (explorer.stale, explorer.before) == (False, before)


def test_an_explorer_without_a_trace_waits_for_its_first(engine):
    explorer = TraceExplorer(engine)
    edited(explorer)
    assert (engine.traced, explorer.stale, explorer.edited) == ([], False, 1)


def test_the_selection_is_answered_by_the_model_as_it_is_now(explorer, engine):
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    first = explorer.restoration
    edited(explorer)
    assert explorer.selection == [(2, 3, "mlp")]
    assert len(engine.restored) >= 2
    assert explorer.restoration is not first
    assert explorer._restoration["selection"] == [[2, 3, "mlp"]]


def test_a_run_that_fails_leaves_the_trace_before_on_screen_and_says_that_it_is_stale(
    explorer, engine
):
    before, shown = explorer.trace, explorer._trace
    engine.broken = ValueError("no luck")
    edited(explorer)
    assert (explorer.status, explorer.stale) == ("error", True)
    assert (explorer.trace, explorer._trace, explorer._comparison) == (before, shown, {})
    engine.broken = None
    explorer.run(wait=True)
    assert (explorer.before, explorer.stale) == (before, False)


def test_a_run_that_fails_half_way_does_not_leave_half_a_comparison(explorer, engine):
    before, trace = explorer.trace, engine.trace

    def fail(settings, progress, cancelled):
        trace(settings, progress, cancelled)
        raise ValueError("no luck")

    engine.trace = fail
    edited(explorer)
    assert (explorer.trace, explorer.comparison, explorer.before) == (before, None, None)
    assert explorer._trace["clean"] == CLEAN


def test_a_run_that_is_cancelled_keeps_the_rows_that_are_there_beside_the_trace_before(
    explorer, engine
):
    before = explorer.trace
    engine.slow = True
    edit(explorer)
    until(lambda: explorer.status == "running")
    engine.step.set()
    until(lambda: explorer.progress > 0)
    assert explorer._comparison["after"] == "with 1 edit"
    explorer.cancel()
    assert explorer.wait(PATIENCE)
    assert explorer.status == "cancelled"
    assert explorer.before is before
    assert not explorer.trace.complete


def test_a_queued_run_that_is_cancelled_does_not_start_by_itself_again(explorer, engine):
    engine.restore_gate.clear()
    explorer.selection = [(2, 3, "mlp")]
    until(lambda: explorer._worker._running)
    edit(explorer, 0.9)
    edit(explorer, 0.8)
    assert explorer.status == "queued"
    explorer.cancel()
    engine.restore_gate.set()
    assert explorer.wait(PATIENCE)
    assert (explorer.status, explorer.stale, len(engine.traced)) == ("cancelled", True, 1)


def test_a_prompt_typed_meanwhile_goes_before_the_trace_nobody_asked_for(explorer, engine):
    engine.slow = True
    edit(explorer)
    until(lambda: explorer.status == "running")
    engine.slow = False
    explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
    explorer.run(wait=True)
    assert explorer.trace.prompt == FUJI
    assert explorer.before is None
    assert engine.traced[-1] == TraceSettings(FUJI, "Mount Fuji")


def test_a_click_on_a_stale_grid_says_that_the_edited_model_answers(explorer):
    explorer.retrace = False
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["source"] == "exact"
    edited(explorer)
    assert explorer._restoration["source"] == "exact", "it was given by the grid's own model"
    explorer.selection = [(2, 4, "mlp")]
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["source"] == "edited"
    explorer.run(wait=True)
    assert explorer.wait(PATIENCE)
    assert explorer._restoration["source"] == "exact"


def test_two_explorers_of_one_model_both_follow(explorer, engine):
    other = TraceExplorer(engine, prompt=FUJI, subject="Mount Fuji")
    assert other.wait(PATIENCE)
    edit(explorer)
    assert explorer.wait(PATIENCE)
    assert other.wait(PATIENCE)
    assert explorer.before.prompt == PROMPT
    assert other.before.prompt == FUJI
    assert len(engine.traced) == 4


def test_a_closed_explorer_does_not_follow(explorer, engine):
    explorer.close()
    edited(explorer)
    assert len(engine.traced) == 1


class TestWithAnEditPanel:
    @pytest.fixture
    def panel(self, explorer, engine):
        """An edit panel of the explorer's model: its edits are the engine's."""
        editor = FakeEditor(session=engine.session)
        editor.write = lambda held: engine.edit(0.6 * held)
        made = EditPanel(editor, NEEDLE.template, NEEDLE.subject, NEEDLE.target)
        assert made.wait(PATIENCE)
        made.editor = editor
        yield made
        made.close()

    def test_apply_and_revert_are_followed(self, explorer, panel):
        before = explorer.trace
        record = panel.apply(wait=True)
        assert explorer.wait(PATIENCE)
        assert explorer.before is before
        assert explorer.trace.clean < before.clean
        panel.revert(record.id)
        assert panel.wait(PATIENCE)
        assert explorer.wait(PATIENCE)
        assert explorer._comparison["same"] is True

    def test_a_slider_that_moves_never_waits_for_a_trace(self, explorer, engine, panel):
        record = panel.apply(wait=True)
        assert explorer.wait(PATIENCE)
        engine.slow = True  # From here on no trace ends by itself.
        for step in range(1, 6):
            panel.set_strength(record.id, step / 10)
            until(lambda step=step: panel.editor.strengths[-1:] == [(record.id, step / 10)])
        until(lambda: explorer.status == "running")
        engine.slow = False
        assert explorer.wait(PATIENCE)
        assert explorer.status == "done"
        assert explorer.trace.clean == pytest.approx(CORRUPTED + 0.7 * (CLEAN - CORRUPTED))
        assert panel.wait(PATIENCE)

    def test_it_starts_only_when_the_model_is_left_alone(
        self, explorer, engine, panel, monkeypatch
    ):
        monkeypatch.setattr("rome_widgets.widgets.trace.trace_run.QUIET", 1.0)
        record = panel.apply(wait=True)
        for step in range(1, 6):
            panel.set_strength(record.id, step / 10)
            threading.Event().wait(0.02)
        assert explorer.wait(PATIENCE)
        assert len(engine.traced) == 2


def after_trace(share=0.1):
    trace = fake_trace()
    scores = {k: CORRUPTED + share * (g - CORRUPTED) for k, g in trace.scores.items()}
    return fake_trace(scores=scores, clean=0.1256)


def test_two_recorded_traces_can_be_shown_side_by_side():
    grid = TraceGrid(after_trace(), before=fake_trace())
    assert grid.before.clean == CLEAN
    assert grid._comparison["before"] == ""
    assert len(grid.before_scores) == len(grid.scores)
    text = grid.to_text()
    assert "before (): p clean 0.9352" not in text
    assert "before: p clean 0.9352, corrupted 0.0357" in text
    assert "largest difference: -0.6" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"answer_id": 2}, "answer_id 2"),
        ({"seed": 5}, "seed 5"),
        ({"samples": 5}, "samples 5"),
        ({"noise": {"text": "2 × σ"}}, "noise '2 × σ'"),
        ({"windows": {"hidden": 1, "mlp": 5, "attn": 5}}, "windows"),
    ],
)
def test_traces_of_other_settings_are_not_compared(more, said):
    with pytest.raises(StateError, match=said):
        TraceGrid(fake_trace(), before=fake_trace(**more))


def test_a_trace_before_must_be_a_trace():
    with pytest.raises(StateError, match="dict is not a trace"):
        TraceGrid(fake_trace(), before={})


def test_the_table_has_both_traces_and_their_difference(explorer):
    edited(explorer)
    html = explorer.to_html_table()
    for expected in ("Before: without the edit", "After: with 1 edit", "Difference: after − before",
                     "before 0.4", "0.9352", "clean 0.1256"):  # fmt: skip
        assert expected in html, expected
    data, _ = explorer._repr_mimebundle_()
    assert "before (without the edit): p clean 0.9352" in data["text/plain"]
    assert html.count("<table") == 9


def test_a_large_comparison_lists_the_largest_differences():
    tokens = ["The", " Space", " Needle", *(f" w{i}" for i in range(40))]
    large = {"tokens": tokens, "span": (0, 3), "n_layers": 48, "window": 10}
    before = fake_trace(" ".join(tokens), **large)
    after = fake_trace(
        " ".join(tokens), **large, scores={k: g * 0.5 for k, g in before.scores.items()}
    )
    html = TraceGrid(after, before=before).to_html_table()
    assert "20 largest of" in html
    assert len(html) < 30_000


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 1), ("without the edit", "with 1 edit")),
        ((0, 3), ("without the edits", "with 3 edits")),
        ((2, 0), ("with 2 edits", "without the edits")),
        ((1, 2), ("with 1 edit", "with 2 edits")),
        ((1, 1), ("with 1 edit, as the model was", "with 1 edit, as the model is now")),
        ((0, 0), ("without edits, as the model was", "without edits, as the model is now")),
    ],
)
def test_what_is_compared_is_said_in_words(counts, expected):
    assert in_words(*counts) == expected


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

    @pytest.mark.parametrize("keep", ["page", "run", "trace"])
    def test_a_is_asked_about_the_selection_where_its_model_is_there(self, explorer, engine, keep):
        if keep == "page":
            explorer.keep_as_a()
        traced(explorer, window=1)
        explorer.compare({"page": None, "run": 1, "trace": fake_trace()}[keep])
        for selection in ([(2, 3, "mlp")], [(1, 1, "attn"), (2, 4, "mlp")]):
            explorer.selection = selection
            assert explorer.wait(PATIENCE)
            said = explorer.kept["restoration"]
            if keep == "trace":
                assert said == {}, "of a trace nobody knows the model"
                continue
            expected = engine.restore(replace(explorer.settings, window=None), explorer.selection)
            assert said["selection"] == [list(cell) for cell in selection]
            assert said["states"] == [list(state) for state in expected.states]
            assert said["score"] == pytest.approx(expected.probability)
            assert {row["id"] for row in explorer._restoration["rows"]} <= {
                row["id"] for row in said["rows"]
            }
        explorer.selection = []
        assert explorer.wait(PATIENCE)
        assert explorer.kept["restoration"] == {}
        json.dumps(explorer.kept, allow_nan=False)

    def test_a_of_another_model_is_not_asked(self, explorer):
        explorer.keep_as_a()
        edited(explorer, 0.9)
        explorer.compare()
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        assert explorer._restoration["score"] is not None
        assert explorer.kept["restoration"] == {}

    def test_a_kept_restoration_stays_and_names_every_token_beside_it(self, explorer, monkeypatch):
        monkeypatch.setattr("rome_widgets.widgets.live.traits.ROWS", 2)
        monkeypatch.setattr("rome_widgets.widgets.trace.comparison.ROWS", 2)
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        explorer.keep_as_a()
        explorer.compare()
        kept = explorer.restoration
        explorer.selection = [(0, 0, "attn")]
        assert explorer.wait(PATIENCE)
        said = explorer.kept["restoration"]
        assert said["selection"] == [[2, 3, "mlp"]]
        for row in explorer._restoration["rows"]:
            (mine,) = [each for each in said["rows"] if each["id"] == row["id"]]
            assert mine["restored"] == pytest.approx(kept.distributions[2, row["id"]])

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
