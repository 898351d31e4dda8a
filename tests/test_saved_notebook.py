"""A notebook that is run straight through, by a real kernel, keeps what was finished."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

CELLS = (
    "import rome_widgets as rw\nlm = rw.load()",
    "rw.TraceExplorer(lm, 'The Space Needle is in the city of', 'The Space Needle')",
    "trace = _.trace\ntrace.chart()",
    "rw.TraceExplorer(lm, 'The Space Needle is in the city of', 'The Spice')",
    "panel = rw.EditPanel(lm, '{} is in the city of', 'The Space Needle', 'Paris')\n"
    "panel.apply()\npanel",
)
TRACE, CHART, REFUSED, EDIT = 1, 2, 3, 4


@pytest.fixture(scope="module")
def saved():
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    return NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


def shown(notebook, cell):
    return "".join(output.data.get("text/html", "") for output in notebook.cells[cell].outputs)


@pytest.mark.parametrize(
    ("cell", "words"),
    [(TRACE, "strongest of"), (EDIT, "1 active edit"), (REFUSED, "is not in the prompt")],
)
def test_the_file_has_the_finished_trace_the_edit_and_the_refusal(saved, cell, words):
    html = shown(saved, cell)
    assert words in html
    assert ("<img" in html) == (cell != REFUSED)
    assert len(html) < 30_000


def test_the_words_beside_the_widget_are_the_finished_ones_too(saved):
    texts = [output.data["text/plain"] for output in saved.cells[TRACE].outputs]
    assert any("Seattle" in text for text in texts)
    assert not any("nothing traced yet" in text for text in texts)


def test_a_chart_is_in_the_file_as_a_drawing(saved):
    (output,) = saved.cells[CHART].outputs
    assert "<svg" in output.data["image/svg+xml"]


def test_an_export_shows_pictures_and_fetches_none(saved):
    saved.metadata.pop("widgets", None)
    page, _ = HTMLExporter().from_notebook_node(saved)
    assert page.count("data:image/svg+xml;base64,") >= 2
    assert "Hidden state" in page
    assert "altair" not in page
