"""A browser for the tests, and a page that shows one widget in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.host import Host
from tests.helpers.skips import NO_BROWSER
from tools.browser import ARGUMENTS, find

PATIENCE = 20_000
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))"
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Browser:
    """One Chromium for the whole run."""
    path = find()
    if path is None:
        pytest.skip(NO_BROWSER)  # at the end the run fails, and says what is missing
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def kept(browser: Browser) -> list[Page]:
    """The page that one test after another shows its widget in, while no test has it.

    One of its own would open a window of its own, which takes Chromium longer than most tests.
    """
    context = browser.new_context()
    yield [context.new_page()]
    context.close()


class Shown:
    """A widget and the page that shows it."""

    def __init__(self, widget: Any, page: Page) -> None:
        self.widget = widget
        self.page = page
        self.root = page.locator(".rw").first
        self.panel = page.locator(".rw-panel").first
        self.figure = page.locator("[role=grid]").first
        self.detail = page.locator(".rw-said, .rw-detail[role=status]").first
        self.trouble: list[str] = []
        self.listeners: dict[str, Callable[[Any], None]] = {}

    def watch_for_trouble(self, allowed: tuple[str, ...]) -> None:
        """Note errors from now on, and requests of addresses that do not begin as allowed."""
        self.listeners = {
            "pageerror": lambda error: self.trouble.append(f"error: {error}"),
            "console": lambda m: self.trouble.append(m.text) if m.type == "error" else None,
            "request": lambda request: (
                None
                if request.url.startswith(allowed)
                else self.trouble.append(f"request: {request.url}")
            ),
        }
        for event, listener in self.listeners.items():
            self.page.on(event, listener)

    def put_on(self, theme: str) -> None:
        """The host turns "light" or "dark"."""
        self.page.evaluate(
            "light => { document.body.dataset.jpThemeLight = light }", str(theme == "light").lower()
        )

    def look(self, width: int, theme: str = "light") -> None:
        """Give the page this width and theme, and wait until it is drawn so."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.put_on(theme)
        self.page.evaluate(SETTLED)

    def clear(self) -> None:
        """Leave the page to the next test as a new one would be."""
        for event, listener in self.listeners.items():
            self.page.remove_listener(event, listener)
        self.page.mouse.up()
        self.page.goto("about:blank")
        self.page.mouse.move(0, 0)
        self.page.emulate_media(color_scheme="null", forced_colors="null")

    def status(self, status: str) -> None:
        """Wait until the page shows this status."""
        expect(self.root).to_have_attribute("data-status", status)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until Python holds what the page sent."""
        for _ in range(PATIENCE // 20):
            if holds():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("The page's change did not arrive in Python.")

    def click(
        self, kind: str, pos: int, layer: int, *, modifiers: tuple = (), side: str = ""
    ) -> None:
        """Click the middle of a cell with the real mouse."""
        x, y = self.middle(kind, pos, layer, side)
        for key in modifiers:
            self.page.keyboard.down(key)
        self.page.mouse.click(x, y)
        for key in modifiers:
            self.page.keyboard.up(key)

    def point(self, kind: str, pos: int, layer: int, side: str = "") -> None:
        """Move the mouse over a cell."""
        self.page.mouse.move(*self.middle(kind, pos, layer, side))

    def middle(self, kind: str, pos: int, layer: int, side: str = "") -> tuple[float, float]:
        """Page coordinates of the middle of a cell; `side` names one of several grids."""
        which = f'[data-side="{side}"]' if side else ""
        canvas = self.page.locator(f'canvas[data-kind="{kind}"]{which}').first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        rows, columns = len(self.widget._trace["tokens"]), self.widget._trace["n_layers"]
        return (
            box["x"] + (layer + 0.5) * box["width"] / columns,
            box["y"] + (pos + 0.5) * box["height"] / rows,
        )

    def color(self, kind: str, pos: int, layer: int, side: str = "after") -> list[int]:
        """The painted RGBA of a cell."""
        return self.page.evaluate(
            "([kind, x, y, side]) => "
            "[...document.querySelector(`canvas[data-kind=${kind}][data-side=${side}]`)"
            ".getContext('2d').getImageData(x, y, 1, 1).data]",
            [kind, layer, pos, side],
        )


@pytest.fixture
def show(browser: Browser, kept: list[Page]) -> Callable[..., Shown]:
    """`show(make, width=932, theme="light")` opens a page; errors in it fail the test."""
    hosts, opened = [], []
    kept_here = kept[:]

    def open_page(make: Callable[[], Any], width: int = 932, theme: str = "light") -> Shown:
        host = Host(make)
        hosts.append(host)
        page = kept.pop() if kept else browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.set_default_timeout(PATIENCE)
        shown = Shown(host.widget, page)
        opened.append(shown)
        shown.watch_for_trouble((host.url, "blob:", "data:", "ws:"))
        page.goto(host.url)
        page.wait_for_selector("html[data-ready], html[data-error]")
        failure = page.evaluate("document.documentElement.dataset.error")
        assert failure is None, failure
        shown.put_on(theme)
        return shown

    yield open_page
    trouble = [each for shown in opened for each in shown.trouble]
    for shown in opened:
        if shown.page in kept_here:
            shown.clear()
        else:
            shown.page.close()
    kept[:] = kept_here
    for host in hosts:
        host.close()
    assert trouble == []
