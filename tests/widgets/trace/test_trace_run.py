"""A run that is overtaken, cancelled, resumed: its states, and what it ends with."""

from dataclasses import replace

import numpy as np
import pytest

from rome_widgets.errors import ModelChanged, StateError
from rome_widgets.widgets import TraceExplorer, TraceSettings
from rome_widgets.widgets.trace.trace_run import NEXT, RunInProgress
from tests.helpers.explorers import edit, traced
from tests.helpers.fake_engine import FUJI, PROMPT, SUBJECT, fake_trace
from tests.helpers.waiting import PATIENCE, until


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.trace.trace_run.QUIET", 0.0)
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", 0.0)


def ids(explorer):
    return [run["id"] for run in explorer.history]


class TestATraceThatAnEditComesInto:
    """It belongs to neither model: it is made again, and is no trace before."""

    @pytest.fixture
    def explorer(self, engine):
        made = TraceExplorer(engine, auto_run=False, prompt=PROMPT, subject=SUBJECT)
        yield made
        made.close()

    def into(self, explorer, *edits, error=None):
        """Edit while each of the next traces runs, then end it as it is or with an error."""
        engine, trace, left = explorer._engine, explorer._engine.trace, list(edits)

        def traced(settings, progress, cancelled):
            if not left:
                return trace(settings, progress, cancelled)
            edit(explorer, left.pop(0))
            made = trace(settings, progress, cancelled)
            if error is not None:
                raise error
            return made

        engine.trace = traced

    def test_the_first_trace_is_made_again(self, explorer, engine):
        self.into(explorer, 0.9, 0.8, error=ModelChanged("written meanwhile"))
        statuses = []
        explorer.observe(lambda change: statuses.append(change["new"]), "status")
        trace = explorer.run(wait=True)
        assert len(engine.traced) == 3
        assert trace is explorer.trace
        assert trace.answer == " Paris"
        assert (explorer.status, explorer.error, explorer.stale) == ("done", None, False)
        assert explorer.before is None
        assert "error" not in statuses

    def test_a_trace_that_ended_all_the_same_is_not_taken_for_the_unedited_one(self, explorer):
        self.into(explorer, 0.9)
        explorer.run(wait=True)
        assert explorer.before is None
        assert explorer.trace.answer == " Paris"

    def test_the_trace_before_is_the_one_that_no_edit_came_into(self, explorer, engine):
        before = explorer.run(wait=True)
        self.into(explorer, 0.9, error=ModelChanged("written meanwhile"))
        after = explorer.run(wait=True)
        assert explorer.before is before
        assert after.answer == before.answer

    def test_it_can_be_cancelled(self, explorer, engine, monkeypatch):
        monkeypatch.setattr("rome_widgets.widgets.trace.trace_run.QUIET", 60.0)
        monkeypatch.setattr("rome_widgets.widgets.trace.trace_run.MOST_QUIET", 60.0)
        self.into(explorer, 0.9, error=ModelChanged("written meanwhile"))
        explorer.run()
        until(lambda: engine.traced and explorer.status == "queued")
        explorer.cancel()
        assert explorer.wait(PATIENCE)
        assert (explorer.status, explorer.error, len(engine.traced)) == ("cancelled", None, 1)

    def test_a_cancel_that_comes_just_then_is_not_lost(self, explorer, engine):
        self.into(explorer, 0.9, error=ModelChanged("written meanwhile"))
        overtaken = explorer._trace_overtaken

        def cancelled_first(*args):
            explorer.cancel()
            overtaken(*args)

        explorer._trace_overtaken = cancelled_first
        explorer.run()
        assert explorer.wait(PATIENCE)
        assert (explorer.status, len(engine.traced)) == ("cancelled", 1)

    def test_rows_of_it_are_not_kept_when_it_is_cancelled(self, explorer, engine):
        engine.slow = True
        explorer.run()
        until(lambda: explorer.status == "running")
        engine.step.set()
        until(lambda: explorer.progress > 0)
        edit(explorer)
        explorer.cancel()
        assert explorer.wait(PATIENCE)
        assert (explorer.status, explorer.trace) == ("cancelled", None)

    def test_changes_that_nobody_announces_end_in_an_error(self, explorer, engine):
        trace = engine.trace

        def traced(*args):
            engine.identity += 1
            return trace(*args)

        engine.trace = traced
        with pytest.raises(ModelChanged):
            explorer.run(wait=True)
        assert explorer.status == "error"
        assert len(engine.traced) == 5

    def test_an_engine_that_speaks_of_a_change_there_was_not_is_an_error(self, explorer, engine):
        engine.broken = ModelChanged("no such change")
        with pytest.raises(ModelChanged):
            explorer.run(wait=True)
        assert len(engine.traced) == 1


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


def test_one_that_waits_to_be_left_alone_makes_room_for_whoever_asks(explorer, engine, monkeypatch):
    monkeypatch.setattr("rome_widgets.widgets.trace.trace_run.QUIET", 0.3)
    edit(explorer)
    until(lambda: explorer._worker._running)
    other = TraceExplorer(engine, prompt=FUJI, subject="Mount Fuji")
    assert explorer.wait(PATIENCE)
    assert (explorer.status, other.status) == ("done", "done")
    assert [asked.prompt for asked in engine.traced[1:]] == [FUJI, PROMPT]
    assert explorer.before is not None


class TestStates:
    def run(self, *states):
        run = RunInProgress(TraceSettings(PROMPT, SUBJECT), None)
        for state in states:
            run.move(state)
        return run

    def test_it_goes_from_queued_to_one_of_three_ends(self):
        assert self.run().under_way
        for end, status in (("done", "done"), ("cancelled", "cancelled"), ("failed", "error")):
            run = self.run("running", "filling", end)
            assert (run.under_way, run.status) == (False, status)

    def test_one_that_was_overtaken_is_queued_again_as_one_that_nobody_asked_for(self):
        run = self.run("running", "overtaken")
        assert (run.under_way, run.status, run.patient) == (True, "queued", False)
        run.again(None)
        assert (run.state, run.patient) == ("queued", True)

    @pytest.mark.parametrize(
        "states", [("done",), ("filling",), ("running", "running"), ("cancelled", "running")]
    )
    def test_there_is_no_other_way(self, states):
        with pytest.raises(AssertionError, match="→"):
            self.run(*states)

    def test_it_follows_the_answer_of_what_it_is_compared_with(self):
        against = RunInProgress(TraceSettings(PROMPT, SUBJECT), None).so_far(fake_trace(), None)
        run = RunInProgress(TraceSettings(PROMPT, SUBJECT), against)
        assert run.asked == replace(run.settings, answer_id=against.trace.answer_id)

    def test_every_state_leads_somewhere_but_from_no_end_to_another_run(self):
        assert {state for states in NEXT.values() for state in states} == set(NEXT)
        for end in ("done", "cancelled", "failed"):
            assert NEXT[end] == ("failed",)
