"""A widget with a model behind it: errors as data, waiting, and going when nobody has it."""

import gc
import weakref

from rome_widgets.errors import (
    RomeWidgetsError,
)
from rome_widgets.widgets import TraceExplorer
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine
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
