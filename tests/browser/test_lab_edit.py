"""Editing in a real JupyterLab: press Apply, read the new prediction, revert, read the old one.

The notebook is the beginning of `02_edit.ipynb`, up to its panel, so that what is documented is
what is driven. What the page says is asked of the kernel's model, too.
"""

import os
from pathlib import Path

import nbformat
import pytest

from tests.browser.lab import lab_server, open_and_run_all, run_in_kernel

ROOT = Path(__file__).parent.parent.parent
PANEL, EXPLORER = '.rw[data-view="edit"]', '.rw[data-view="explorer"]'
AFTER = f"{PANEL} [data-group=rewrite] td:nth-child(4)"
"""What the model says now, in the table of before and after."""
ASK = """
import json
from pathlib import Path
likeliest = rw.CausalTracer(lm, prompt, subject).answer.strip()
Path("said.json").write_text(json.dumps([likeliest, lm.edits != ()]))
"""


def up_to_the_panel(path):
    """The notebook cut after the cell that shows the panel."""
    notebook = nbformat.read(path, as_version=4)
    at = next(i for i, cell in enumerate(notebook.cells) if "rw.EditPanel(" in cell.source)
    notebook.cells = notebook.cells[: at + 1]
    return notebook


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab")
    nbformat.write(up_to_the_panel(ROOT / "notebooks" / "02_edit.ipynb"), folder / "edit.ipynb")
    with lab_server(folder, scratch) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
        open_and_run_all(page, address, "edit.ipynb")
        page.wait_for_selector(PANEL, timeout=180_000)
        yield page, folder
        assert problems == []
        page.close()


def said(page, folder):
    """What the kernel's model says next, and whether it holds edits."""
    run_in_kernel(page, ASK)
    return (folder / "said.json").read_text()


def shows(page, selector, words, seconds=180):
    page.wait_for_function(
        "([selector, words]) => document.querySelector(selector)?.innerText.includes(words)",
        arg=[selector, words],
        timeout=1000 * seconds,
    )


def picture(page, name):
    """What the README shows; `ROME_WIDGETS_PICTURES=docs` keeps it."""
    page.locator(PANEL).evaluate("element => element.scrollIntoView({ block: 'start' })")
    page.wait_for_timeout(500)
    taken = page.screenshot()
    assert len(taken) > 20_000
    if folder := os.environ.get("ROME_WIDGETS_PICTURES"):
        (ROOT / folder / name).write_bytes(taken)


def test_an_edit_changes_the_prediction_and_reverting_changes_it_back(lab):
    page, folder = lab
    assert said(page, folder) == '["Seattle", false]'
    page.locator(f"{PANEL} [data-action=apply]").click()
    shows(page, AFTER, "Paris")
    shows(page, PANEL, "weights match the history ✓")
    shows(page, f"{EXPLORER} .rw-edited", "EDITED")
    picture(page, "edit-light.png")
    assert said(page, folder) == '["Paris", true]'
    page.locator(f"{PANEL} [data-action=revert]").click()
    shows(page, PANEL, "Reapply")
    shows(page, AFTER, "Seattle")
    shows(page, PANEL, "original weights ✓")
    page.locator(f"{EXPLORER} .rw-edited").wait_for(state="detached")
    assert said(page, folder) == '["Seattle", false]'


def test_the_strength_moves_the_prediction_over(lab):
    page, folder = lab
    page.locator(f"{PANEL} [data-action=reapply]").click()
    shows(page, AFTER, "Paris")
    slider = page.locator(f"{PANEL} [data-field=strength]")
    slider.fill("0")
    shows(page, AFTER, "Seattle")
    assert said(page, folder) == '["Seattle", true]'
    slider.fill("1")
    shows(page, AFTER, "Paris")
    assert said(page, folder) == '["Paris", true]'
    page.locator(f"{PANEL} [data-action=revert-all]").click()
    shows(page, PANEL, "Reapply")
    assert said(page, folder) == '["Seattle", false]'
