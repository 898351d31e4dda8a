"""How long a person waits for a real model in JupyterLab: an explorer in headless Chromium.

    python -m benchmarks.lab MODEL [--draws N] [--pictures FOLDER]

Seconds from the press on Trace to the estimate, to the first exact row and to the whole grid; and
milliseconds from a click on a state to its painted answer, while the trace runs and afterwards. A
person's clock, so nothing else may run beside it: server, kernel and page share the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks import report
from tests.browser.lab import (
    ask_kernel,
    click_cell,
    lab_server,
    open_and_run_all,
    run_in_kernel,
    write_notebook,
)
from tools.browser import ARGUMENTS, REMEDIES, find

PROMPT, SUBJECT = "The Space Needle is in the city of", "The Space Needle"
EXPLORER = '.rw[data-view="explorer"]'
PATIENCE = 900_000
"""Milliseconds that anything may take."""
WATCH = """root => {
  const began = performance.now(), times = (window.rwTimes = {});
  const observer = new MutationObserver(() => {
    const seconds = (performance.now() - began) / 1000;
    const done = Number(root.querySelector('[aria-label="Trace"][role=progressbar]')?.ariaValueNow);
    if (root.querySelector(".rw-estimated")) times.estimate ??= seconds;
    if (times.estimate && done > 0) times.row ??= seconds;
    if (root.dataset.status === "done" && times.row) {
      observer.disconnect();
      times.grid = seconds;
    }
  });
  observer.observe(root, { subtree: true, childList: true, attributes: true });
  root.querySelector("[data-action=trace]").click();
}"""


def measure(page: Page, folder: Path, draws: int, pictures: Path | None) -> dict[str, float]:
    """Press Trace in the explorer that the page shows, and click."""

    def picture(name: str) -> None:
        if pictures is not None:
            page.wait_for_timeout(300)
            page.screenshot(path=pictures / f"{name}.png")

    def click(layer: int) -> float:
        """Milliseconds until the answer to a click at the subject's last token is painted."""
        answered = click_cell(page, explorer, last, layer, "mlp", shape, PATIENCE)
        return float(answered.get_attribute("data-latency-ms"))

    explorer = page.locator(EXPLORER).first
    explorer.wait_for(timeout=PATIENCE)
    explorer.scroll_into_view_if_needed()
    run_in_kernel(page, f"explorer.samples = {draws}")
    about = "lambda read: (len(read.ids), lm.n_layers, read.subject_span[1] - 1)"
    read = f"lm.encode({PROMPT!r}, {SUBJECT!r})"
    *shape, last = ask_kernel(page, folder, f"({about})({read})")
    explorer.evaluate(WATCH)
    page.wait_for_function("window.rwTimes?.estimate", timeout=PATIENCE)
    picture("estimate")
    page.wait_for_function("window.rwTimes?.row", timeout=PATIENCE)
    during = [click(layer) for layer in (2, 5, 9)]
    picture("during")
    running = explorer.get_attribute("data-status") == "running"
    page.wait_for_function("window.rwTimes?.grid", timeout=PATIENCE)
    after = [click(layer) for layer in (3, 6, 8)]
    picture("grid")
    times = page.evaluate("window.rwTimes")
    assert running, "the grid was whole before the clicks were answered"
    return {
        "estimate s": times["estimate"],
        "first exact row s": times["row"],
        "grid s": times["grid"],
        "slowest click during the run ms": max(during),
        "slowest click afterwards ms": max(after),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder or a .gguf file")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--pictures", type=Path, help="keep screenshots there")
    given = parser.parse_args(arguments)
    path = find()
    if path is None:
        print(REMEDIES)
        return 2
    if given.pictures is not None:
        given.pictures.mkdir(parents=True, exist_ok=True)
    model = str(Path(given.model).resolve())
    cells = [
        f"import rome_widgets as rw\nlm = rw.load({model!r}, device='cpu')",
        f"explorer = rw.TraceExplorer(lm, {PROMPT!r}, {SUBJECT!r}, auto_run=False)\nexplorer",
    ]
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder, scratch = Path(made) / "notebooks", Path(made) / "lab"
        folder.mkdir()
        scratch.mkdir()
        write_notebook(folder / "real.ipynb", cells)
        with lab_server(folder, scratch) as address:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            open_and_run_all(page, address, "real.ipynb")
            figures = measure(page, folder, given.draws, given.pictures)
            browser.close()
    for name, value in figures.items():
        print(f"{name}: {value:.1f}")
    name = f"lab_{Path(model).stem}"
    print(report.write(name, report.cpu(), {"draws": given.draws, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
