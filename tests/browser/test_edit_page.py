"""Editing as a person meets it: real mouse and keys, real Chromium, a fake model."""

from itertools import product

import pytest
from playwright.sync_api import expect

from rome_widgets.errors import RomeWidgetsError
from rome_widgets.widgets import EditPanel, GenerationCompare, PredictionCompare, TraceExplorer
from tests.helpers.fake_editor import FUJI, NEEDLE, FakeEditor
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine

PATIENCE = 20
FORM = {
    "prompt": NEEDLE.template,
    "subject": NEEDLE.subject,
    "target": NEEDLE.target,
    "true_object": NEEDLE.true_object,
}


def panel(edits=(), form=FORM, **settings):
    """A maker of a panel on a model that holds `edits`; `widget.test_engine` is its engine."""

    def make():
        engine = FakeEditor(**settings)
        slow, engine.slow = engine.slow, False
        for request in edits:
            engine.edit(request, lambda step: None, lambda: False)
        engine.order.clear()
        engine.slow = slow
        widget = EditPanel(engine, **form)
        widget.test_engine = engine
        return widget

    return make


def press(page, action, at=0):
    page.page.locator(f"[data-action={action}]").nth(at).click()


def steps(page):
    return int(page.page.locator("[data-steps]").get_attribute("data-steps"))


def one_step(page):
    """Let an engine that waits do a step; the widget sends what came a while after the last."""
    page.page.wait_for_timeout(300)
    page.widget.test_engine.step.set()


def test_an_edit_from_the_form_to_its_before_and_after(show):
    page = show(panel(slow=True))
    expect(page.page.locator(".rw-edited")).to_have_count(0)
    press(page, "apply")
    page.status("running")
    expect(page.page.locator("[data-action=apply]")).to_have_count(0)
    seen = [0]
    for _ in range(3):
        one_step(page)
        page.until(lambda: steps(page) > seen[-1])
        seen.append(steps(page))
    assert seen[-1] < 20
    page.widget.test_engine.slow = False
    page.status("done")
    row = page.page.locator("[data-edit=e1]")
    expect(row).to_contain_text(f"{PROMPT} → Paris")
    for expected in ("0.118", "1.00", "0.96", "0.74"):
        expect(row).to_contain_text(expected)
    expect(page.root).to_contain_text("weights match the history ✓")
    expect(page.page.locator(".rw-edited")).to_have_text("EDITED · 1")
    rewrite = page.page.locator("[data-group=rewrite]")
    expect(rewrite).to_contain_text("Seattle 0.920")
    expect(rewrite).to_contain_text("Paris 0.930")
    expect(rewrite).to_contain_text("+0.920 ▲")
    expect(rewrite).to_contain_text("✓ new")
    expect(page.page.locator("[data-group=other]")).to_contain_text("✗ bled")
    assert page.widget.test_engine.order == [("edit", NEEDLE.subject)]


def test_what_is_typed_is_what_is_edited(show):
    page = show(panel(form={}))
    expect(page.page.locator("[data-action=apply]")).to_be_disabled()
    for field, value in (
        ("template", FUJI.template),
        ("subject", FUJI.subject),
        ("target", FUJI.target),
    ):
        page.page.locator(f"[data-field={field}]").fill(value)
    expect(page.page.locator(".rw-sentence")).to_contain_text(
        "Mount Fuji is in the country of Italy"
    )
    page.page.locator("[data-choice=ft-l]").click()
    page.page.locator("[data-field=layer]").fill("6")
    page.page.locator("[data-field=target]").press("Enter")
    page.status("done")
    (record,) = page.widget.records
    assert (record.request.prompt, record.request.target) == (
        "Mount Fuji is in the country of",
        "Italy",
    )
    assert (record.request.method, record.layer) == ("ft-l", 6)
    assert record.request.true_object is None


def test_cancel_leaves_the_model_as_it_was(show):
    page = show(panel(slow=True))
    press(page, "apply")
    page.status("running")
    press(page, "cancel")
    page.status("cancelled")
    expect(page.root).to_contain_text("no edit was made")
    assert page.widget.test_engine.records() == []
    expect(page.page.locator("[data-action=apply]")).to_be_enabled()


def test_edits_are_taken_out_and_put_back_in_any_order(show):
    page = show(panel([NEEDLE, FUJI, NEEDLE]))
    boxes = page.page.locator("[data-edit] input[type=checkbox]")
    expect(boxes).to_have_count(3)
    press(page, "revert", 0)
    expect(boxes.nth(0)).not_to_be_checked()
    expect(page.page.locator(".rw-edited")).to_have_text("EDITED · 2")
    boxes.nth(2).click()
    expect(page.page.locator(".rw-edited")).to_have_text("EDITED · 1")
    boxes.nth(0).click()
    expect(boxes.nth(0)).to_be_checked()
    page.until(lambda: page.widget.status == "done")
    assert page.widget.test_engine.order == [
        ("applied", "e1", False),
        ("applied", "e3", False),
        ("applied", "e1", True),
    ]
    press(page, "revert-all")
    expect(page.page.locator(".rw-edited")).to_have_count(0)
    expect(page.page.locator("[data-action=revert]")).to_have_count(0)
    expect(page.page.locator("[data-action=revert-all]")).to_be_disabled()


def test_orders_given_at_once_are_all_done_once_and_in_order(show):
    page = show(panel([NEEDLE, FUJI, NEEDLE], slow=True))
    expect(page.page.locator("[data-edit]")).to_have_count(3)
    press(page, "apply")
    press(page, "on-top")
    page.status("running")
    for at in range(3):
        page.page.locator("[data-edit] input[type=checkbox]").nth(at).click()
    page.page.wait_for_timeout(3500)  # Long enough for the page to send them again.
    page.widget.test_engine.slow = False
    page.status("done")
    assert page.widget.test_engine.order == [
        ("edit", NEEDLE.subject),
        *(("applied", f"e{at}", False) for at in (1, 2, 3)),
    ]
    expect(page.page.locator(".rw-edited")).to_have_text("EDITED · 1")


def test_predictions_follow_the_strength_and_the_last_one_stays(show):
    page = show(panel([NEEDLE]))
    slider = page.page.locator("[data-field=strength]")
    rewrite = page.page.locator("[data-group=rewrite]")
    expect(rewrite).to_contain_text("✓ new")
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + box["width"] * 2 / 3, middle)
    page.page.mouse.down()
    for share in (0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        page.page.mouse.move(box["x"] + box["width"] * share, middle)
        page.page.wait_for_timeout(30)
    expect(rewrite).to_contain_text("✗ not yet")
    page.page.mouse.up()
    said = float(slider.input_value())
    page.until(lambda: page.widget.edits[0]["strength"] == said)
    assert said < 0.25
    assert page.widget.test_engine.strengths[-1] == ("e1", said)
    expect(page.page.locator("[aria-label=Strength] h4")).to_contain_text(f"× {said:.2f}")
    assert page.page.locator(".rw-curves .rw-point.rw-curve-0").count() > 2


def test_a_slow_model_is_asked_only_for_the_latest_strength(show):
    page = show(panel([NEEDLE]))
    slider = page.page.locator("[data-field=strength]")
    expect(page.page.locator("[data-group=rewrite]")).to_be_visible()
    page.widget.test_engine.gate.clear()
    slider.focus()
    for _ in range(30):
        page.page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("0.7")
    page.until(lambda: page.widget._wanted.get("e1") == 0.7)
    page.widget.test_engine.gate.set()
    page.until(lambda: page.widget.edits[0]["strength"] == 0.7)
    assert len(page.widget.test_engine.strengths) <= 3
    expect(slider).to_have_value("0.7")


def test_an_error_is_shown_with_its_remedy_and_the_history_stays(show):
    page = show(panel([NEEDLE]))
    expect(page.page.locator("[data-edit]")).to_have_count(1)
    page.widget.test_engine.broken = RomeWidgetsError(
        "There are no statistics for layer 3.", "A second moment was wanted.", "Pass texts."
    )
    press(page, "apply")
    press(page, "on-top")
    page.status("error")
    strip = page.page.get_by_role("alert")
    expect(strip).to_contain_text("There are no statistics for layer 3.")
    expect(strip).to_contain_text("Pass texts.")
    expect(page.page.locator("[data-edit]")).to_have_count(1)
    page.widget.test_engine.broken = None
    press(page, "retry")
    assert len(page.widget.test_engine.order) == 1, "it is asked about again"
    press(page, "on-top")
    page.status("done")
    expect(strip).to_have_count(0)
    expect(page.page.locator("[data-edit]")).to_have_count(2)


def test_a_revert_that_failed_is_not_tried_again_as_an_edit(show):
    page = show(panel([NEEDLE]))
    expect(page.page.locator("[data-edit]")).to_have_count(1)
    page.widget.test_engine.broken = RomeWidgetsError("Somebody else wrote the weights.")
    press(page, "revert")
    page.status("error")
    expect(page.page.get_by_role("alert")).to_contain_text("Somebody else wrote the weights.")
    expect(page.page.locator("[data-action=retry]")).to_have_count(0)


def test_a_prompt_of_ones_own_that_cannot_be_run_says_so_and_can_be_removed_by_keyboard(show):
    page = show(panel([NEEDLE]))
    engine = page.widget.test_engine
    compare = engine.compare

    def picky(request, prompts):
        if any(len(prompt.text) > 100 for prompt in prompts):
            raise RomeWidgetsError("The prompt has 200 tokens.")
        return compare(request, prompts)

    engine.compare = picky
    field = page.page.locator("[data-field=test]")
    for text in ("Lyon is in", "x" * 200):
        field.fill(text)
        field.press("Enter")
    own = page.page.locator("[data-group=free]")
    expect(own).to_have_count(2)
    expect(own.nth(1)).to_contain_text("The prompt has 200 tokens.")
    expect(own.nth(0)).to_contain_text("same")
    expect(page.page.get_by_role("alert")).to_have_count(0)
    page.page.get_by_role("button", name="Remove xxx").focus()
    page.page.keyboard.press("Enter")
    expect(own).to_have_count(1)
    expect(field).to_be_focused()
    assert [test["text"] for test in page.widget.tests] == ["Lyon is in"]


@pytest.mark.parametrize(
    ("answer", "order"),
    [
        ("on-top", [("edit", FUJI.subject)]),
        ("revert-first", [("revert_all",), ("edit", FUJI.subject)]),
        ("not-now", []),
    ],
)
def test_an_edit_of_an_edited_model_is_asked_about_first(show, answer, order):
    page = show(panel([NEEDLE], form={**FORM, "subject": FUJI.subject}))
    expect(page.page.locator("[data-edit]")).to_have_count(1)
    press(page, "apply")
    expect(page.page.get_by_role("alert")).to_contain_text("The model holds an edit already.")
    page.page.locator("[data-field=target]").press("Enter")  # Asking again is no answer.
    assert page.widget.test_engine.order == []
    press(page, answer)
    expect(page.page.get_by_role("alert")).to_have_count(0)
    if order:
        page.until(lambda: page.widget.test_engine.order == order)
        page.status("done")
    assert page.widget.test_engine.order == order


def test_a_layer_comes_from_the_trace(show):
    page = show(panel())
    press(page, "suggest")
    expect(page.root).to_contain_text("the MLP trace peaks at layer 5")
    expect(page.page.locator("[data-field=layer]")).to_have_value("5")


def test_two_views_of_one_panel_agree(show):
    page = show(panel([NEEDLE]))
    page.page.evaluate(
        "() => { const el = document.body.appendChild(document.createElement('div'));"
        " return rome.show(rome.model, el); }"
    )
    boxes = page.page.locator("[data-edit] input[type=checkbox]")
    expect(boxes).to_have_count(2)
    boxes.nth(1).click()
    expect(boxes.nth(0)).not_to_be_checked()
    boxes.nth(0).click()
    expect(boxes.nth(1)).to_be_checked()
    page.until(lambda: page.widget.status == "done")
    assert len(page.widget.test_engine.order) == 2


def test_an_explorer_on_the_same_page_looks_as_it_does_alone(show):
    page = show(lambda: TraceExplorer(FakeEngine(), prompt=PROMPT, subject=SUBJECT))
    page.status("done")
    menu = page.page.locator("details.rw-menu", has_text="History")
    menu.locator("summary").click()
    look = """el => [...el.closest('.rw').querySelectorAll('*')].map((each) => {
      const { color, font } = getComputedStyle(each);
      const { x, y, width, height } = each.getBoundingClientRect();
      return [each.className, color, font, x, y, width, height].join(' ');
    })"""
    alone = menu.evaluate(look)
    page.page.add_style_tag(content=EditPanel(FakeEditor())._css)
    assert menu.evaluate(look) == alone


def test_nothing_sticks_out_and_words_can_be_read(show):
    page = show(panel([NEEDLE, FUJI]))
    page.widget.selected = "e1"
    expect(page.page.locator("[data-group=neighborhood]")).to_have_count(2)
    for width, theme in product((932, 600), ("light", "dark")):
        page.look(width, theme)
        expect(page.root).to_have_attribute("data-theme", theme)
        inner, outer = page.root.evaluate("el => [el.scrollWidth, el.clientWidth]")
        assert inner <= outer, (width, theme)
        for selector in (".rw-mute", ".rw-attention", ".rw-wrong", ".rw-right", "td", ".rw-pick"):
            for ratio in page.page.evaluate(CONTRAST, selector):
                assert ratio >= 4.5, (selector, width, theme)


CONTRAST = """selector => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const back = light(getComputedStyle(document.querySelector(".rw")).backgroundColor);
  return [...document.querySelectorAll(`.rw ${selector}`)].map((el) => {
    const front = light(getComputedStyle(el).color);
    return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  });
}"""


class TestComparisons:
    def test_predictions_sort_follow_and_change_their_measure(self, show):
        words = [" Seattle", " Paris"]
        runs = [
            {"name": "clean", "tokens": words, "probabilities": [0.94, 0.01], "ranks": [1, 9]},
            {"name": "edited", "tokens": words, "probabilities": [0.1, 0.8]},
        ]
        page = show(lambda: PredictionCompare(runs, k=1))
        tokens = page.page.locator("[data-token]")
        expect(tokens.first).to_contain_text("Paris")
        expect(tokens.first).to_contain_text("9 → 1")
        page.page.locator("[data-sort='0']").click()
        expect(tokens.first).to_contain_text("Seattle")
        page.page.locator("[data-choice=rank]").click()
        expect(tokens.first).to_contain_text("−1 ▼")
        page.until(lambda: page.widget.metric == "rank")

    def test_generations_stream_and_then_mark_what_differs(self, show):
        def make():
            widget = GenerationCompare(FakeEditor(slow=True), [PROMPT])
            widget.test_engine = widget._engine
            return widget

        page = show(make)
        page.status("running")
        cell = page.page.locator("td .rw-text").first
        for so_far in ("Seattle,", "Seattle, Washington."):
            one_step(page)
            expect(cell).to_contain_text(so_far)
        expect(page.page.locator("u")).to_have_count(0)
        page.widget.test_engine.slow = False
        page.status("done")
        expect(page.page.locator("u").first).to_have_text("Seattle, Washington.")
        look = page.page.locator("u").first.evaluate(
            "el => [getComputedStyle(el).fontWeight, getComputedStyle(el).textDecorationLine]"
        )
        assert look == ["700", "underline"]
