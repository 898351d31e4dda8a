"""The explorer as a person meets it: real mouse, real keys, real Chromium, a fake model."""

import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from rome_widgets.widgets import TraceExplorer
from rome_widgets.widgets.trace.download import picture
from tests.helpers.fake_engine import PROMPT, SUBJECT, FakeEngine, fake_trace

PATIENCE = 20
MILLISECONDS = re.compile(r"^\d+\.\d$")
PROBABILITY = re.compile(r"^0\.\d+$")


def live(**settings):
    """A maker of an explorer with a finished trace; `widget.test_engine` is its engine."""

    def make():
        engine = FakeEngine(**settings)
        widget = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
        widget.test_engine = engine
        return widget

    return make


def painted(scores):
    return f"{scores:.4f}"


def test_a_click_on_a_cell_shows_the_models_answer_to_four_decimals(show):
    page = show(live())
    page.status("done")
    page.click("mlp", 2, 3)
    score = page.widget.trace.scores["mlp"][2, 3]
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    expect(page.panel).to_contain_text(painted(score))
    expect(page.panel).to_contain_text("Restored: 3 states")
    expect(page.panel).to_contain_text("MLP 2–4 at “Needle”")
    assert page.widget.selection == [(2, 3, "mlp")]
    assert page.widget._restoration["source"] == "exact"
    assert float(page.panel.get_attribute("data-score")) == pytest.approx(score)


def test_the_latency_from_pointer_to_paint_is_written_on_the_panel(show):
    page = show(live())
    page.status("done")
    page.click("hidden", 2, 4)
    expect(page.panel).to_have_attribute("data-latency-ms", MILLISECONDS)


def test_every_cell_is_where_it_is_painted(show):
    page = show(live())
    page.status("done")
    for kind, pos, layer in [
        ("hidden", 0, 0),
        ("hidden", 7, 7),
        ("mlp", 4, 1),
        ("attn", 7, 7),
        ("attn", 2, 6),
    ]:
        page.click(kind, pos, layer)
        expect(page.panel).to_have_attribute(
            "data-selection", json.dumps([[pos, layer, kind]], separators=(",", ":"))
        )


def test_ctrl_click_adds_and_removes_and_a_plain_click_replaces(show):
    page = show(live())
    page.status("done")
    page.click("mlp", 2, 3)
    page.click("hidden", 2, 4, modifiers=("Control",))
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"],[2,4,"hidden"]]')
    expect(page.panel).to_contain_text("Restored: 4 states")
    expect(page.page.locator(".rw-selected")).to_have_count(2)
    page.click("mlp", 2, 3, modifiers=("Control",))
    expect(page.panel).to_have_attribute("data-selection", '[[2,4,"hidden"]]')
    page.click("attn", 2, 6)
    expect(page.panel).to_have_attribute("data-selection", '[[2,6,"attn"]]')
    page.click("attn", 3, 7, modifiers=("Shift",))
    page.until(lambda: len(page.widget.selection) == 4)
    expect(page.page.locator(".rw-selected")).to_have_count(1)  # One outline around them.


def test_a_selection_made_in_python_is_painted_and_answered(show):
    page = show(live())
    page.status("done")
    page.widget.selection = [(2, 4, "hidden")]
    expect(page.panel).to_have_attribute("data-selection", '[[2,4,"hidden"]]')
    expect(page.page.locator(".rw-selected")).to_have_count(1)


def test_the_selection_is_painted_before_the_model_answers(show):
    page = show(live())
    page.status("done")
    page.widget.test_engine.restore_gate.clear()
    page.click("mlp", 2, 3)
    page.click("hidden", 2, 4, modifiers=("Control",))
    expect(page.page.locator(".rw-selected")).to_have_count(2)
    expect(page.panel).to_contain_text("updating…")
    assert page.panel.get_attribute("data-selection") is None
    page.widget.test_engine.restore_gate.set()
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"],[2,4,"hidden"]]')
    expect(page.panel).not_to_contain_text("updating…")


def test_keys_walk_the_grid_toggle_restore_and_clear(show):
    page = show(live())
    page.status("done")
    heard = (
        "window.heard = []; document.addEventListener('keydown', (e) => window.heard.push(e.key))"
    )
    page.page.evaluate(heard)
    page.figure.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowDown"):
        page.page.keyboard.press(key)
    expect(page.detail).to_contain_text("“Needle”*, Hidden state layer 2")
    page.page.keyboard.press("Space")
    expect(page.panel).to_have_attribute("data-selection", '[[2,2,"hidden"]]')
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Space")
    expect(page.panel).to_have_attribute("data-selection", '[[2,2,"hidden"],[2,3,"hidden"]]')
    page.page.keyboard.press("End")
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Enter")
    expect(page.panel).to_have_attribute("data-selection", '[[2,0,"mlp"]]')
    page.page.keyboard.press("Escape")
    expect(page.panel).to_contain_text("Nothing restored")
    assert page.page.evaluate("window.heard") == []
    page.page.keyboard.press("Control+s")
    assert "s" in page.page.evaluate("window.heard")


def test_pointing_reads_a_cell_out_with_its_window_and_its_change(show):
    page = show(live())
    page.status("done")
    page.point("mlp", 2, 0)
    score = page.widget.trace.scores["mlp"][2, 0]
    expect(page.detail).to_contain_text("MLP layer 0")
    expect(page.detail).to_contain_text("(layers 0–1 restored)")
    expect(page.detail).to_contain_text(painted(score))
    expect(page.detail).to_contain_text("▲")


def test_cells_are_painted_with_the_ramps_of_the_paper(show):
    page = show(live())
    page.status("done")
    expect(page.page.locator("canvas")).to_have_count(3)
    best = page.widget.trace.scores["hidden"][-1].argmax()
    red, green, blue, alpha = page.color("hidden", 7, int(best))
    assert alpha == 255
    assert blue > red > green
    assert page.color("mlp", 2, 3)[1] > max(page.color("mlp", 2, 3)[0], page.color("mlp", 2, 3)[2])
    assert page.color("attn", 2, 6)[0] > max(page.color("attn", 2, 6)[1:3])


def test_one_kind_is_shown_alone(show):
    page = show(live())
    page.status("done")
    page.page.get_by_role("button", name="Attention", exact=True).click()
    expect(page.page.locator("canvas")).to_have_count(1)
    page.click("attn", 2, 6)
    expect(page.panel).to_have_attribute("data-selection", '[[2,6,"attn"]]')
    page.until(lambda: page.widget.kind == "attn")
    page.widget.kind = "all"
    expect(page.page.locator("canvas")).to_have_count(3)


def test_a_prompt_typed_by_hand_is_traced_on_enter(show):
    page = show(live())
    page.status("done")
    prompt = page.page.get_by_label("Prompt", exact=True)
    prompt.fill("Mount Fuji is in the country of")
    expect(page.root).to_contain_text("changed since this trace")
    expect(page.root).to_contain_text("not in the prompt")
    page.page.get_by_label("Subject", exact=True).fill("Mount Fuji")
    page.page.keyboard.press("Enter")
    expect(page.page.locator(".rw-token").first).to_have_text("Mount*")
    page.status("done")
    assert page.widget.trace.subject == "Mount Fuji"
    page.until(lambda: page.widget.prompt == "Mount Fuji is in the country of")
    expect(page.root).not_to_contain_text("changed since this trace")


def test_of_a_prompt_typed_alone_the_likeliest_subject_is_taken_without_an_error(show):
    page = show(live())
    page.status("done")
    prompt = page.page.get_by_label("Prompt", exact=True)
    prompt.fill("The home of Mount Fuji is")
    page.page.keyboard.press("Enter")
    page.until(lambda: page.widget.trace.subject == "Mount Fuji")
    expect(page.page.locator("mark")).to_have_text("Mount Fuji")
    expect(page.page.get_by_role("alert")).to_have_count(0)
    prompt.fill("Mount Fuji, they say, is not Mount Fuji but")
    page.page.get_by_role("button", name="all", exact=True).click()
    page.page.get_by_role("button", name="Trace", exact=True).click()
    page.until(lambda: page.widget.test_engine.traced[-1].all_mentions)
    expect(page.page.locator("mark")).to_have_count(2)


def test_a_metric_its_second_answer_and_another_subject_are_traced(show):
    page = show(live())
    page.status("done")
    page.page.locator("[data-field=metric]").select_option("logit_difference")
    page.page.locator("[data-field=against]").fill("Paris")
    page.page.locator("[data-field=other_subject]").fill("The Eiffel Tower")
    expect(page.page.locator("[data-setting=noise]")).to_have_count(0)
    page.page.get_by_role("button", name="Trace", exact=True).click()
    page.until(lambda: page.widget.test_engine.traced[-1].other_subject == "The Eiffel Tower")
    asked = page.widget.test_engine.traced[-1]
    assert (asked.metric, asked.against) == ("logit_difference", "Paris")


def test_words_marked_in_the_prompt_become_the_subject(show):
    page = show(live())
    page.status("done")
    page.page.get_by_label("Prompt", exact=True).dblclick(position={"x": 70, "y": 16})
    page.page.get_by_role("button", name="make “Space” the subject").click()
    expect(page.page.locator("mark")).to_have_text("Space")
    expect(page.page.get_by_label("Subject", exact=True)).to_have_value("Space")


def test_settings_changed_on_the_page_arrive_in_python(show):
    page = show(live())
    page.status("done")
    for name, value in (("samples", "5"), ("window", "1"), ("noise", "2.5"), ("seed", "7")):
        page.page.locator(f"[data-setting={name}]").fill(value)
        page.page.keyboard.press("Tab")
    page.page.get_by_role("button", name="Trace", exact=True).click()
    traced = page.widget.test_engine.traced
    page.until(lambda: len(traced) == 2)
    settings = traced[-1]
    assert (settings.samples, settings.window, settings.noise, settings.seed) == (5, 1, 2.5, 7)


def test_the_grid_fills_in_row_by_row_and_can_be_stopped(show):
    page = show(live(slow=True))
    page.status("running")
    page.widget.test_engine.step.set()
    expect(page.root).to_contain_text("8/192 states")
    expect(page.page.locator(".rw-token").nth(2)).to_have_text("Needle*")
    page.page.get_by_role("button", name="Cancel").click()
    page.status("cancelled")
    expect(page.root).to_contain_text("/192 states")
    assert page.color("hidden", 0, 0)[3] == 255
    assert page.color("attn", 7, 7)[3] == 0
    assert page.widget.wait(PATIENCE)
    assert np.isnan(page.widget.trace.scores["attn"]).all()


def test_an_estimate_paints_the_grid_until_exact_rows_replace_it(show):
    page = show(live(slow=True, preview=True))
    engine, legend = page.widget.test_engine, page.page.locator(".rw-legend")
    expect(legend).to_have_text("estimate")
    expect(page.root).to_contain_text("0/192 states")
    assert 0 < page.color("attn", 7, 7)[3] < 255
    page.point("hidden", 2, 4)
    expect(page.detail).to_contain_text(re.compile(r"estimate ≈ 0\.\d\d\s*$"))
    engine.step.set()
    expect(page.root).to_contain_text("8/192 states")
    assert page.color("hidden", 0, 0)[3] == 255
    assert 0 < page.color("hidden", 2, 4)[3] < 255
    page.click("hidden", 2, 4)
    expect(page.panel).to_have_attribute("data-selection", '[[2,4,"hidden"]]')
    exact = float(page.panel.get_attribute("data-score"))
    page.status("running")
    page.page.get_by_role("button", name="Cancel").click()
    page.status("cancelled")
    expect(legend).to_have_count(0)
    assert page.color("hidden", 0, 0)[3] == 255
    assert page.color("attn", 7, 7)[3] == 0
    engine.slow = False
    page.page.get_by_role("button", name="Trace again").click()
    page.status("done")
    expect(legend).to_have_count(0)
    assert page.color("attn", 7, 7)[3] == 255
    page.until(lambda: page.widget.trace.complete)
    assert exact == pytest.approx(page.widget.trace.scores["hidden"][2, 4])


def test_an_error_says_what_to_do_and_leaves_everything_usable(show):
    page = show(live())
    page.status("done")
    page.page.get_by_label("Subject", exact=True).fill("the <b>space</b> needle")
    page.page.keyboard.press("Enter")
    strip = page.page.get_by_role("alert")
    expect(strip).to_contain_text("'the <b>space</b> needle' is not in the prompt")
    expect(strip).to_contain_text("Did you mean 'Space Needle'?")
    expect(strip).to_contain_text("SubjectNotFound")
    page.click("mlp", 2, 3)
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    page.page.get_by_label("Subject", exact=True).fill("Space Needle")
    strip.get_by_role("button", name="Try again").click()
    page.status("done")
    expect(strip).to_have_count(0)
    expect(page.page.locator(".rw-token").first).to_have_text("The")


def test_try_again_works_however_long_the_button_is_held(show):
    page = show(live())
    page.status("done")
    subject = page.page.get_by_label("Subject", exact=True)
    subject.fill("nowhere")
    page.page.keyboard.press("Enter")
    page.status("error")
    subject.fill("Space Needle")
    box = page.page.get_by_role("button", name="Try again").bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.page.mouse.down()
    page.until(lambda: page.widget.subject == "Space Needle")
    page.page.wait_for_timeout(100)  # What Python has to say to that is on the page.
    page.page.mouse.up()
    page.status("done")
    expect(page.page.get_by_role("alert")).to_have_count(0)
    page.until(lambda: page.widget.trace.subject == "Space Needle")


def test_an_error_can_be_dismissed(show):
    page = show(live())
    page.status("done")
    page.widget.test_engine.broken = ValueError("no luck")
    page.page.get_by_role("button", name="Trace again").click()
    strip = page.page.get_by_role("alert")
    expect(strip).to_contain_text("no luck")
    strip.get_by_role("button", name="Dismiss").click()
    expect(strip).to_have_count(0)


def test_an_empty_explorer_offers_an_example_that_runs(show):
    page = show(lambda: TraceExplorer(FakeEngine()))
    page.status("idle")
    expect(page.page.get_by_role("button", name="Trace", exact=True)).to_be_disabled()
    page.page.get_by_role("button", name="Use The Space Needle").click()
    page.status("done")
    expect(page.page.locator("canvas")).to_have_count(3)
    expect(page.page.locator("mark")).to_have_text("The Space Needle")


def test_the_theme_follows_the_host_while_it_changes(show):
    page = show(live(), theme="dark")
    page.status("done")
    expect(page.root).to_have_attribute("data-theme", "dark")
    dark, background = (
        page.color("hidden", 3, 0),
        "getComputedStyle(document.querySelector('.rw')).backgroundColor",
    )
    assert max(dark[:3]) < 90
    assert page.page.evaluate(background) == "rgb(27, 28, 31)"
    page.page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    expect(page.root).to_have_attribute("data-theme", "light")
    assert min(page.color("hidden", 3, 0)[:3]) > 200
    page.widget.theme = "dark"
    expect(page.root).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize(("layers", "words"), [(8, 12), (48, 30)])
def test_nothing_scrolls_sideways(show, layers, words):
    prompt = " ".join([PROMPT, *["and"] * (words - 8)])

    def make():
        return TraceExplorer(FakeEngine(layers), prompt=prompt, subject=SUBJECT, window=3)

    page = show(make)
    page.status("done")
    page.click("mlp", 2, layers // 2)
    expect(page.panel).to_have_attribute("data-score", PROBABILITY)
    for width in (700, 932, 1200):
        page.look(width)
        wide = page.page.evaluate(
            "[...document.querySelectorAll('html, .rw, .rw-picture, aside, .rw-prompt,"
            " .rw-controls')].filter((each) => each.scrollWidth > each.clientWidth + 1)"
            ".map((each) => each.className || each.tagName)"
        )
        assert wide == [], width
        box = page.page.locator("canvas").first.bounding_box()
        assert box["width"] / layers >= 4, width


def test_two_views_of_one_widget_show_the_same_and_end_cleanly(show):
    page = show(live())
    page.status("done")
    page.click("mlp", 3, 2)  # A view listens to a trait from when it first reads it.
    expect(page.panel).to_have_attribute("data-selection", '[[3,2,"mlp"]]')
    page.click("mlp", 2, 3)  # An answer is followed from the first one on.
    page.panel.and_(page.page.locator("[data-selection]")).wait_for()
    page.page.evaluate(
        """async () => {
          const other = document.body.appendChild(document.createElement('div'));
          window.before = rome.listeners();
          window.other = await rome.show(rome.model, other);
        }"""
    )
    page.click("mlp", 2, 4)
    expect(page.page.locator(".rw-panel[data-selection='[[2,4,\"mlp\"]]']")).to_have_count(2)
    page.page.evaluate("window.other.abort()")
    expect(page.page.locator(".rw")).to_have_count(1)
    assert page.page.evaluate("rome.listeners() === window.before")
    page.page.evaluate("rome.life.abort()")
    assert page.page.evaluate("rome.listeners()") == 0


def test_the_subjects_brackets_are_dragged_and_set_with_keys(show):
    page = show(live())
    page.status("done")
    grip = page.page.locator(".rw-grip").first
    box = grip.bounding_box()
    row = page.page.locator(".rw-token").first.bounding_box()["height"]
    page.page.mouse.move(box["x"] + 4, box["y"] + 6)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] - 20, box["y"] + 6 + row, steps=3)
    assert page.page.locator(".rw-span").bounding_box()["height"] == pytest.approx(2 * row)
    assert len(page.widget.test_engine.traced) == 1
    page.page.mouse.up()
    expect(page.page.locator("mark")).to_have_text("Space Needle")
    stars = page.page.locator(".rw-token i")
    expect(stars).to_have_count(2)
    page.until(lambda: page.widget.trace.subject_span == (1, 3))
    page.figure.focus()
    for key in ("Control+Home", "b"):
        page.page.keyboard.press(key)
    expect(stars).to_have_count(3)
    for key in ("Control+Home", "ArrowDown", "e"):
        page.page.keyboard.press(key)
    page.until(lambda: page.widget.trace.subject_span == (0, 2))
    assert page.widget.subject == "The Space"


def test_brackets_type_the_window_and_wait_for_a_trace(show):
    page = show(live())
    page.status("done")
    page.figure.focus()
    page.page.keyboard.press("]")
    page.until(lambda: page.widget.window == 4)
    page.page.keyboard.press("[")
    page.page.keyboard.press("[")
    page.until(lambda: page.widget.window == 2)
    expect(page.root).to_contain_text("changed since this trace")
    assert len(page.widget.test_engine.traced) == 1


FUJI = "Mount Fuji is in the country of"


def with_runs():
    """An explorer with three runs, the last of another prompt."""
    widget = live()()
    assert widget.wait(PATIENCE)
    widget.window = 1
    widget.run(wait=True)
    widget.prompt, widget.subject = FUJI, "Mount Fuji"
    widget.run(wait=True)
    return widget


def menu(page, title):
    return page.page.locator("details.rw-menu", has=page.page.get_by_label(title))


def test_a_run_of_the_history_comes_back_with_its_form_and_picture(show):
    page = show(with_runs)
    page.status("done")
    history = menu(page, "Runs that can be brought back")
    expect(history.locator("summary")).to_have_text("History 3")
    history.locator("summary").click()
    expect(history.locator("[data-run]").first).to_contain_text(FUJI)
    expect(history.locator("[aria-pressed=true]")).to_have_attribute("data-run", "3")
    history.locator("[data-run]").last.click()
    expect(history.locator("[data-run]").first).to_be_hidden()
    expect(page.page.get_by_label("Prompt", exact=True)).to_have_value(PROMPT)
    expect(page.page.locator(".rw-token").nth(2)).to_have_text("Needle*")
    expect(page.root).not_to_contain_text("changed since this trace")
    page.click("mlp", 2, 3)
    expect(page.panel).to_contain_text("Restored: 3 states")
    assert len(page.widget.test_engine.traced) == 3


def test_the_menu_closes_on_escape_and_when_something_else_is_clicked(show):
    page = show(with_runs)
    history = menu(page, "Runs that can be brought back")
    for close in (
        lambda: page.page.keyboard.press("Escape"),
        lambda: page.page.get_by_label("Prompt", exact=True).click(),
    ):
        history.locator("summary").click()
        expect(history.locator("[data-run]").first).to_be_visible()
        close()
        expect(history.locator("[data-run]").first).to_be_hidden()


def test_what_is_kept_as_a_stands_beside_what_comes_after(show):
    page = show(live())
    page.status("done")
    page.click("mlp", 2, 3)
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    kept = page.widget._restoration
    page.page.get_by_role("button", name="Keep as A").click()
    page.page.get_by_role("button", name="Compare with A").click()
    page.click("hidden", 2, 4)
    expect(page.panel).to_have_attribute("data-selection", '[[2,4,"hidden"]]')
    expect(page.page.locator(".rw-table thead")).to_contain_text("AB")
    answer = page.page.locator(".rw-table .rw-answer td")
    expect(answer.nth(1)).to_have_text(f"{kept['score']:.3f}")
    expect(answer.nth(2)).to_have_text(f"{page.widget._restoration['score']:.3f}")
    page.page.locator("[data-setting=window]").fill("1")
    page.page.keyboard.press("Enter")
    expect(page.page.locator("[data-side=before] .rw-which").first).to_contain_text("Awindow 3")
    expect(page.page.locator("[data-side=after] .rw-which").first).to_contain_text("Bwindow 1")
    page.page.get_by_role("button", name="Stop comparing").last.click()
    expect(page.page.locator(".rw-which")).to_have_count(0)
    expect(page.page.get_by_role("button", name="Compare with A")).to_be_visible()


def test_another_prompt_is_compared_with_a_in_numbers_and_says_why(show):
    page = show(live())
    page.status("done")
    page.page.get_by_role("button", name="Keep as A").click()
    page.page.get_by_role("button", name="Compare with A").click()
    page.page.get_by_label("Prompt", exact=True).fill(FUJI)
    page.page.get_by_label("Subject", exact=True).fill("Mount Fuji")
    page.page.keyboard.press("Enter")
    numbers = page.page.get_by_label("A and B")
    expect(numbers).to_contain_text("Not cell by cell: A has other tokens")
    expect(numbers).to_contain_text("“Needle”, layer 3")


def test_a_cancelled_trace_goes_on_where_it_stopped(show):
    page = show(live(slow=True))
    page.status("running")
    engine = page.widget.test_engine
    engine.step.set()
    expect(page.root).to_contain_text("8/192 states")
    page.page.get_by_role("button", name="Cancel").click()
    page.status("cancelled")
    engine.slow = False
    page.page.get_by_role("button", name="Resume").click()
    page.status("done")
    page.until(lambda: page.widget.trace.complete)
    assert [each is not None for each in engine.resumed] == [False, True]


def test_elapsed_and_remaining_time_are_said_and_nothing_jumps_while_it_runs(show):
    for width in (932, 560):
        page = show(live(slow=True, preview=True), width=width)
        page.status("running")
        tops = set()
        for count in (8, 16, 24):
            page.page.wait_for_timeout(150)  # Progress is told ten times a second.
            page.widget.test_engine.step.set()
            expect(page.root).to_contain_text(f"{count}/192 states")
            tops.add(page.figure.bounding_box()["y"])
        expect(page.root).to_contain_text(re.compile(r"\d\ss, \d+(\.\d)?\ss left"))
        tops.add(page.figure.bounding_box()["y"])
        page.widget.test_engine.slow = False
        page.status("done")
        expect(page.root).to_contain_text("traced in")
        tops.add(page.figure.bounding_box()["y"])
        assert len(tops) == 1, width


def test_a_near_subject_is_one_click_away(show):
    page = show(live())
    page.status("done")
    page.page.get_by_label("Subject", exact=True).fill("space needle")
    page.page.keyboard.press("Enter")
    page.page.get_by_role("button", name="Use “Space Needle”").click()
    page.status("done")
    expect(page.page.locator("mark")).to_have_text("Space Needle")
    expect(page.page.locator(".rw-error")).to_have_count(0)


def test_details_of_an_error_open_on_demand(show):
    page = show(live())
    page.status("done")
    page.widget.test_engine.broken = ZeroDivisionError("by nothing")
    page.page.get_by_role("button", name="Trace again").click()
    trace = page.page.locator(".rw-error pre")
    expect(trace).to_be_hidden()
    page.page.get_by_text("ZeroDivisionError", exact=True).click()
    expect(trace).to_contain_text("Traceback")


def test_one_of_two_occurrences_of_the_subject_is_chosen(show):
    page = show(live())
    page.status("done")
    twice = f"{PROMPT} {SUBJECT} and"
    page.page.get_by_label("Prompt", exact=True).fill(twice)
    page.page.get_by_role("button", name="1", exact=True).click()
    page.page.get_by_role("button", name="Trace", exact=True).click()
    expect(page.page.locator(".rw-token").first).to_have_text("The*")
    page.until(lambda: page.widget.trace.prompt == twice)
    assert page.widget.trace.subject_span == (0, 3)
    assert page.widget.place == (0, len(SUBJECT))


def test_the_code_of_the_view_is_shown_where_the_clipboard_is_missing(show):
    page = show(live())
    page.status("done")
    page.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.page.get_by_role("button", name="Copy code").click()
    code = page.page.get_by_label("Code of this view")
    expect(code).to_have_value(page.widget.to_code())


def test_numbers_and_figures_are_downloaded(show, tmp_path):
    picture(fake_trace(), "svg")  # What draws takes long to start.
    page = show(live())
    page.status("done")
    downloads = menu(page, "Download")
    for name, check in (
        ("Numbers, CSV", lambda data: data.startswith(b"kind,pos,token,in_subject,layer,score")),
        ("Figure, SVG", lambda data: data.startswith(b"<svg")),
        ("Figure, PNG", lambda data: data.startswith(b"\x89PNG")),
    ):
        downloads.locator("summary").click()
        with page.page.expect_download() as caught:
            downloads.get_by_role("button", name=name).click()
        assert check(caught.value.path().read_bytes()), name
        kind = name.split()[-1].lower()
        assert caught.value.suggested_filename == f"trace-the-space-needle-seattle.{kind}"
    rows = 3 * 8 * 8
    assert len(page.widget.trace.to_frame()) == rows


def test_full_screen_and_back(show):
    page = show(live())
    page.status("done")
    full = page.page.get_by_role("button", name="Full screen")
    full.click()
    page.page.wait_for_function("document.fullscreenElement?.classList.contains('rw')")
    full.click()
    page.page.wait_for_function("!document.fullscreenElement")
    page.page.evaluate(
        "() => { Element.prototype.requestFullscreen = () => Promise.reject(new Error()) }"
    )
    full.click()
    expect(page.root).to_have_css("position", "fixed")
    full.click()
    expect(page.root).to_have_css("position", "relative")


def test_nothing_is_cut_off_in_a_narrow_page(show):
    page = show(live(), width=560)
    page.status("done")
    page.click("mlp", 2, 3)
    expect(page.panel).to_have_attribute("data-selection", '[[2,3,"mlp"]]')
    for theme in ("light", "dark"):
        page.look(560, theme)
        right = page.root.bounding_box()["x"] + page.root.bounding_box()["width"]
        for part in (".rw-table", ".rw-actions", ".rw-header", ".rw-numbers"):
            box = page.page.locator(part).first.bounding_box()
            assert box["x"] + box["width"] <= right, (part, theme)
