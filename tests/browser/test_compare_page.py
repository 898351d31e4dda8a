"""Before, after and difference as a person meets them, when the model of a trace is edited."""

from itertools import product

import pytest
from playwright.sync_api import expect

from rome_widgets.widgets import TraceExplorer, TraceGrid
from tests.browser.test_edit_page import CONTRAST
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine, fake_trace

PATIENCE = 20
SIDES = ("before", "after", "change")


def traced(**settings):
    """A maker of an explorer with a finished trace; `edit(page, ...)` edits its model."""

    def make():
        widget = TraceExplorer(FakeEngine(**settings), prompt=PROMPT, subject=SUBJECT)
        assert widget.wait(PATIENCE)
        return widget

    return make


def edit(page, taken=0.9, count=1):
    page.widget._engine.edit(taken)
    page.widget._engine.tell(count)


@pytest.fixture
def compared(show):
    """A page that shows a trace before and after an edit."""

    def open_page(width=932, theme="light", **settings):
        page = show(traced(**settings), width=width, theme=theme)
        page.status("done")
        edit(page)
        expect(page.root).to_contain_text("without the edit" if width > 852 else "after − before")
        page.status("done")
        return page

    return open_page


def choose(page, look):
    page.page.locator(f"[data-choice={look}]").click()


def test_an_edit_shows_both_grids_and_their_difference(compared):
    page = compared()
    expect(page.page.locator("canvas")).to_have_count(9)
    for side, said in zip(
        SIDES, ("Before without the edit", "After with 1 edit", "Difference"), strict=True
    ):
        heading = page.page.locator(f"[data-side={side}] .rw-which")
        assert heading.inner_text().replace("\n", " ").startswith(said)
    expect(page.page.locator("[data-side=before] .rw-which")).to_contain_text("clean 0.9352")
    expect(page.page.locator("[data-side=after] .rw-which")).to_contain_text("clean 0.1256")
    expect(page.page.locator("[data-side=change] .rw-which")).to_contain_text("clean −0.8095 ▼")
    expect(page.page.locator(".rw-bar")).to_have_count(2)


def test_a_loss_is_orange_a_gain_is_blue_and_nothing_is_neither(compared):
    page = compared()
    red, _, blue, _ = page.color("hidden", 7, 7, "change")
    assert red > blue + 60
    page.widget._engine.edit(0.0)
    page.widget.stop_comparing()
    edit(page, 0.9)
    expect(page.page.locator("canvas")).to_have_count(3)
    edit(page, 0.0, 0)
    expect(page.root).to_contain_text("with 1 edit")
    page.status("done")
    red, _, blue, _ = page.color("hidden", 7, 7, "change")
    assert blue > red + 60
    red, green, blue, _ = page.color("mlp", 4, 0, "change")
    assert max(red, green, blue) - min(red, green, blue) < 12


def test_a_cell_is_read_out_before_after_and_as_a_difference(compared):
    page = compared()
    before, after = page.widget.before.scores["mlp"], page.widget.trace.scores["mlp"]
    page.point("mlp", 2, 3, "change")
    expect(page.detail).to_contain_text(f"before {before[2, 3]:.4f}")
    expect(page.detail).to_contain_text(f"after {after[2, 3]:.4f}")
    expect(page.detail).to_contain_text(f"−{before[2, 3] - after[2, 3]:.4f} ▼")
    expect(page.page.locator(".rw-hover")).to_have_count(3)


@pytest.mark.parametrize("side", SIDES)
def test_a_click_on_any_grid_restores_in_the_model_as_it_is(compared, side):
    page = compared()
    page.click("mlp", 2, 3, side=side)
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    expect(page.page.locator(".rw-selected")).to_have_count(3)
    assert page.widget._engine.restored[-1] == ((2, 3, "mlp"),)


def test_one_grid_is_shown_alone_by_mouse_and_by_keyboard(compared):
    page = compared()
    choose(page, "change")
    expect(page.page.locator("canvas")).to_have_count(3)
    expect(page.page.locator("[data-choice=change]")).to_have_attribute("aria-pressed", "true")
    page.page.keyboard.press("Shift+Tab")
    page.page.keyboard.press("Enter")
    expect(page.page.locator("[data-choice=after]")).to_have_attribute("aria-pressed", "true")
    expect(page.page.locator("canvas[data-side=after]")).to_have_count(3)
    page.widget.kind = "mlp"
    choose(page, "together")
    expect(page.page.locator("canvas")).to_have_count(3)
    tops = page.page.locator("canvas").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().top)"
    )
    assert max(tops) - min(tops) < 1


def test_a_narrow_page_shows_the_difference_first(compared):
    page = compared(width=700)
    expect(page.page.locator("canvas[data-side=change]")).to_have_count(3)
    expect(page.page.locator("[data-choice=together]")).to_have_count(0)
    choose(page, "before")
    expect(page.page.locator("canvas[data-side=before]")).to_have_count(3)


def test_rows_of_the_trace_after_fill_in_beside_the_whole_trace_before(show):
    page = show(traced())
    page.status("done")
    page.widget._engine.slow = True
    edit(page)
    page.status("running")
    page.widget._engine.step.set()
    expect(page.root).to_contain_text("8/192 states")
    assert page.color("attn", 7, 7, "before")[3] == 255
    assert page.color("hidden", 0, 0, "change")[3] == 255
    assert page.color("attn", 7, 7, "change")[3] == 0
    page.page.get_by_role("button", name="Cancel").click()
    page.status("cancelled")
    page.widget._engine.slow = False
    page.page.get_by_role("button", name="Trace again").click()
    page.status("done")
    assert page.color("attn", 7, 7, "change")[3] == 255


def test_reverting_says_that_every_number_is_what_it_was(compared):
    page = compared()
    edit(page, 0.0, 0)
    expect(page.page.locator("[data-side=after]").first).to_contain_text("nothing changed")
    expect(page.page.locator("[data-side=change]")).to_have_count(0)
    expect(page.page.locator(".rw-edited")).to_have_count(0)


def test_comparing_is_stopped_with_its_button(compared):
    page = compared()
    page.page.get_by_role("button", name="Stop comparing").click()
    expect(page.page.locator("canvas")).to_have_count(3)
    expect(page.root).to_contain_text("clean 0.1256, corrupted 0.0357")
    page.until(lambda: page.widget.before is None)


def test_without_retrace_the_page_says_so_and_offers_the_button(show):
    page = show(traced())
    page.widget.retrace = False
    edit(page)
    expect(page.root).to_contain_text("the model was edited since this trace")
    page.page.get_by_role("button", name="Trace again").click()
    expect(page.page.locator("canvas")).to_have_count(9)
    expect(page.root).not_to_contain_text("the model was edited since this trace")


def test_two_recorded_traces_need_no_model(show):
    scores = {kind: grid / 2 for kind, grid in fake_trace().scores.items()}
    page = show(lambda: TraceGrid(fake_trace(scores=scores, clean=0.5), before=fake_trace()))
    expect(page.page.locator("canvas")).to_have_count(9)
    page.click("mlp", 2, 3, side="change")
    expect(page.panel).to_contain_text(f"{scores['mlp'][2, 3]:.4f}")


@pytest.mark.parametrize("layers", [8, 48])
def test_nothing_sticks_out_and_words_can_be_read(compared, layers):
    page = compared(n_layers=layers)
    for width, theme, kind in product((700, 932, 1200), ("light", "dark"), ("all", "mlp")):
        page.widget.kind = kind
        page.look(width, theme)
        canvases = (3 if width > 852 else 1) * (3 if kind == "all" else 1)
        expect(page.page.locator("canvas")).to_have_count(canvases)
        wide = page.page.evaluate(
            "[...document.querySelectorAll('html, .rw, .rw-picture, aside, .rw-controls,"
            " .rw-which')].filter((each) => each.scrollWidth > each.clientWidth + 1)"
            ".map((each) => each.className || each.tagName)"
        )
        assert wide == [], (width, theme, kind)
        for selector in (".rw-which *", ".rw-switch button", ".rw-best"):
            for ratio in page.page.evaluate(CONTRAST, selector):
                assert ratio >= 4.5, (selector, width, theme, kind)
