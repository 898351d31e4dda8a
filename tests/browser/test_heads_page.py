"""Attention opened into its heads as a person does it, with the model itself behind the page."""

from playwright.sync_api import expect

import rome_widgets as rw

FACT = "The Space Needle is in the city of", "The Space Needle"
OPTIONS = {"samples": 2, "window": 1}
LAYER, LAST = 7, 11


def middle(page, row, head):
    """Page coordinates of a head at a token of the figure."""
    canvas = page.page.locator("canvas[data-heads]")
    canvas.scroll_into_view_if_needed()
    box, (rows, heads) = canvas.bounding_box(), page.widget.heads.scores.shape
    return (
        box["x"] + (head + 0.5) * box["width"] / heads,
        box["y"] + (row + 0.5) * box["height"] / rows,
    )


def test_mouse_and_keyboard_open_attention_into_the_numbers_of_the_tracer(show, bundled_lm):
    page = show(lambda: rw.TraceExplorer(bundled_lm, *FACT, **OPTIONS))
    page.status("done")
    expected = rw.CausalTracer(bundled_lm, *FACT, **OPTIONS).heads(LAYER, LAST)
    _, best, score = expected.strongest()
    section = page.page.get_by_role("region", name="Attention heads")
    heads, told = section.get_by_role("grid"), section.locator(".rw-told")
    expect(section.get_by_role("button")).to_be_disabled()

    page.click("attn", LAST, LAYER)
    section.get_by_role("button", name="Open into heads").click()
    expect(told).to_contain_text(f"head {best} at “of”, the strongest")
    expect(told).to_contain_text(f"p(Seattle) {score:.4f}")
    other = (best + 1) % expected.scores.shape[1]
    page.page.mouse.move(*middle(page, 0, other))
    expect(told).to_contain_text(f"head {other} at “of”")
    expect(told).to_contain_text(f"p(Seattle) {expected.scores[0, other]:.4f}")
    heads.focus()
    page.page.keyboard.press("Home")
    active = page.page.locator(f"#{heads.get_attribute('aria-activedescendant')}")
    expect(active).to_contain_text(f"head 0, p {expected.scores[0, 0]:.3f}")

    page.figure.focus()
    page.page.keyboard.press("o")
    expect(heads).to_have_count(0)
    page.page.get_by_label("measure").select_option("logprob")
    page.page.locator("[data-action=trace]").click()
    page.until(lambda: page.widget.trace.metric == "logprob" and page.widget.status == "done")
    page.figure.focus()
    page.page.keyboard.press("o")
    logs = rw.CausalTracer(bundled_lm, *FACT, **OPTIONS, metric="logprob").heads(LAYER, LAST)
    expect(told).to_contain_text(f"log p(Seattle) −{-logs.scores[0, 0]:.4f}")
