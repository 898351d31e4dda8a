"""Every widget in every state: it says so, fits, can be read by eye and by ear. And its picture.

`ROME_WIDGETS_GALLERY=folder` keeps the pictures, with an `index.html`.
"""

import html
import os
from pathlib import Path

import pytest

from tests.browser.states import STATES
from tests.helpers.counts import WIDTHS

ROOT = Path(__file__).parent.parent.parent
AXE = (ROOT / "js" / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
LOOKS = (
    ("light", 932, "light"),
    ("dark", 932, "dark"),
    ("narrow", 560, "light"),
    ("zoomed", 466, "light"),
    ("half", 362, "light"),
)
"""Name of the picture, width of the page in pixels, theme of the host. 932 pixels at 200 %
are 466; two widgets beside each other in a notebook have 330 each."""

RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
CHECK = """async tags => {
  // What is best for a whole page is the notebook's business.
  const ofPages = ["landmark-one-main", "page-has-heading-one", "region"];
  const rules = Object.fromEntries(ofPages.map((id) => [id, { enabled: false }]));
  // An open menu lies over what is below it, as menus do.
  if (document.querySelector("details[open].rw-menu")) rules["target-size"] = { enabled: false };
  const found = await axe.run(".rw", { runOnly: tags, rules, resultTypes: ["violations"] });
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}"""

MAY_SCROLL = 560
"""Pages narrower than this, where a picture of many layers or a wide table may scroll by itself."""

OVERFLOW = """(scrolls) => [...document.querySelectorAll("html, .rw, .rw *")].filter((el) => {
  if (scrolls && el.closest(".rw-picture, .rw-scroll")) return false;
  const unseen = el.closest(".rw-unseen, .rw-cells, svg") || !el.checkVisibility();
  const right = (of) => of.getBoundingClientRect().right;
  const frame = !unseen && !el.closest(".rw-figure") && el.closest(".rw");
  if (frame && right(el) > right(frame)) return true;
  if (el.scrollWidth <= el.clientWidth + 1 || unseen) return false;
  const style = getComputedStyle(el);
  if (style.display.startsWith("inline") && !el.matches("input, button")) return false;
  const edge = el.matches("html, .rw, .rw-figure, input, button");
  return (edge || ["hidden", "clip"].includes(style.overflowX)) && !el.closest("[title]");
}).map((el) => `${el.className} ${el.scrollWidth} > ${el.clientWidth}: ${el.textContent}`)"""
"""What sticks out, or is cut off without a title that says the rest."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the pictures go; the index is written at the end."""
    kept = os.environ.get("ROME_WIDGETS_GALLERY")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("gallery")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    there = [state for state in STATES if (folder / picture(state, "light")).exists()]
    (folder / "index.html").write_text(index(there), encoding="utf-8")


def picture(state, look):
    return f"{state.name.replace(' ', '-')}-{look}.png"


def index(states):
    rows = "".join(
        f"<h2>{html.escape(state.name)}</h2>"
        + "".join(
            f'<img src="{picture(state, look)}">' for look, width, _ in LOOKS if width in WIDTHS
        )
        for state in states
    )
    return f"<!doctype html><meta charset=utf-8><title>rome_widgets: every state</title>{rows}"


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_every_state_says_what_it_is_and_fits_and_can_be_read(show, folder, state):
    page = show(state.make)
    state.reached(page)
    page.page.evaluate(AXE)
    wrong = []
    for look, width, theme in LOOKS:
        if width not in WIDTHS:
            continue
        page.look(width, theme)
        page.root.screenshot(path=folder / picture(state, look))
        found = page.page.evaluate(OVERFLOW, width < MAY_SCROLL)
        if width == LOOKS[0][1]:  # Else the same elements as in the light.
            found += page.page.evaluate(CHECK, RULES)
        wrong += [f"{look}: {each}" for each in found]
    assert not wrong, "\n".join(wrong)
