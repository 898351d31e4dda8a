"""Who is told of an edit, whatever goes meanwhile."""

import gc
import threading

import pytest

from rome_widgets.widgets import TraceExplorer
from rome_widgets.widgets.live import edit_events
from rome_widgets.widgets.live.worker import Worker
from tests.helpers.fake_engine import FakeEngine
from tests.helpers.waiting import PATIENCE


@pytest.mark.parametrize("telling", [True, False])
def test_a_widget_may_be_collected_while_edits_are_told(monkeypatch, telling):
    """The collector runs wherever something is allocated, under the lock of the audience too."""
    worker, doomed = Worker("told"), [TraceExplorer(FakeEngine())]
    doomed[0].close()  # Jupyter holds it until then; its finalizer closes it once more.

    class Audience(edit_events._Audience):
        def __init__(self):
            doomed.clear()
            gc.collect()
            super().__init__()

    monkeypatch.setattr(edit_events, "_Audience", Audience)

    def tell():
        if telling:
            edit_events.announce_edits(worker, 2)
        follower = TraceExplorer(FakeEngine(), worker=worker)
        told.append(follower.edited)

    told = []
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert told == [2 if telling else 0]
