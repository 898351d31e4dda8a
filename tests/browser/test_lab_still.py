"""What is left in a real JupyterLab when the kernel has gone, and what a fresh one draws alone.

One JupyterLab and one notebook for all of it, in this order.
"""

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab import (
    NOTEBOOK,
    SESSION_READY,
    ask_kernel,
    lab_server,
    open_and_run_all,
    write_notebook,
)

CELLS = (
    """
from IPython.display import display
import rome_widgets as rw

lm = rw.load()
made = []

def explorer():
    fact = "The Space Needle is in the city of", "The Space Needle"
    made.append(rw.TraceExplorer(lm, *fact, samples=10))
    return made[-1]
""",
    "explorer()",
    "panel = rw.EditPanel(lm, '{} is in the city of', 'The Space Needle', 'Paris')\n"
    "panel.apply()\npanel",
    "made[-1].wait()\ntrace = made[-1].trace\ntrace.chart()",
)
NEWS = "Error displaying widget"


class Lab:
    """The notebook's page, and whatever it asked of other machines."""

    def __init__(self, page, address, folder):
        self.page, self.address, self.folder = page, address, folder

    def cell(self, at):
        return self.page.locator(".jp-CodeCell").nth(at)

    def still(self, at):
        return self.cell(at).locator("[data-rw-still]")

    def command(self, name):
        self.page.evaluate("(name) => window.jupyterapp.commands.execute(name)", name)

    def run_cell(self, at):
        self.page.evaluate(f"(at) => {{ {NOTEBOOK}.content.activeCellIndex = at }}", at)
        self.command("notebook:run-cell")

    def ask(self, expression):
        return ask_kernel(self.page, self.folder, expression)

    def save(self):
        self.page.evaluate(f"{NOTEBOOK}.context.save()")
        return nbformat.read(self.folder / "still.ipynb", 4)


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    folder, scratch = tmp_path_factory.mktemp("still"), tmp_path_factory.mktemp("lab")
    write_notebook(folder / "still.ipynb", CELLS)
    with lab_server(folder, scratch) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1800})
        page.set_default_timeout(60_000)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        open_and_run_all(page, address, "still.ipynb")
        yield Lab(page, address, folder)
        assert problems == []
        page.close()


def test_beside_a_live_widget_its_picture_is_not_seen(lab):
    for at, status in ((1, "done"), (2, "done")):
        live = lab.cell(at).locator(f".rw[data-status={status}]")
        live.wait_for()
        expect(lab.still(at)).to_be_attached()
        expect(lab.still(at)).to_be_hidden()
        outputs = lab.cell(at).locator(".jp-OutputArea-child")
        assert [each.is_visible() for each in outputs.all()].count(True) == 1


def test_a_chart_is_drawn_from_what_jupyterlab_has(lab):
    drawn = lab.cell(3).locator(".jp-OutputArea-output svg")
    expect(drawn.first).to_be_visible()
    expect(lab.cell(3)).to_contain_text("Hidden state")


def test_what_is_saved_is_the_finished_trace_and_edit(lab):
    lab.page.wait_for_timeout(1000)
    saved = lab.save()
    # The edit may have reached the explorer by now, or not.
    for at, words in ((1, ("strongest of", "largest of")), (2, ("1 active edit",))):
        html = "".join(output.data.get("text/html", "") for output in saved.cells[at].outputs)
        assert any(each in html for each in words)
        assert "<img" in html
        assert len(html) < 40_000


def test_of_a_cell_run_again_one_explorer_follows_the_model(lab):
    for count in range(2, 7):
        lab.run_cell(1)
        lab.cell(1).locator(".rw[data-status=done]").wait_for()
        assert lab.ask("len(made)") == count
    for _ in range(100):
        if lab.ask("[each._watched for each in made]") == [False] * 5 + [True]:
            break
        lab.page.wait_for_timeout(100)
    assert lab.ask("[each._watched for each in made]") == [False] * 5 + [True]
    runs = lab.ask("[len(each.history) for each in made]")
    lab.ask("panel.revert_all() and None")
    lab.ask("[panel.wait(), *(each.wait() for each in made)] and None")
    assert lab.ask("[len(each.history) for each in made]") == [*runs[:5], runs[5] + 1]
    assert lab.ask("[each.stale for each in made][1:]") == [True] * 4 + [False]


def test_reopened_without_its_kernel_the_picture_stands_where_the_widget_was(lab):
    for at in (1, 2):
        lab.cell(at).locator(".rw[data-status=done]").wait_for()
    lab.page.wait_for_timeout(1000)
    lab.save()
    lab.page.evaluate(f"{NOTEBOOK}.sessionContext.shutdown()")
    lab.page.goto(f"{lab.address}/lab/tree/still.ipynb?reset")
    lab.page.wait_for_selector(".jp-Notebook .jp-Cell")
    lab.page.evaluate(SESSION_READY)
    lab.page.wait_for_timeout(4000)
    for at in (1, 2):
        expect(lab.still(at).locator("img").first).to_be_visible(timeout=20_000)
        expect(lab.still(at).locator("table").first).to_be_visible()
        for said in (NEWS, "Loading widget"):
            for each in lab.cell(at).get_by_text(said).all():
                expect(each).to_be_hidden()
