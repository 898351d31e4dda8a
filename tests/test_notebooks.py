"""The notebooks are the documentation: they run from top to bottom, and the README links them.

That of real models takes minutes: it runs in `tests/real`, and its outputs are committed. The tour
runs in `tests/browser/test_lab.py`, in a real JupyterLab, to the cell that asserts what it claims.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tools import record_notebook

ROOT = Path(__file__).parent.parent
TOUR = "01_trace.ipynb"
RECORDED = record_notebook.NOTEBOOK
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
UNRECORDED = [path for path in NOTEBOOKS if path != RECORDED]
RUN_HERE = [path for path in UNRECORDED if path.name != TOUR]
MOST_BYTES = 500_000


@pytest.mark.parametrize("path", RUN_HERE, ids=lambda path: path.name)
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


@pytest.mark.parametrize("path", UNRECORDED, ids=lambda path: path.name)
def test_a_notebook_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_ends_by_asserting_and_is_linked(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "assert " in code[-1].source
    assert not any("raises-exception" in cell.metadata.get("tags", []) for cell in code)
    assert f"notebooks/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_notebook_of_real_models_shows_was_recorded_with_its_code():
    notebook = nbformat.read(RECORDED, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    remedy = "run python -m tools.record_notebook"
    assert notebook.metadata["recorded"] == record_notebook.code_of(notebook), remedy
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), remedy
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert not any(record_notebook.LIVE in output.get("data", {}) for output in outputs)
    assert "The notebook is right" in code[-1].outputs[0].text
    pictures = [
        each for each in outputs if {"image/svg+xml", "text/html"} & {*each.get("data", {})}
    ]
    assert len(pictures) >= 5
    assert RECORDED.stat().st_size < MOST_BYTES


def test_recording_keeps_pictures_and_words_and_no_live_widgets():
    view = {record_notebook.LIVE: {"model_id": "1"}, "text/plain": "widget"}
    outputs = [
        nbformat.v4.new_output("display_data", view),
        nbformat.v4.new_output("display_data", view | {"text/html": "<img>"}),
        nbformat.v4.new_output("stream", name="stderr", text="50 %"),
        nbformat.v4.new_output("stream", name="stdout", text="said"),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs, metadata={"execution": {"at": "now"}})
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    kept = record_notebook.without_what_lives(notebook)
    assert [output.get("text") or {*output.data} for output in kept.cells[0].outputs] == [
        {"text/html", "text/plain"},
        "said",
    ]
    assert "widgets" not in kept.metadata
    assert kept.cells[0].metadata == {}
    cell.source = "2"
    assert kept.metadata["recorded"] != record_notebook.code_of(kept)


def test_there_is_a_tour():
    assert (ROOT / "notebooks" / TOUR) in NOTEBOOKS
