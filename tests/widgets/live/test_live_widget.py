"""A widget with a model behind it: errors as data, waiting, and going when nobody has it."""

import gc
import os
import threading
import weakref

import pytest

from rome_widgets.errors import (
    RomeWidgetsError,
    StaysHere,
)
from rome_widgets.widgets import EditPanel, GenerationCompare, TraceExplorer, TraceGrid
from tests.helpers.fake_editor import FakeEditor
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine, fake_trace
from tests.helpers.open_widgets import open_widgets
from tests.helpers.waiting import PATIENCE, until


def test_the_engine_is_only_ever_called_on_its_worker_thread(explorer, engine):
    explorer.selection = [(2, 3, "mlp")]
    assert explorer.wait(PATIENCE)
    assert engine.threads == {"rome_widgets worker: fake world"}


def test_widgets_of_one_engine_share_its_worker(explorer, engine):
    assert TraceExplorer(engine)._worker is explorer._worker
    assert TraceExplorer(FakeEngine())._worker is not explorer._worker


def test_callbacks_return_while_the_model_works(engine):
    engine.slow = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    until(lambda: explorer.status == "running")
    explorer.set_state({"selection": [[2, 3, "mlp"]]})
    assert explorer._restoration == {}
    explorer.cancel()
    assert explorer.wait(PATIENCE)


def test_correcting_the_form_keeps_the_error_of_the_run_until_the_next_run(explorer, engine):
    explorer.set_state({"subject": "nowhere", "_request": {"id": 1, "op": "trace"}})
    assert explorer.wait(PATIENCE)
    failed = explorer.error
    explorer.set_state({"subject": SUBJECT})
    assert (explorer.status, explorer.error) == ("error", failed)
    engine.slow = True
    explorer.set_state({"_request": {"id": 2, "op": "trace"}})
    assert explorer.status in ("queued", "running")
    assert explorer.error is None
    explorer.cancel()
    assert explorer.wait(PATIENCE)


def test_a_refused_value_is_forgotten_when_the_form_changes_and_the_runs_error_shows_again(
    explorer,
):
    explorer.subject = "nowhere"
    explorer.run()
    assert explorer.wait(PATIENCE)
    explorer.set_state({"samples": 0})
    assert explorer.error["type"] == "TraitError"
    explorer.set_state({"samples": 5})
    assert (explorer.status, explorer.error["type"]) == ("error", "SubjectNotFound")
    explorer.subject = SUBJECT
    explorer.run()
    assert explorer.wait(PATIENCE)
    explorer.set_state({"samples": 0})
    explorer.set_state({"samples": 4})
    assert (explorer.status, explorer.error) == ("done", None)


def test_an_error_nobody_expected_is_shown_and_logged(explorer, engine, caplog):
    engine.broken = MemoryError("out of memory on the device")
    explorer.run()
    assert explorer.wait(PATIENCE)
    assert explorer.error["type"] == "MemoryError"
    assert explorer.error["found"] == "out of memory on the device"
    assert "Traceback" in caplog.text


def test_a_closed_widget_is_collected_and_its_trace_stops(engine):
    engine.slow = True
    explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    worker, slots, gone = explorer._worker, [*explorer._slots.values()], weakref.ref(explorer)
    until(lambda: explorer.status == "running")
    explorer.close()
    explorer = None
    assert worker.wait(slots, PATIENCE)
    gc.collect()
    assert gone() is None


def test_a_waiting_job_keeps_no_widget_alive(engine):
    engine.restore_gate.clear()
    first = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    assert first.wait(PATIENCE)
    first.selection = [(2, 3, "mlp")]
    other = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    gone = weakref.ref(other)
    other.close()
    del other
    gc.collect()
    assert gone() is None
    engine.restore_gate.set()
    assert first.wait(PATIENCE)


def test_waiting_inside_an_observer_of_the_page_is_refused_not_a_deadlock(explorer):
    caught = []

    def wait(change):
        try:
            explorer.wait()
        except RomeWidgetsError as error:
            caught.append(error)

    explorer.observe(wait, "selection")
    explorer.set_state({"selection": [[2, 3, "mlp"]]})
    assert "Observe 'restoration'" in caught[0].remedy
    assert explorer.wait(PATIENCE)


def test_a_value_the_page_may_not_set_is_shown_as_an_error_and_sent_back(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(explorer, "send_state", lambda key=None: sent.append(key))
    explorer.set_state({"seed": 5_000_000_000})
    assert explorer.seed == 1
    assert explorer.error["type"] == "TraitError"
    assert ["seed"] in sent


# --------------------------------------------------------------- let go of without being closed

MADE = {
    "explorer": lambda: TraceExplorer(FakeEngine(), prompt=PROMPT, subject=SUBJECT),
    "panel": lambda: EditPanel(FakeEditor(), "{} is in", "Rome", "Spain"),
    "panel of an explorer": lambda: EditPanel(FakeEditor(), trace=MADE["explorer"]()),
    "grid": lambda: TraceGrid(fake_trace()),
    "generations": lambda: GenerationCompare(texts=[{"before": "a", "after": "b"}], prompts=["x"]),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_widget_that_is_dropped_leaves_no_thread_listener_session_or_memory(kind):
    gc.collect()
    threads, there = {*threading.enumerate()}, len(open_widgets())
    widget = MADE[kind]()
    if hasattr(widget, "wait"):
        assert widget.wait(PATIENCE)
    left = [weakref.ref(widget), weakref.ref(widget.layout), weakref.ref(widget.comm)]
    session = getattr(widget, "_session", None)
    left += [] if session is None else [weakref.ref(session), weakref.ref(session.worker)]
    del widget, session
    until(lambda: gc.collect() is not None and {*threading.enumerate()} <= threads)
    assert [each() for each in left] == [None] * len(left)
    assert len(open_widgets()) == there


def test_one_that_is_displayed_stays_though_nobody_else_holds_it():
    grid = TraceGrid(fake_trace())
    grid._repr_mimebundle_()
    there, name = weakref.ref(grid), grid.model_id
    del grid
    gc.collect()
    assert there() is not None
    assert name in {each.model_id for each in open_widgets()}
    there().close()
    gc.collect()
    assert there() is None


def test_a_page_is_heard_by_a_widget_that_was_not_displayed_by_itself():
    """Such as one within a box."""
    grid = TraceGrid(fake_trace())
    message = {"method": "update", "state": {"kind": "mlp"}}
    grid.comm.handle_msg({"content": {"data": message}, "buffers": []})
    assert grid.kind == "mlp"
    grid.close()


def test_the_thread_rests_when_the_last_widget_has_gone_and_works_for_another():
    session = FakeEngine().session
    for _ in range(3):
        explorer = TraceExplorer(FakeEngine(session=session), prompt=PROMPT, subject=SUBJECT)
        assert explorer.wait(PATIENCE)
        assert explorer.status == "done"
        explorer.close()
        until(lambda: session.worker._thread is None)


# ------------------------------------------------------------------------- in a forked process

IN_A_FORK = {
    "run": lambda explorer: explorer.run(),
    "wait": lambda explorer: explorer.wait(),
    "a message": lambda explorer: explorer.set_state({"selection": [[2, 3, "mlp"]]}),
    "the session": lambda explorer: explorer._session.listen(explorer),
    "its history": lambda explorer: explorer._session.history(),
    "a path": lambda explorer: explorer.find_path(),
    "recalling": lambda explorer: explorer.recall(1),
}


def ended_in_a_fork(call):
    """What a forked process says of a call: the name of its error, "" without one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
            os.write(writing, b"")
        except BaseException as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python's, of forks beside threads
@pytest.mark.parametrize("held", [False, True], ids=["free", "while the worker holds its locks"])
@pytest.mark.parametrize("ask", IN_A_FORK)
def test_a_forked_process_says_so_instead_of_waiting_for_a_thread_that_is_not_there(ask, held):
    explorer = TraceExplorer(FakeEngine(), prompt=PROMPT, subject=SUBJECT)
    assert explorer.wait(PATIENCE)
    release, taken = threading.Event(), threading.Event()

    def hold():
        with explorer._writing, explorer._worker._changed, explorer._session._lock:
            taken.set()
            release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    if held:
        holder.start()
        assert taken.wait(PATIENCE)
    try:
        said = ended_in_a_fork(lambda: IN_A_FORK[ask](explorer))
        closed = ended_in_a_fork(explorer.close)
    finally:
        release.set()
        if held:
            holder.join()
    assert said == StaysHere.__name__
    assert closed == ""
    explorer.run()
    assert explorer.wait(PATIENCE)
    explorer.close()
