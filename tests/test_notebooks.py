"""The notebooks are the documentation: they run from top to bottom, and the README links them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_runs_without_an_error(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=180, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    shown = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in shown if o.output_type == "error"]
    assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown)


CLICKED = {
    "c09": """
panel.wait()
panel.apply(wait=True)
try:
    panel.apply(wait=True)
except rw.errors.StateError as refused:
    assert "Already applied" in str(refused)
panel.apply(wait=True, first="on_top")
panel.target, panel.layer, panel.method = "London", 6, "ft"
panel.apply(wait=True)
explorer.prompt, explorer.subject = "Big Ben is in the city of", "Big Ben"
explorer.samples = 2
explorer.run(wait=True)
panel.target = "Rome"
panel.apply(wait=True)
""",
    "c11": "panel.revert(moved.id)\npanel.wait()",
    "c14": "panel.set_applied(moved.id, True)\npanel.wait()",
    "c16": "panel.set_applied(moved.id, True)\npanel.wait()\npanel.revert_all()\npanel.wait()",
}
"""What a reader may press after these cells of the notebook of edits."""


def test_the_notebook_of_edits_is_true_whatever_a_reader_pressed():
    notebook = nbformat.read(ROOT / "notebooks" / "02_edit.ipynb", as_version=4)
    code = {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}
    names = {}
    for cell, source in code.items():
        exec(source, names)
        exec(CLICKED.get(cell, ""), names)
        if cell == "c16":
            break
    claims = code["c26"].split("assert table")[0]
    assert claims.count("assert ") == 5
    exec(claims, names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_committed_without_outputs_and_ends_by_asserting(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "assert " in code[-1].source
    assert not any("raises-exception" in cell.metadata.get("tags", []) for cell in code)
    assert f"notebooks/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_there_is_a_tour():
    assert (ROOT / "notebooks" / "01_trace.ipynb") in NOTEBOOKS
