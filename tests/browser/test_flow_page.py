"""Flow, lens and path as a person meets them: real mouse, real keys, real Chromium."""

import json
from itertools import product

import pytest
from playwright.sync_api import expect

from rome_widgets.widgets import TraceExplorer
from tests.browser.test_edit_page import CONTRAST
from tests.browser.test_explorer_page import PROBABILITY, live
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine


def turn(page, name):
    page.page.get_by_role("group", name="Page").get_by_role("button", name=name).click()


def middle(page, pos, layer, kind):
    """Page coordinates of a node: layers stand a pitch apart, the embedding half a pitch in."""
    canvas = page.page.locator("canvas[data-flow]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    rows, layers = len(page.widget._trace["tokens"]), page.widget._trace["n_layers"]
    pitch, row = box["width"] / (layers + 0.75), box["height"] / rows
    along, down = {"hidden": (1.5, 0.5), "attn": (1, 0.26), "mlp": (1, 0.74)}[kind]
    return box["x"] + (layer + along) * pitch, box["y"] + (pos + down) * row


def selected(*cells):
    return json.dumps([list(cell) for cell in cells], separators=(",", ":"))


def shown_flow(page, *cells):
    """Wait for the flow of this selection on the page."""
    page.until(lambda: page.widget._flow.get("selection") == [list(cell) for cell in cells])
    expect(page.page.locator(".rw-picture")).not_to_contain_text("Running the model")


def colours(page, pos, layer, kind):
    """The painted RGB of a node, its embedding being layer −1."""
    x, y = middle(page, pos, layer, kind)
    return page.page.evaluate(
        """([x, y]) => {
          const canvas = document.querySelector("canvas[data-flow]");
          const box = canvas.getBoundingClientRect();
          const scale = canvas.width / box.width;
          const at = [(x - box.left) * scale, (y - box.top) * scale];
          return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
        }""",
        [x, y],
    )


@pytest.fixture
def page(show):
    shown = show(live())
    shown.status("done")
    turn(shown, "Flow")
    shown_flow(shown)
    return shown


def test_a_click_on_any_node_restores_what_its_cell_of_the_grid_restores(page):
    for cell in [(2, 4, "hidden"), (0, 0, "attn"), (7, 7, "mlp"), (7, 7, "hidden"), (4, 1, "mlp")]:
        page.page.mouse.click(*middle(page, *cell))
        expect(page.panel).to_have_attribute("data-selection", selected(cell))
        shown_flow(page, cell)
    page.page.mouse.click(*middle(page, 2, 3, "mlp"))
    expect(page.panel).to_contain_text("MLP 2–4 at “Needle”")
    expect(page.page.locator(".rw-nodes rect:is(.rw-selected, .rw-reach)")).to_have_count(3)
    page.page.keyboard.down("Control")
    page.page.mouse.click(*middle(page, 2, 4, "hidden"))
    page.page.keyboard.up("Control")
    expect(page.panel).to_have_attribute(
        "data-selection", selected((2, 3, "mlp"), (2, 4, "hidden"))
    )
    page.page.keyboard.down("Shift")
    page.page.mouse.click(*middle(page, 2, 6, "hidden"))
    page.page.keyboard.up("Shift")
    expect(page.panel).to_contain_text("hidden 4–6")


def test_noise_is_orange_and_what_comes_back_is_purple(page):
    red, green, blue = colours(page, 0, 0, "hidden")
    assert red > green > blue
    assert min(colours(page, 5, 0, "hidden")) > 240
    page.page.mouse.click(*middle(page, 2, 4, "hidden"))
    shown_flow(page, (2, 4, "hidden"))
    page.page.mouse.move(5, 5)
    red, green, blue = colours(page, 2, 5, "hidden")
    assert blue > red > green
    assert min(colours(page, 2, 2, "hidden")) > 240
    page.page.get_by_role("button", name="Clean", exact=True).click()
    assert min(colours(page, 2, 5, "hidden")) > 240
    red, green, blue = colours(page, 4, 4, "mlp")
    assert green > max(red, blue)
    red, green, blue = colours(page, 4, 4, "attn")
    assert red > max(green, blue)


def test_pointing_reads_a_node_in_words_and_fans_out_what_attention_reads(page):
    page.page.mouse.move(*middle(page, 3, 5, "attn"))
    moved = page.widget.test_engine.flow(page.widget.settings, ()).corrupted["attn"][3, 5]
    expect(page.detail).to_contain_text(
        f"“is”, Attention layer 5: noise moved it {moved:.2f} of the state’s length"
    )
    expect(page.page.locator(".rw-fan")).to_have_count(4)
    page.page.mouse.click(*middle(page, 2, 4, "hidden"))
    shown_flow(page, (2, 4, "hidden"))
    page.page.mouse.move(*middle(page, 2, 6, "hidden"))
    expect(page.detail).to_contain_text("80\u202f% back")


def test_the_keyboard_moves_toggles_restores_and_stays_ours(page):
    grid = page.page.get_by_role("grid", name="Flow")
    grid.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.page.keyboard.press(key)
    expect(page.panel).to_have_attribute("data-selection", selected((3, 2, "hidden")))
    expect(page.page.locator(".rw-nodes .rw-cursor")).to_have_count(1)
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press(" ")
    expect(page.panel).to_have_attribute(
        "data-selection", selected((3, 2, "hidden"), (3, 3, "hidden"))
    )
    expect(page.detail).to_contain_text("“is”, Hidden state layer 3")


def test_the_grid_and_the_flow_share_their_selection(page):
    page.page.mouse.click(*middle(page, 2, 3, "mlp"))
    turn(page, "Grid")
    expect(page.page.locator("canvas[data-kind=mlp] ~ svg .rw-selected")).to_have_count(1)
    page.click("attn", 2, 6)
    turn(page, "Flow")
    shown_flow(page, (2, 6, "attn"))
    page.until(lambda: page.widget.page == "flow")


def test_one_kind_alone_takes_the_others_off_the_nodes(page):
    page.page.get_by_role("button", name="MLP", exact=True).click()
    page.page.mouse.click(*middle(page, 2, 3, "attn"))
    page.page.mouse.click(*middle(page, 2, 3, "hidden"))
    page.page.wait_for_timeout(100)
    assert page.widget.selection == []
    page.page.mouse.click(*middle(page, 2, 3, "mlp"))
    expect(page.panel).to_have_attribute("data-selection", selected((2, 3, "mlp")))


@pytest.mark.parametrize(("layers", "words"), [(48, 40), (126, 200)])
def test_a_deep_model_and_a_long_prompt_do_not_hang(show, layers, words):
    prompt = " ".join([PROMPT, *["and"] * (words - 8)])
    page = show(lambda: TraceExplorer(FakeEngine(layers), prompt=prompt, subject=SUBJECT, window=3))
    page.status("done")
    turn(page, "Flow")
    page.until(lambda: page.widget._flow.get("selection") == [])
    expect(page.page.locator("canvas[data-flow]")).to_be_visible()
    page.page.mouse.move(*middle(page, 5, 3, "attn"))
    expect(page.detail).to_contain_text("“the”")
    page.page.mouse.click(*middle(page, 6, 4, "hidden"))
    expect(page.panel).to_have_attribute("data-selection", selected((6, 4, "hidden")))
    wide = page.page.evaluate("document.querySelector('.rw').scrollWidth")
    assert wide <= 932
    page.page.get_by_role("grid", name="Flow").focus()
    page.page.keyboard.press("End")
    cursor = page.page.locator(".rw-nodes .rw-cursor").bounding_box()
    assert 0 < cursor["x"] < 900


def test_the_lens_shows_each_run_and_reads_the_five_likeliest(page):
    page.page.mouse.click(*middle(page, 2, 4, "hidden"))
    turn(page, "Lens")
    rows = page.page.locator(".rw-lens tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0).locator("td").last).to_contain_text("Seattle")
    expect(rows.nth(1).locator("td").last).to_contain_text("Paris")
    rows.nth(1).locator("td").last.hover()
    expect(page.detail).to_contain_text("corrupted, after layer 7: Paris 0.24 · London 0.09")
    expect(page.detail).to_contain_text("rank 4")
    page.page.get_by_role("grid", name="The likeliest").focus()
    page.page.keyboard.press("ArrowUp")
    expect(page.detail).to_contain_text("clean, after layer 7: Seattle 0.94")
    expect(page.page.locator(".rw-curves")).to_have_count(2)
    expect(page.page.locator(".rw-keys")).to_contain_text("clean")
    centre = "el => { const b = el.getBoundingClientRect(); return b.x + b.width / 2; }"
    marks = page.page.locator(".rw-curves").first.locator(".rw-point.rw-curve-0")
    for layer in (0, 7):
        cell = rows.nth(0).locator("td").nth(layer).evaluate(centre)
        assert marks.nth(layer).evaluate(centre) == pytest.approx(cell, abs=1.5)


def test_an_edited_model_shows_its_lens_without_the_edits_too(page):
    turn(page, "Lens")
    expect(page.page.locator(".rw-lens tbody tr")).to_have_count(2)
    page.widget.test_engine.edit(0.5)
    page.widget._engine.tell(1)
    expect(page.page.locator(".rw-lens tbody th").last).to_have_text("unedited")
    expect(page.page.locator(".rw-keys")).to_contain_text("unedited")


def test_a_path_is_looked_for_shown_on_grid_and_flow_and_selected(show):
    page = show(live())
    page.status("done")
    page.page.locator("[data-setting=recovery]").fill("80")
    page.page.keyboard.press("Tab")
    page.page.get_by_role("button", name="Find path").click()
    steps = page.page.locator(".rw-steps li")
    expect(steps).to_have_count(3)
    assert page.widget.test_engine.paths == [0.8]
    expect(page.page.locator("text.rw-step")).to_have_text(["1", "3", "2"])
    page.page.get_by_role("button", name="Select these").click()
    path = [tuple(state) for state in page.widget._path["states"]]
    expect(page.panel).to_have_attribute("data-selection", selected(*sorted(path)))
    turn(page, "Flow")
    shown_flow(page, *sorted(path))
    expect(page.page.locator(".rw-way")).to_have_count(1)
    expect(page.page.locator("circle.rw-step")).to_have_count(3)
    last = page.page.locator("canvas[data-flow]").bounding_box()
    ends = page.page.evaluate(
        "Math.max(...[...document.querySelectorAll('.rw-way')]"
        ".map((way) => way.getBoundingClientRect().bottom))"
    )
    assert ends > last["y"] + last["height"] - last["height"] / 8


def test_a_search_can_be_stopped_and_keeps_what_it_found(show):
    page = show(live())
    page.status("done")
    page.widget.test_engine.slow = True
    page.page.get_by_role("button", name="Find path").click()
    section = page.page.get_by_role("region", name="Path")
    expect(section).to_contain_text("looking: 0 states")
    page.widget.test_engine.step.set()
    expect(section).to_contain_text("looking: 1 state brings")
    section.get_by_role("button", name="Stop").click()
    expect(section).to_contain_text(", not 90")
    expect(section.get_by_role("button", name="Find again")).to_be_visible()


def test_pages_survive_a_reload(page):
    page.page.mouse.click(*middle(page, 2, 4, "hidden"))
    shown_flow(page, (2, 4, "hidden"))
    expect(page.panel).to_have_attribute("data-score", PROBABILITY)
    page.page.reload()
    page.page.wait_for_selector("html[data-ready]")

    def drawn():
        red, green, blue = colours(page, 2, 5, "hidden")
        return blue > red > green

    page.until(drawn)
    assert len(page.widget.test_engine.flows) == 2


def test_words_can_be_read_and_nothing_sticks_out(show):
    page = show(live())
    page.status("done")
    page.widget.find_path(wait=True)
    for name in ("Flow", "Lens"):
        turn(page, name)
        page.page.wait_for_timeout(200)
        for width, theme in product((932, 560), ("light", "dark")):
            page.look(width, theme)
            for selector in READ:
                for ratio in page.page.evaluate(CONTRAST, selector):
                    assert ratio >= 4.5, (selector, name, width, theme)
            inner, outer = page.page.evaluate(
                "(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth])"
                "(document.querySelector('.rw-picture'))"
            )
            assert inner <= outer, (name, width, theme)
            for ratio in page.page.evaluate(ON_ITS_OWN):
                assert ratio >= 4.5, (width, theme)
    page.page.locator(".rw-lens td").first.scroll_into_view_if_needed()


READ = (".rw-caption", ".rw-steps span", ".rw-lens th", ".rw-path p", ".rw-climb")
ON_ITS_OWN = CONTRAST.replace("selector => {", "() => { const selector = '.rw-lens td';").replace(
    "const front = light(getComputedStyle(el).color);",
    """const paper = document.createElement("canvas").getContext("2d");
    paper.fillStyle = getComputedStyle(el).backgroundColor;
    paper.fillRect(0, 0, 1, 1);
    const back = light(`rgb(${paper.getImageData(0, 0, 1, 1).data.slice(0, 3).join(",")})`);
    const front = light(getComputedStyle(el).color);""",
)
"""Of the lens: each cell against its own colour."""
