"""How long the page's main thread works for the grid, in headless Chromium with the built bundle.

    python -m benchmarks.grid [--quick]

Three kinds at once. *build*: a trace arrives in an open view, until its nodes and pixels are there.
*recolour*: another palette in it. *move*: one real move of the mouse over a large grid, everything
that the main thread does for it (script, style, layout, painting) as Chromium's own metrics count
it, beyond what a move over nothing costs. *view*, for the record: a whole new view and its layout.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

from benchmarks import report
from rome_widgets.records.states import KINDS
from rome_widgets.records.trace import CausalTrace
from rome_widgets.widgets import TraceGrid
from tools.browser import ARGUMENTS, REMEDIES, find

SMALL, LARGE = (100, 80), (200, 126)
"""(tokens, layers)."""
BUILD_MS, RECOLOUR_MS, MOVE_MS = 5, 2, 4
MOST_NODES = 150
WARM_UP = 5
FRAMES = 40
"""Milliseconds in which a move has been drawn."""


def make_grid(n_tokens: int, n_layers: int) -> TraceGrid:
    """A widget over random scores."""
    random = np.random.default_rng(0)
    tokens = tuple(f" word{i}" for i in range(n_tokens))
    trace = CausalTrace(
        prompt="".join(tokens),
        subject="word3 word4",
        tokens=tokens,
        token_ids=tuple(range(n_tokens)),
        subject_span=(3, 5),
        answer=" Seattle",
        answer_id=0,
        clean=0.9,
        corrupted=0.1,
        scores={kind: random.uniform(0.1, 0.9, (n_tokens, n_layers)) for kind in KINDS},
        windows={"hidden": 1, "mlp": 10, "attn": 10},
        n_layers=n_layers,
        samples=10,
        seed=1,
        noise={"text": "3.0 × σ"},
        model="random",
    )
    return TraceGrid(trace)


def load(page: Page, grid: TraceGrid) -> None:
    """Put the grid's bundle and state into an empty page."""
    state = {name: value for name, value in grid.get_state().items() if name in grid.trait_names()}
    packed = {name: value for name, value in state.items() if isinstance(value, bytes)}
    words = {n: v for n, v in state.items() if n not in packed and not n.startswith("_esm")}
    words.pop("layout", None)
    page.add_script_tag(path=Path(__file__).with_suffix(".js"))
    page.evaluate(
        "given => bench.load(given)",
        {
            "script": grid._esm,
            "styles": grid._css,
            "state": words,
            "arrays": {name: base64.b64encode(value).decode() for name, value in packed.items()},
        },
    )


def timed(page: Page, what: str, count: int) -> list[float]:
    """Milliseconds that the page itself counts, after a few that warm up."""
    return [page.evaluate(f"bench.{what}()") for _ in range(count + WARM_UP)][WARM_UP:]


def moves(page: Page, devtools: CDPSession, count: int, left: float, top: float) -> list[float]:
    """Milliseconds of main-thread work of each move of the mouse, from a corner 300 × 400 px on."""
    times = []
    for i in range(count + WARM_UP):
        before = busy(devtools)
        page.mouse.move(left + (i * 37) % 300, top + (i * 53) % 400)
        page.wait_for_timeout(FRAMES)
        times.append(busy(devtools) - before)
    return times[WARM_UP:]


def busy(devtools: CDPSession) -> float:
    """Milliseconds that the main thread has worked."""
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return 1000 * next(each["value"] for each in metrics if each["name"] == "TaskDuration")


def spread(times: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {
        "median": round(statistics.median(times), 3),
        "p95": round(float(np.percentile(times, 95)), 3),
    }


def measure(count: int) -> dict[str, Any]:
    """All figures, milliseconds."""
    with sync_playwright() as playwright:
        path = find()
        if path is None:
            raise SystemExit(REMEDIES)
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        small, large = (browser.new_page(viewport={"width": 1200, "height": 900}) for _ in range(2))
        load(small, make_grid(*SMALL))
        load(large, make_grid(*LARGE))
        figures: dict[str, Any] = {
            "browser": browser.version,
            "count": count,
            "small": list(SMALL),
            "large": list(LARGE),
            "view_ms": spread(timed(small, "view", count)),
            "build_ms": spread(timed(small, "build", count)),
            "recolour_ms": spread(timed(small, "recolour", count)),
        }
        large.evaluate("bench.view()")
        large.locator(".rw-figure").scroll_into_view_if_needed()
        devtools = large.context.new_cdp_session(large)
        devtools.send("Performance.enable")
        box = large.locator("canvas").first.bounding_box()
        assert box is not None
        over_nothing = moves(large, devtools, count, box["x"] + box["width"] + 200, box["y"] + 9)
        over_cells = moves(large, devtools, count, box["x"] + 9, box["y"] + 9)
        idle = statistics.median(over_nothing)
        figures |= {
            "move_ms": spread([each - idle for each in over_cells]),
            "move_over_nothing_ms": spread(over_nothing),
            "nodes": large.evaluate("bench.nodes()"),
            "labels": large.evaluate("bench.labels()"),
        }
        browser.close()
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and store; 1 where something was missed."""
    parser = argparse.ArgumentParser(description="The grid in a browser.")
    parser.add_argument("--quick", action="store_true", help="few repetitions, nothing written")
    given = parser.parse_args(arguments)
    figures = measure(5 if given.quick else 60)
    reached = True
    wanted = {"build_ms": BUILD_MS, "recolour_ms": RECOLOUR_MS, "move_ms": MOVE_MS}
    for name, most in wanted.items():
        median, p95 = figures[name]["median"], figures[name]["p95"]
        print(
            f"{name:12} median {median:.2f}, p95 {p95:.2f} "
            f"({report.verdict(median, most, at_least=False)})"
        )
        reached &= median <= most
    print(f"nodes        {figures['nodes']} beside {figures['labels']} labels")
    reached &= figures["nodes"] <= MOST_NODES
    if not given.quick:
        print(report.write("grid", report.cpu(), figures))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
