"""A job: told in order, under the lock, only while it counts, and never keeping its widget."""

import gc
import threading
import weakref

import pytest

from rome_widgets.errors import Cancelled, RomeWidgetsError
from rome_widgets.session.session import Session
from rome_widgets.widgets.live.job import Job
from rome_widgets.widgets.live.live_widget import LiveWidget
from tests.helpers.waiting import PATIENCE, until


class Widget(LiveWidget):
    """Notes what its job tells it, and whether its lock was held."""

    _jobs = ("job",)

    def __init__(self, session, failing=()):
        super().__init__(session)
        self.told, self.failing = [], failing

    def note(self, what, *more):
        assert self._writing._is_owned()
        assert threading.current_thread() is self._worker._thread
        self.told.append((what, *more))
        if what in self.failing:
            raise ZeroDivisionError(f"in an observer of {what}")

    def started(self, asked):
        self.note("started", asked)

    def progressed(self, asked, told):
        self.note("progress", told)

    def done(self, asked, made):
        self.note("done", made)

    def cancelled(self, asked, stopped):
        self.note("cancelled", str(stopped.partial))

    def failed(self, asked, error):
        self.note("failed", type(error).__name__)

    def counts(self, asked):
        return asked != "nobody's"


@pytest.fixture
def widget():
    made = Widget(Session())
    yield made
    made.close()


def ask(widget, compute, asked="it", **more):
    job = Job(
        asked,
        compute,
        on_started=widget.started,
        on_progress=widget.progressed,
        on_done=widget.done,
        on_cancelled=widget.cancelled,
        on_failed=widget.failed,
        is_current=widget.counts,
        **more,
    )
    widget._submit("job", job)


def waits(gate):
    def compute(asked, progress, stop):
        until(lambda: gate.is_set() or stop())
        if stop():
            raise Cancelled("stopped", "half")
        return "whole"

    return compute


def test_it_is_told_when_it_starts_how_it_goes_on_and_how_it_ends(widget):
    ask(widget, lambda asked, progress, stop: progress(0.5) or f"{asked} made")
    assert widget.wait(PATIENCE)
    assert widget.told == [("started", "it"), ("progress", 0.5), ("done", "it made")]


@pytest.mark.parametrize(("every", "told"), [(0.0, 4), (1e9, 1)])
def test_progress_comes_no_more_often_than_said(widget, monkeypatch, every, told):
    monkeypatch.setattr("rome_widgets.widgets.live.job.PROGRESS_EVERY", every)
    ask(widget, lambda asked, progress, stop: [progress(at) for at in range(4)])
    assert widget.wait(PATIENCE)
    assert sum(what == "progress" for what, _ in widget.told) == told


@pytest.mark.parametrize(("error", "logged"), [(ValueError("x"), 1), (RomeWidgetsError("x"), 0)])
def test_an_error_is_told_and_logged_once_unless_it_is_one_of_ours(widget, caplog, error, logged):
    def compute(asked, progress, stop):
        raise error

    ask(widget, compute)
    assert widget.wait(PATIENCE)
    assert widget.told[1:] == [("failed", type(error).__name__)]
    assert len(caplog.records) == logged


@pytest.mark.parametrize("latest", [True, False])
def test_one_that_is_superseded_is_heard_only_where_that_is_wanted(widget, latest):
    gate = threading.Event()
    ask(widget, waits(gate), latest=latest)
    until(lambda: widget.told)
    widget._worker.cancel(widget._slots["job"])
    assert widget.wait(PATIENCE)
    assert widget.told[1:] == ([] if latest else [("cancelled", "half")])


def test_nothing_is_told_of_what_no_longer_counts(widget):
    ask(widget, lambda asked, progress, stop: 1, asked="nobody's")
    assert widget.wait(PATIENCE)
    assert widget.told == []


def test_it_starts_when_the_time_has_come(widget):
    def ready(asked, stop):
        widget.told.append(("ready", asked))

    ask(widget, lambda asked, progress, stop: 1, ready=ready)
    assert widget.wait(PATIENCE)
    assert [what for what, _ in widget.told] == ["ready", "started", "done"]


def test_where_its_end_cannot_be_shown_it_has_failed_and_that_is_told(caplog):
    widget = Widget(Session(), failing=("done",))
    ask(widget, lambda asked, progress, stop: 1)
    assert widget.wait(PATIENCE)
    assert widget.told[-1] == ("failed", "ZeroDivisionError")
    assert widget.error is None
    assert "in an observer of done" in caplog.text


@pytest.mark.parametrize("failing", [("done", "failed"), ("started", "failed")])
def test_where_that_fails_too_the_error_is_on_screen(failing):
    widget = Widget(Session(), failing)
    ask(widget, lambda asked, progress, stop: 1)
    assert widget.wait(PATIENCE)
    assert widget.error["cause"] == "show"
    assert widget.error["found"] == "in an observer of failed"


@pytest.mark.parametrize("needed", [True, False])
def test_a_widget_that_is_gone_stops_it_unless_it_is_needed_all_the_same(needed):
    session, began, ended = Session(), threading.Event(), []
    widget = Widget(session)

    def compute(asked, progress, stop):
        began.set()
        until(lambda: gc.collect() is not None and gone() is None)
        ended.append(stop())

    gone = weakref.ref(widget)
    job = Job("it", compute, on_done=widget.done, on_failed=widget.failed, needed=needed)
    session.worker.submit("a place of its own", job)
    assert began.wait(PATIENCE)
    widget.close()
    del widget
    assert session.worker.wait(["a place of its own"], PATIENCE)
    assert ended == [not needed]
