"""A page in any room: nothing is cut off, nothing jumps, no host's style leaks in."""

import pytest

from tests.browser.conftest import SETTLED
from tests.browser.states import STATES, explorer, panel
from tests.browser.test_gallery import MAY_SCROLL, OVERFLOW
from tests.helpers.fake_editor import NEEDLE

BY_NAME = {state.name: state for state in STATES}
WIDTHS = (362, 466, 560, 700, 792, 932, 1400)
"""Of pages; a widget has 32 pixels less."""


def height(page):
    page.page.evaluate(SETTLED)
    return page.root.bounding_box()["height"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_click_and_those_after_it_move_nothing(show, width):
    page = show(explorer(), width=width)
    page.status("done")
    before = height(page)
    for cell in (("hidden", 2, 4), ("mlp", 2, 3), ("attn", 7, 7), ("hidden", 0, 0)):
        page.click(*cell)
        page.panel.and_(page.page.locator("[data-selection]")).wait_for()
        assert abs(height(page) - before) <= 1, cell
    page.page.keyboard.press("Escape")
    page.page.mouse.move(0, 0)
    assert abs(height(page) - before) <= 1


@pytest.mark.parametrize("name", ["explorer selected", "edit history", "predictions"])
def test_nothing_is_cut_off(show, name):
    state = BY_NAME[name]
    page = show(state.make)
    state.reached(page)
    for width in WIDTHS:
        page.look(width)
        assert page.page.evaluate(OVERFLOW, width < MAY_SCROLL) == [], width


EMPTY = """() => {
  const box = (what) => document.querySelector(what).getBoundingClientRect();
  const [main, picture, aside] = [".rw-main", ".rw-pictures", "aside"].map(box);
  return { beside: main.right - aside.right, below: main.bottom - picture.bottom };
}"""


def test_a_short_prompt_leaves_no_empty_half_page(show):
    page = show(explorer("The Space Needle is", "The Space Needle"), width=932)
    page.status("done")
    page.page.evaluate(SETTLED)
    found = page.page.evaluate(EMPTY)
    tall = page.root.locator(".rw-main").bounding_box()["height"]
    assert found["below"] < tall / 2


HOSTILE = """
  div.body h3, #site div.body :is(h3, h4, p, ul, table, th, td, button, input, b, span, dl, dt) {
    background: rgb(1, 2, 3); color: rgb(4, 5, 6); border: 7px solid red; padding: 31px;
    margin: 29px; font: italic 40px cursive; text-transform: uppercase; letter-spacing: 9px;
    float: right; display: inline-block; box-shadow: 0 0 9px red; min-width: 300px;
  }
  body { text-transform: uppercase; letter-spacing: 4px; text-indent: 40px; line-height: 3; }
"""
LOOKS = """() => [...document.querySelectorAll(".rw, .rw *:not(svg *)")].map((el) => {
  const { x, y, width, height } = el.getBoundingClientRect();
  const s = getComputedStyle(el);
  return [el.tagName, el.className, Math.round(x), Math.round(y), Math.round(width),
    Math.round(height), s.backgroundColor, s.color, s.fontSize, s.textTransform, s.borderTopWidth,
    s.boxShadow].join(" ");
})"""


@pytest.mark.parametrize(
    "make", [explorer(), panel(NEEDLE), BY_NAME["predictions"].make], ids=["trace", "edit", "table"]
)
def test_the_style_sheet_of_a_host_changes_nothing(show, make):
    page = show(make)
    page.page.evaluate(SETTLED)
    before = page.page.evaluate(LOOKS)
    page.page.evaluate(
        """(css) => {
          document.body.id = "site";
          document.getElementById("root").className = "body";
          const sheet = document.createElement("style");
          sheet.textContent = css;
          document.head.append(sheet);
        }""",
        HOSTILE,
    )
    page.page.evaluate(SETTLED)
    after = page.page.evaluate(LOOKS)
    assert [b for b, a in zip(before, after, strict=True) if a != b] == []


@pytest.mark.parametrize(
    ("make", "marks"),
    [
        (explorer(), ["○", "bracket", "path back to", "square", "circle", "Δ"]),
        (panel(NEEDLE), ["‖Δ‖/‖W‖", "effic.", "parap.", "neigh.", "v*", "KL", "✓ ✗", "bled"]),
    ],
    ids=["trace", "edit"],
)
def test_every_mark_is_explained_in_one_legend(show, make, marks):
    page = show(make)
    page.root.locator("[data-action=help]").first.click()
    legend = page.root.locator("dialog.rw-help")
    legend.wait_for()
    said = legend.inner_text()
    for mark in marks:
        assert mark in said, mark
