"""A model of numpy and an explorer of it that has traced, for every test of a widget."""

import pytest

from rome_widgets.widgets import TraceExplorer
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine
from tests.helpers.waiting import PATIENCE


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def explorer(engine):
    made = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
    assert made.wait(PATIENCE)
    yield made
    engine.slow = False
    engine.restore_gate.set()
    made.close()
