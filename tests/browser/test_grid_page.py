"""A recorded trace in a real browser, without an engine."""

import numpy as np
import pytest
from playwright.sync_api import expect

from rome_widgets.widgets import RomeWidget, TraceGrid
from rome_widgets.widgets.live.base import REMEDY, bundle
from tests.helpers.fake_engine import CORRUPTED, fake_trace


def test_a_recorded_trace_answers_single_cells_and_says_why_not_several(show):
    page = show(lambda: TraceGrid(fake_trace()))
    expect(page.root).to_have_attribute("data-status", "static")
    page.click("mlp", 2, 3)
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    expect(page.panel).to_contain_text(f"{page.widget.trace.scores['mlp'][2, 3]:.4f}")
    page.click("hidden", 2, 4, modifiers=("Control",))
    expect(page.panel).to_contain_text("a live model is needed to combine them")


def cells(pos, layers, kind):
    return [(at, layer, kind) for at in pos for layer in layers]


def press(page, kind, pos, layer):
    page.point(kind, pos, layer)
    page.page.mouse.down()


def test_a_drag_selects_a_rectangle_also_when_it_ends_outside(show):
    page = show(lambda: TraceGrid(fake_trace()))
    press(page, "mlp", 1, 2)
    page.point("mlp", 3, 4)
    band = page.page.locator("rect.rw-band")
    expect(band).to_have_count(1)
    assert page.widget.selection == []
    x, _ = page.middle("mlp", 3, 4)
    page.page.mouse.move(x, 890)  # Below the picture, the panel and everything.
    page.page.mouse.up()
    expect(band).to_have_count(0)
    page.until(lambda: page.widget.selection == cells(range(1, 8), (2, 3, 4), "mlp"))
    page.page.keyboard.down("Control")
    press(page, "attn", 0, 0)
    page.point("attn", 0, 1)
    page.page.mouse.up()
    page.page.keyboard.up("Control")
    page.until(lambda: len(page.widget.selection) == 23)
    assert page.page.evaluate("String(getSelection())") == ""


def test_a_lasso_selects_the_cells_it_goes_around(show):
    page = show(lambda: TraceGrid(fake_trace()))
    corners = [page.middle("hidden", pos, layer) for pos, layer in ((1, 1), (1, 4), (4, 4), (4, 1))]
    page.page.keyboard.down("Alt")
    page.page.mouse.move(corners[0][0] - 4, corners[0][1] - 4)
    page.page.mouse.down()
    for (x, y), (right, down) in zip(corners[1:], ((4, -4), (4, 4), (-4, 4)), strict=True):
        page.page.mouse.move(x + right, y + down, steps=4)
    expect(page.page.locator("path.rw-band")).to_have_count(1)
    page.page.mouse.up()
    page.page.keyboard.up("Alt")
    page.until(lambda: page.widget.selection == cells(range(1, 5), range(1, 5), "hidden"))


def test_labels_stand_for_rows_and_layer_numbers_for_columns(show):
    page = show(lambda: TraceGrid(fake_trace()))
    page.page.locator(".rw-token").nth(2).click()
    page.until(lambda: page.widget.selection == cells([2], range(8), "hidden"))
    page.page.locator(".rw-layers").nth(1).get_by_text("5").click(modifiers=["Control"])
    page.until(lambda: len(page.widget.selection) == 16)
    assert (7, 5, "mlp") in page.widget.selection
    x, y = page.middle("attn", 4, 4)
    page.page.mouse.dblclick(x, y)
    page.until(lambda: page.widget.selection == [])


def test_the_layer_pointed_at_is_numbered_below_its_own_grid_alone(show):
    page = show(lambda: TraceGrid(fake_trace()))
    number = page.page.locator(".rw-layers .rw-at").filter(visible=True)
    expect(number).to_have_count(0)
    page.point("mlp", 2, 3)
    expect(number).to_have_count(1)
    expect(number).to_have_text("3")
    expect(number).to_have_attribute("data-kind", "mlp")


def test_a_finger_selects_by_tapping_and_drawing(show):
    page = show(lambda: TraceGrid(fake_trace()))
    devtools = page.page.context.new_cdp_session(page.page)

    def touch(kind, *places):
        points = [{"x": x, "y": y} for x, y in places]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", page.middle("mlp", 1, 1))
    for layer in (2, 3):
        touch("touchMove", page.middle("mlp", 2, layer))
    touch("touchEnd")
    page.until(lambda: page.widget.selection == cells((1, 2), (1, 2, 3), "mlp"))


def test_every_key_of_the_grid(show):
    page = show(lambda: TraceGrid(fake_trace(n_layers=24, window=10)))
    keyboard = page.page.keyboard
    page.figure.focus()

    def at(*cell):
        page.until(lambda: page.widget.cursor == cell)

    for key, cell in (
        ("Control+End", (7, 23, "hidden")),
        ("PageUp", (7, 13, "hidden")),
        ("s", (0, 13, "hidden")),
        ("Shift+S", (2, 13, "hidden")),
        ("m", (2, 13, "mlp")),
        ("g", (2, 13, "mlp")),
        ("1", (2, 1, "mlp")),
        ("7", (2, 17, "mlp")),
        ("Home", (2, 0, "mlp")),
        ("5", (2, 0, "mlp")),
        ("End", (2, 23, "mlp")),
    ):
        keyboard.press(key)
        at(*cell)
    page.until(lambda: page.widget.kind == "mlp")
    keyboard.press("Control+a")
    page.until(lambda: page.widget.selection == cells([2], range(24), "mlp"))
    keyboard.press("Control+a")
    page.until(lambda: len(page.widget.selection) == 8 * 24)
    keyboard.press("Escape")
    page.until(lambda: page.widget.selection == [])
    keyboard.press("Shift+ArrowLeft")
    keyboard.press("Shift+ArrowDown")
    page.until(lambda: page.widget.selection == cells((2, 3), (22, 23), "mlp"))
    keyboard.press("Shift+ArrowUp")
    page.until(lambda: page.widget.selection == cells([2], (22, 23), "mlp"))
    keyboard.press("t")
    page.until(lambda: page.widget.kind == "all")
    keyboard.press("Escape")
    keyboard.press("Escape")
    expect(page.figure).not_to_be_focused()


def test_plain_keys_stay_others_reach_the_host_and_letters_can_be_switched_off(show):
    page = show(lambda: TraceGrid(fake_trace(), shortcuts=False))
    page.page.evaluate(
        "window.heard = []; document.body.addEventListener('keydown', e => heard.push(e.key))"
    )
    page.figure.focus()
    for key in ("ArrowDown", "m", "Control+s", "Shift+Enter", "[", "Home"):
        page.page.keyboard.press(key)
    page.page.get_by_role("button", name="View as table").focus()
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("x")
    heard = page.page.evaluate("heard.filter(key => !['Control', 'Shift'].includes(key))")
    assert heard == ["s", "Enter"]
    page.until(lambda: page.widget.cursor == (3, 0, "hidden"))
    assert page.widget.kind == "all"


def test_the_keys_are_explained_in_a_dialog_that_gives_the_focus_back(show):
    page = show(lambda: TraceGrid(fake_trace()))
    page.figure.focus()
    page.page.keyboard.press("?")
    dialog = page.page.get_by_role("dialog", name="Keys and pointer")
    expect(dialog).to_contain_text("Alt + drag")
    expect(dialog).not_to_contain_text("window")  # A recorded trace has none to change.
    page.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.figure).to_be_focused()


def test_a_screen_reader_follows_the_cursor_and_hears_the_line_once_it_rests(show):
    page = show(lambda: TraceGrid(fake_trace()))
    page.figure.focus()
    page.page.keyboard.press("m")
    for _ in range(3):
        page.page.keyboard.press("ArrowRight")
    active = page.page.locator(f"#{page.figure.get_attribute('aria-activedescendant')}")
    score = page.widget.trace.scores["mlp"][2, 3]
    expect(active).to_have_text(f"layer 3, p {score:.3f}, up {score - CORRUPTED:.3f}")
    expect(active).to_have_attribute("aria-colindex", "5")
    expect(page.figure).to_have_attribute("aria-colcount", "9")
    spoken = page.page.locator(".rw-spoken")
    assert spoken.text_content() == ""
    expect(spoken).to_contain_text("MLP layer 3 (layers 2–4 restored)")


def test_the_strongest_states_are_a_table_with_buttons(show):
    page = show(lambda: TraceGrid(fake_trace()))
    page.page.get_by_role("button", name="View as table").click()
    rows = page.page.locator(".rw-strongest tbody tr")
    expect(rows).to_have_count(20)
    values = [float(row.split()[-2]) for row in rows.all_inner_texts()]
    assert values == sorted(values, reverse=True)
    rows.first.get_by_role("button").click()
    page.until(lambda: page.widget.selection == [(7, 7, "hidden")])
    expect(rows.first.get_by_role("button")).to_have_attribute("aria-pressed", "true")
    page.page.get_by_role("button", name="View as picture").click()
    expect(page.page.locator("canvas")).to_have_count(3)


def test_the_scale_is_chosen_on_the_colour_bar_and_changes_no_colour(show):
    page = show(lambda: TraceGrid(fake_trace(), kind="mlp"))
    before = page.color("mlp", 2, 3)
    page.page.get_by_label("Scale").select_option("share")
    page.until(lambda: page.widget.scale == "share")
    expect(page.page.locator(".rw-end-clean")).to_contain_text("100")
    page.point("mlp", 2, 3)
    share = page.widget.value_at(2, 3, "mlp")
    expect(page.detail.locator("b").last).to_have_text(f"{share:.0%}".replace("%", "\u202f%"))
    assert page.color("mlp", 2, 3) == before
    page.widget.scale = "effect"
    expect(page.page.locator(".rw-best")).to_contain_text("+0.41")


def test_another_palette_and_numbers_in_the_cells(show):
    page = show(lambda: TraceGrid(fake_trace(), kind="mlp", palette="cividis"))
    assert page.color("mlp", 7, 0)[:2] < [30, 60]
    values = page.page.locator("canvas.rw-values")
    expect(values).to_have_count(0)
    page.widget.values = True
    expect(values).to_have_count(1)
    drawn = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert values.evaluate(drawn) > 10
    page.widget.kind = "all"  # Cells are too narrow for numbers now, or the panel is below.
    page.page.set_viewport_size({"width": 560, "height": 900})
    expect(values).to_have_count(0)


def test_of_many_tokens_only_the_labels_in_sight_exist(show):
    tokens = [f" w{i}" for i in range(200)]
    scores = {kind: np.full((200, 126), 0.5) for kind in ("hidden", "mlp", "attn")}

    def make():
        trace = fake_trace(
            "".join(tokens), tokens[3], tokens=tokens, span=(3, 5), n_layers=126, scores=scores
        )
        return TraceGrid(trace)

    page = show(make, width=560)
    labels = page.page.locator(".rw-token")
    expect(labels.first).to_have_text("w0")
    assert labels.count() < 120
    box = page.page.locator(".rw-figure")
    nodes = "document.querySelectorAll('.rw-figure *:not(.rw-tokens *, .rw-layers *)').length"
    assert page.page.evaluate(nodes) <= 150
    box.evaluate("box => { box.scrollTop = 1500; box.scrollLeft = 200 }")
    expect(page.page.locator(".rw-token[data-pos='140']").first).to_be_visible()
    expect(page.page.locator(".rw-token[data-pos='0']").first).to_be_hidden()
    label = page.page.locator(".rw-token[data-pos='140']").first.bounding_box()
    assert label["x"] >= box.bounding_box()["x"] - 1  # It stays while the layers scroll.
    page.figure.focus()
    page.page.keyboard.press("Control+End")
    expect(page.page.locator(".rw-cursor")).to_be_in_viewport()
    expect(page.page.locator(".rw-token[data-pos='199']").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_selection_is_seen_in_high_contrast(show, scheme):
    page = show(lambda: TraceGrid(fake_trace(), selection=[(2, 3, "mlp")]), theme=scheme)
    page.page.emulate_media(forced_colors="active", color_scheme=scheme)
    style = "e => [getComputedStyle(e).stroke, getComputedStyle(e).strokeWidth]"
    stroke, width = page.page.locator(".rw-selected").evaluate(style)
    canvas = page.page.evaluate(
        "(() => { const e = document.body.appendChild(document.createElement('i'));"
        "e.style.color = 'Highlight'; return getComputedStyle(e).color })()"
    )
    assert (stroke, width) == (canvas, "3px")
    bar = page.page.locator(".rw-ramps span").first
    assert "gradient" in bar.evaluate("e => getComputedStyle(e).backgroundImage")


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
        _esm, _css = bundle("grid", tmp_path)

    page = show(Bare)
    expect(page.page.locator(".rw-missing")).to_contain_text(REMEDY)
