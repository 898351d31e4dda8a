"""A sweep in a real browser: its cells, its facts, and the explorer that follows."""

from playwright.sync_api import expect

from rome_widgets.charts.palettes import ramp
from rome_widgets.records.states import KINDS
from rome_widgets.records.swept_fact import ROLES
from rome_widgets.widgets import SweepChart, TraceExplorer
from tests.helpers.fake_engine import FakeEngine
from tests.helpers.fake_sweep import fake_sweep

PAINTED = """([of, kind, x, y]) => [...document
  .querySelector(`canvas[data-kind=${kind}][data-of=${of}]`)
  .getContext("2d").getImageData(x, y, 1, 1).data]"""


def made(**traits):
    return lambda: SweepChart(fake_sweep(9), explorer=TraceExplorer(FakeEngine()), **traits)


def test_a_click_on_a_cell_lists_its_facts_and_one_on_a_fact_is_traced_in_the_explorer(show):
    page = show(made())
    canvas = page.page.locator("canvas[data-kind=attn][data-of=above]")
    box = canvas.bounding_box()
    canvas.click(position={"x": 6.5 * box["width"] / 8, "y": 2.5 * box["height"] / 6})
    page.until(lambda: (page.widget.kind, page.widget.layer) == ("attn", 6))
    assert page.widget.role == "last subject"
    best, effect = page.widget.ranking[0]
    first = page.page.get_by_role("option").first
    expect(first).to_contain_text(best.prompt)
    expect(first).to_contain_text(f"+{effect:.3f}")
    first.click()
    page.until(lambda: page.widget.explorer.trace is not None)
    assert page.widget.example == best.number
    assert page.widget.explorer.trace.prompt == best.prompt
    expect(page.page.locator("[data-side=own]")).to_contain_text(best.prompt)
    last = page.page.get_by_role("option").last
    expect(last).not_to_be_in_viewport()
    page.widget.example = page.widget.ranking[-1][0].number
    expect(last).to_be_in_viewport()
    assert page.page.evaluate("scrollY") == 0


def test_the_keyboard_alone_goes_from_a_cell_to_its_facts_and_back_out(show):
    page = show(made(kind="hidden", layer=0, example=None))
    role = page.widget.role
    page.figure.focus()
    for key in ("m", "End", "ArrowLeft"):
        page.page.keyboard.press(key)
    page.until(lambda: (page.widget.kind, page.widget.layer) == ("mlp", 6))
    assert page.widget.role == role
    page.page.keyboard.press("Enter")
    facts = page.page.get_by_role("listbox")
    expect(facts).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.page.keyboard.press(key)
    wanted = page.widget.ranking[2][0]
    page.until(lambda: page.widget.example == wanted.number)
    for key in ("Escape", "Escape"):
        page.page.keyboard.press(key)
    page.until(lambda: page.widget.example is None)
    expect(facts).not_to_be_focused()
    assert page.widget.explorer.wait(20)


def test_the_greatest_average_has_the_darkest_colour_and_roles_without_tokens_have_none(show):
    page = show(lambda: SweepChart(fake_sweep(4), example=3))
    best = {kind: page.widget.sweep.strongest(kind) for kind in KINDS}
    kind, (role, layer, _) = max(best.items(), key=lambda each: each[1][2].value)
    strongest = [*bytes.fromhex(ramp(kind)[-1][1:]), 255]
    assert page.page.evaluate(PAINTED, ["above", kind, layer, ROLES.index(role)]) == strongest
    middle = page.page.evaluate(PAINTED, ["own", "hidden", 3, ROLES.index("middle subject")])
    assert middle[3] == 0, "transparent: a subject of two tokens has no middle"
