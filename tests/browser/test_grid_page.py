"""A recorded trace in a real browser, without an engine."""

import pytest
from playwright.sync_api import expect
from widgets.fake_engine import fake_trace

from rome_widgets.widgets import RomeWidget, TraceGrid
from rome_widgets.widgets.base import REMEDY, bundle


def test_a_recorded_trace_answers_single_cells_and_says_why_not_several(show):
    page = show(lambda: TraceGrid(fake_trace()))
    expect(page.root).to_have_attribute("data-status", "static")
    page.click("mlp", 2, 3)
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    expect(page.panel).to_contain_text(f"{page.widget.result.scores['mlp'][2, 3]:.4f}")
    page.click("hidden", 2, 4, modifiers=("Control",))
    expect(page.panel).to_contain_text("a live model is needed to combine them")


def test_the_notes_of_a_trace_are_shown(show):
    note = "The subject occurs twice; its last occurrence is used."
    page = show(lambda: TraceGrid(fake_trace(notes=(note,))))
    expect(page.root).to_contain_text(note)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cells_that_were_not_computed_are_transparent_over_the_hatching(show, theme):
    scores = {kind: grid.copy() for kind, grid in fake_trace().scores.items()}
    scores["mlp"][3:] = float("nan")
    page = show(lambda: TraceGrid(fake_trace(scores=scores)), theme=theme)
    expect(page.page.locator("canvas")).to_have_count(3)
    assert page.color("mlp", 2, 3)[3] == 255
    assert page.color("mlp", 3, 3)[3] == 0


def test_a_widget_without_its_bundle_shows_the_remedy(show, tmp_path):
    class Bare(RomeWidget):
        _esm, _css = bundle("trace", tmp_path)

    page = show(Bare)
    expect(page.page.locator(".rw-missing")).to_contain_text(REMEDY)
