"""What the widgets of one model share: who is told of an edit, whatever goes meanwhile."""

import gc
import threading
import weakref

import pytest

from rome_widgets.session.session import Session, session_of
from rome_widgets.widgets import TraceExplorer
from tests.helpers import model_guard, world
from tests.helpers.fake_engine import FakeEngine
from tests.helpers.waiting import PATIENCE


class Listener:
    def __init__(self, session, fails=False):
        self.session, self.fails, self.heard = session, fails, []
        session.listen(self)

    def _model_edited(self):
        self.heard.append(self.session.edited)
        if self.fails:
            raise ZeroDivisionError("in the user's observer")


def test_a_model_has_one_session_whoever_wraps_it():
    lm, other = world.new_lm("gpt2"), world.new_lm("gpt2")
    again = type(lm)(lm.model, lm.tokenizer)
    assert session_of(lm) is session_of(again)
    assert session_of(lm) is not session_of(other)


def test_the_session_and_its_thread_go_with_the_model():
    lm, threads = world.new_lm("gpt2"), []
    session = session_of(lm)
    session.history()
    world.made_up_edit(lm, 0).apply()
    session.worker.submit("a", lambda cancelled: threads.append(threading.current_thread()))
    assert session.worker.wait(["a"], PATIENCE)
    gone = weakref.ref(session)
    del lm, session
    model_guard.settle()  # It holds a test's models, to look at them afterwards.
    gc.collect()
    assert gone() is None
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()


def test_every_change_of_the_edits_is_told_once_in_the_thread_that_made_it():
    lm = world.new_lm("gpt2")
    listener = Listener(session_of(lm))
    edit = world.made_up_edit(lm, 0)
    edit.apply()
    edit.apply()
    edit.strength = 0.5
    edit.revert()
    assert listener.heard == [1, 1, 0]


def test_one_that_fails_keeps_nobody_from_being_told(caplog):
    session = Session("x", lambda: [1, 2])
    listeners = [Listener(session, fails) for fails in (True, False, True)]
    session.edits_changed()
    assert [listener.heard for listener in listeners] == [[2]] * 3
    assert "in the user's observer" in caplog.text


def test_a_listener_that_is_gone_is_not_told():
    session = Session("x")
    gone, stays = (Listener(session) for _ in range(2))
    heard, there = gone.heard, weakref.ref(gone)
    del gone
    gc.collect()
    session.edits_changed()
    assert (there(), heard, stays.heard) == (None, [], [0])


def test_a_widget_that_is_closed_is_told_nothing_more():
    held = []
    widget = TraceExplorer(FakeEngine(session=(session := Session("x", lambda: held))))
    widget.close()
    held.append(1)
    session.edits_changed()
    assert widget.edited == 0


def test_the_history_keeps_what_was_reverted_and_nothing_that_was_passing():
    lm = world.new_lm("gpt2")
    session, edit = session_of(lm), world.made_up_edit(lm, 0)
    assert session.history() == {}
    edit.apply()
    edit.revert()
    with world.made_up_edit(lm, 1):
        pass
    assert [known.edit for known in session.history().values()] == [edit]


@pytest.mark.parametrize("telling", [True, False])
def test_a_widget_may_be_collected_while_edits_are_told(telling):
    """The collector runs wherever something is allocated, under the lock of the session too."""
    doomed = []

    class Collecting(list):
        def __iter__(self):
            doomed.clear()
            gc.collect()
            return super().__iter__()

    session = Session("told", lambda: Collecting([1, 2]))
    doomed.append(TraceExplorer(FakeEngine(session=session)))
    doomed[0].close()  # Jupyter holds it until then; its finalizer closes it once more.
    session.history = dict
    session._history = {1: None, 2: None}
    session._note = lambda history: list(session._edits())
    told = []

    def tell():
        if telling:
            session.edits_changed()
        told.append(TraceExplorer(FakeEngine(session=session)).edited)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert told == [2]
