"""A beside B: what was kept as A, and why it can be compared with what is on screen or not."""

import json
from dataclasses import replace

import pytest

from rome_widgets.errors import StateError
from rome_widgets.widgets import TraceExplorer
from rome_widgets.widgets.trace.ab_comparison import (
    KeptTrace,
    differences_in_words,
    why_not_comparable,
)
from tests.helpers.explorers import edited, traced
from tests.helpers.fake_engine import CLEAN, FUJI, PROMPT, fake_trace
from tests.helpers.waiting import PATIENCE, until


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
