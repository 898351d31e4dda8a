"""Edit panels over the fake editor."""

import pytest

from rome_widgets.widgets import EditPanel
from tests.helpers.fake_editor import FUJI, FakeEditor
from tests.helpers.panels import FORM


@pytest.fixture
def engine():
    return FakeEditor()


@pytest.fixture
def panel(engine):
    made = EditPanel(engine, **FORM, true_object="Seattle")
    yield made
    engine.gate.set()
    engine.slow = False
    made.close()


@pytest.fixture
def edited(panel):
    """A panel with two edits: the Needle's e1, then Mount Fuji's e2, selected."""
    panel.apply()
    panel.template, panel.subject, panel.target, panel.true_object = (
        FUJI.template,
        FUJI.subject,
        FUJI.target,
        FUJI.true_object,
    )
    panel.apply(wait=True)
    return panel
