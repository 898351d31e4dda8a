"""Who is told of an edit, whatever goes meanwhile."""

import gc
import threading

import pytest
from widgets.fake_engine import FakeEngine
from widgets.waiting import PATIENCE

from rome_widgets.widgets import TraceExplorer, badge
from rome_widgets.widgets.worker import Worker


@pytest.mark.parametrize("telling", [True, False])
def test_a_widget_may_be_collected_while_edits_are_told(monkeypatch, telling):
    """The collector runs wherever something is allocated, under the lock of the audience too."""
    worker, doomed = Worker("told"), [TraceExplorer(FakeEngine())]
    doomed[0].close()  # Jupyter holds it until then; its finalizer closes it once more.

    class Audience(badge._Audience):
        def __init__(self):
            doomed.clear()
            gc.collect()
            super().__init__()

    monkeypatch.setattr(badge, "_Audience", Audience)

    def tell():
        if telling:
            badge.announce_edits(worker, 2)
        follower = TraceExplorer(FakeEngine(), worker=worker)
        told.append(follower.edited)

    told = []
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert told == [2 if telling else 0]
