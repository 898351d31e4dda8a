"""The bundled model with a history of its own."""

import copy

import ipywidgets
import pytest

import rome_widgets as rw
from tests.helpers.model_guard import fingerprint


@pytest.fixture
def lm(bundled_lm):
    """The bundled model with a history of its own."""
    model = copy.deepcopy(bundled_lm.model)
    lm = rw.LanguageModel(model, bundled_lm.tokenizer, name=bundled_lm.name)
    before = fingerprint(model)
    yield lm
    ipywidgets.Widget.close_all()
    lm.revert_all()
    assert fingerprint(model) == before
