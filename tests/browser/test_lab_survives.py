"""What a widget lives through in a real JupyterLab: haste, repetition, links, reloads, restarts.

One JupyterLab and one notebook for all of it, in this order; the kernel counts what must not grow.
"""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.lab import (
    NOTEBOOK,
    SESSION_READY,
    ask_kernel,
    click_cell,
    lab_server,
    open_and_run_all,
    run_in_kernel,
    set_setting,
    write_notebook,
)
from tests.helpers.counts import CELL_RUNS, FAST_CLICKS
from tests.helpers.gates import write_gate

CELLS = (
    """
import gc, json, os, threading, weakref
from pathlib import Path
import comm, ipywidgets
from IPython.display import display
import rome_widgets as rw

PROMPT, SUBJECT = "The Space Needle is in the city of", "The Space Needle"
lm = rw.load()
made = []

def keep(widget):
    made.append(weakref.ref(widget))
    return widget

def census():
    gc.collect()
    modules = list(lm.model.modules())
    pages = os.sysconf("SC_PAGE_SIZE")
    return {
        "threads": threading.active_count(),
        "comms": len(comm.get_comm_manager().comms),
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules),
        "explorers": sum(ref() is not None for ref in made),
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * pages,
    }
""",
    "explorer = keep(rw.TraceExplorer(lm, PROMPT, SUBJECT, samples=10))\ndisplay(explorer)",
    "pair = [keep(rw.TraceExplorer(lm, PROMPT, SUBJECT, samples=10)) for _ in 'ab']\n"
    "display(*pair)",
    """
assert all(one.wait(60) for one in pair)
chart = pair[0].linked_chart("recovery")
chart.embed_options = {"renderer": "svg"}
chart
""",
)
MB = 1 << 20


class Lab:
    """The notebook's page, and its kernel."""

    def __init__(self, page, folder, scratch):
        self.page, self.folder, self.scratch = page, folder, scratch

    def run(self, code):
        run_in_kernel(self.page, code)

    def ask(self, expression):
        return ask_kernel(self.page, self.folder, expression)

    def explorers(self, cell):
        """The explorers under a cell of the notebook."""
        return self.page.locator(".jp-CodeCell").nth(cell).locator('.rw[data-view="explorer"]')

    def explorer(self, cell=1, at=0):
        found = self.explorers(cell).nth(at)
        found.and_(self.page.locator("[data-status=done]")).wait_for(timeout=60_000)
        found.scroll_into_view_if_needed()
        return found

    def click(self, pos, layer, kind, cell=1, at=0):
        return click_cell(self.page, self.explorer(cell, at), pos, layer, kind, self.shape)

    @property
    def shape(self):
        return tuple(self.ask("[len(explorer.trace.tokens), lm.n_layers]"))

    def run_cell(self, cell):
        self.page.evaluate(
            f"""async (cell) => {{
              {NOTEBOOK}.content.activeCellIndex = cell;
              await window.jupyterapp.commands.execute("notebook:run-cell");
            }}""",
            cell,
        )

    def until(self, expression):
        """Wait until an expression is true in the kernel: the page sends when it comes to it."""
        for _ in range(100):
            if self.ask(f"bool({expression})"):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{expression} did not become true.")

    def shows(self, selection, cell=1, at=0):
        wanted = json.dumps(selection, separators=(",", ":"))
        panel = self.explorers(cell).nth(at).locator(f"[data-selection='{wanted}']")
        panel.wait_for(state="attached", timeout=20_000)
        return panel


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab")
    write_notebook(folder / "survives.ipynb", CELLS)
    with lab_server(folder, scratch) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        open_and_run_all(page, address, "survives.ipynb")
        lab = Lab(page, folder, scratch)
        lab.explorer(2, 1)
        yield lab
        assert problems == []
        page.close()


CLICK_FAST = """async ([root, cells, [n_pos, n_layers], every]) => {
  const pressed = performance.now();
  for (const [at, [pos, layer, kind]] of cells.entries()) {
    const late = pressed + at * every - performance.now();
    if (late > 0) await new Promise((resolve) => setTimeout(resolve, late));
    const canvas = root.querySelector(`canvas[data-kind=${kind}]`);
    const box = canvas.getBoundingClientRect();
    const where = {
      bubbles: true, button: 0,
      clientX: box.x + (box.width * (layer + 0.5)) / n_layers,
      clientY: box.y + (box.height * (pos + 0.5)) / n_pos,
    };
    canvas.dispatchEvent(new PointerEvent("pointerdown", where));
    canvas.dispatchEvent(new PointerEvent("pointerup", where));
  }
  return (performance.now() - pressed) / 1000;
}"""

WATCH_QUEUE = """
most = {"running": 0, "waiting": 0, "restored": 0}

def watched(restore=type(explorer._engine).restore):
    def restore_watched(settings, selection, single=False):
        worker = explorer._worker
        most["running"] = max(most["running"], len(worker._running))
        most["waiting"] = max(most["waiting"], len(worker._waiting))
        most["restored"] += 1
        return restore(explorer._engine, settings, selection, single)
    return restore_watched

explorer._engine.restore = watched()
"""


def click_fast(lab, count, every=10):
    """`count` clicks on cells, one each `every` milliseconds; the last cell and the seconds."""
    n_pos, n_layers = shape = lab.shape
    kinds = ("hidden", "mlp", "attn")
    cells = [[(7 * i) % n_pos, (5 * i) % n_layers, kinds[i % 3]] for i in range(count)]
    root = lab.explorer().element_handle()
    seconds = lab.page.evaluate(CLICK_FAST, [root, cells, shape, every])
    lab.shows([cells[-1]])
    lab.run("assert explorer.wait(30)")
    return cells[-1], seconds


def test_of_many_fast_clicks_the_last_one_counts(lab):
    click_fast(lab, 100)  # What is made once, is made now.
    lab.run(WATCH_QUEUE)
    before = lab.ask("census()")
    last, seconds = click_fast(lab, FAST_CLICKS)
    after = lab.ask("census()")
    most = lab.ask("most")
    lab.run("del explorer._engine.restore")
    growth = after.pop("rss") - before.pop("rss")
    figures = {"clicks": FAST_CLICKS, "seconds": round(seconds, 1), **most}
    write_gate("fast_clicks", {**figures, "rss_growth_mb": round(growth / MB, 2), **after})
    assert after == before
    assert lab.ask("explorer.selection") == [last]
    assert lab.ask("explorer._restoration['selection']") == [last]
    assert most["running"] == 1
    assert most["waiting"] <= 1
    assert growth <= 5 * MB


def test_a_cell_that_is_run_again_and_again_leaves_nothing_running(lab):
    """ipywidgets keeps a widget until it is closed; that is its comm and its layout's, no more."""
    lab.run_cell(1)
    lab.explorer()
    before = lab.ask("census()")
    for _ in range(CELL_RUNS):
        lab.run_cell(1)
        lab.explorer()
    lab.run("assert explorer.wait(60)")
    after = lab.ask("census()")
    write_gate("cell_runs", {"runs": CELL_RUNS, "before": before, "after": after})
    assert lab.explorers(1).count() == 1
    for name in ("threads", "hooks"):
        assert after[name] == before[name], name
    assert after["comms"] - before["comms"] == 2 * CELL_RUNS
    lab.run("for ref in made[:1] + made[3:-1]:\n    ref() and ref().close()\ndel ref")
    left = lab.ask("census()")
    assert left["comms"] == 8, "two each of the three that are shown, and of the chart"
    assert left["explorers"] == 3
    lab.click(3, 4, "hidden")


COUNT_CHANGES = """
changes = []
for name, one in zip("ab", pair):
    one.observe(lambda change, name=name: changes.append(name), "selection")
"""


@pytest.mark.parametrize("link", ["link", "jslink"])
def test_linked_selections_follow_each_other_once(lab, link):
    """In the kernel, and in the page without it: the same cells, no going to and fro."""
    before = lab.ask("census()")
    lab.run(COUNT_CHANGES)
    lab.run(f"tie = ipywidgets.{link}((pair[0], 'selection'), (pair[1], 'selection'))")
    for at, cell in enumerate([[2, 3, "mlp"], [3, 5, "hidden"], [1, 6, "attn"]]):
        lab.click(*cell, cell=2, at=at % 2)
        lab.shows([cell], cell=2, at=1 - at % 2)
        assert lab.ask("[one.selection for one in pair]") == [[cell]] * 2
    lab.page.wait_for_timeout(300)
    assert sorted(lab.ask("changes")) == ["a"] * 3 + ["b"] * 3
    lab.run("tie.unlink()\ngetattr(tie, 'close', lambda: None)()\ndel tie")
    lab.run("for one in pair:\n    one.unobserve_all('selection')\n    one.selection = []\ndel one")
    lab.run("for one in pair:\n    one.observe(one._selection_changed, 'selection')\ndel one")
    lab.page.wait_for_timeout(300)
    after = lab.ask("census()")
    assert {**after, "rss": 0} == {**before, "rss": 0}


def test_a_slider_moves_a_setting_and_back(lab):
    lab.run("slider = ipywidgets.IntSlider(3, 1, 9)")
    lab.run("tie = ipywidgets.link((slider, 'value'), (pair[0], 'seed'))")
    seed = lab.explorer(2).locator('[data-setting="seed"]')
    assert seed.input_value() == "3"
    seed.fill("5")
    seed.press("Tab")
    lab.page.wait_for_function("field => field.dataset.is === '5'", arg=seed.element_handle())
    assert lab.ask("slider.value") == 5
    lab.run("tie.unlink()\npair[0].seed = 1\nslider.close()\ndel tie, slider")


def test_a_chart_and_its_grid_mark_and_pick_for_each_other(lab):
    """Drawn without a network; the largest points are the selected ones."""
    drawn = lab.page.locator(".jp-CodeCell").nth(3).locator("svg.marks")
    points = drawn.locator("path[aria-roledescription=point]")
    n_points = 3 * 2 * lab.ask("lm.n_layers")
    expect(points).to_have_count(n_points, timeout=60_000)
    pos, layer = lab.ask("pair[0].trace.subject_span[1] - 1"), 3
    lab.click(pos, layer, "mlp", cell=2)
    lab.page.wait_for_function(LARGEST, arg=[drawn.element_handle(), f"layer: {layer}"])
    chosen = points.filter(has=lab.page.locator("xpath=self::*[contains(@aria-label, 'attn')]"))
    chosen.nth(5).scroll_into_view_if_needed()
    chosen.nth(5).click()
    lab.shows([[pos, 5, "attn"]], cell=2)
    lab.run("chart.close()\npair[0].selection = []")


LARGEST = """([chart, said]) => {
  const points = [...chart.querySelectorAll("path[aria-roledescription=point]")];
  const size = (path) => path.getBBox().width;
  const widest = points.sort((a, b) => size(b) - size(a));
  return size(widest[0]) > 1.5 * size(widest[1]) && widest[0].ariaLabel.includes(said);
}"""


def test_two_widgets_clicked_at_once_each_get_their_own_answer(lab):
    n_pos, n_layers = shape = lab.shape
    roots = [lab.explorer(2, at).element_handle() for at in (0, 1)]
    cells = [
        [[i % n_pos, (3 * i + at) % n_layers, ("mlp", "hidden")[at]] for i in range(40)]
        for at in (0, 1)
    ]
    lab.page.evaluate(
        f"([roots, cells, shape]) => Promise.all(roots.map((root, at) => "
        f"({CLICK_FAST})([root, cells[at], shape, 20])))",
        [roots, cells, shape],
    )
    for at in (0, 1):
        panel = lab.shows([cells[at][-1]], cell=2, at=at)
        pos, layer, kind = cells[at][-1]
        expected = lab.ask(f"float(pair[{at}].trace.scores[{kind!r}][{pos}, {layer}])")
        assert float(panel.get_attribute("data-score")) == pytest.approx(expected, abs=1e-5)


def test_a_second_view_shows_the_same_and_answers_too(lab):
    lab.page.evaluate(
        f"""() => {{
          {NOTEBOOK}.content.activeCellIndex = 1;
          return window.jupyterapp.commands.execute("notebook:create-output-view");
        }}"""
    )
    both = lab.page.locator('.rw[data-view="explorer"][data-status=done]')
    view = lab.page.locator(".jp-LinkedOutputView .rw")
    view.locator("canvas").first.wait_for()
    lab.run("explorer.selection = [(2, 3, 'mlp')]")
    shown = view.locator("[data-selection='[[2,3,\"mlp\"]]']")
    shown.wait_for(state="attached")
    click_cell(lab.page, view, 4, 2, "attn", lab.shape)
    lab.shows([[4, 2, "attn"]])
    assert both.count() == 4
    lab.page.evaluate("window.jupyterapp.commands.execute('application:close')")
    view.wait_for(state="detached")
    lab.page.locator(".jp-NotebookPanel").wait_for()
    lab.click(3, 3, "hidden")


def test_without_a_mouse_from_the_prompt_to_a_restored_prediction(lab):
    """Keys of ours do nothing else in JupyterLab, and its own still work."""
    keys, root = lab.page.keyboard, lab.explorer()
    notebook = f"(({{ content }}) => [content.activeCellIndex, content.widgets.length])({NOTEBOOK})"
    lab.page.evaluate(f"{NOTEBOOK}.content.activeCellIndex = 1")
    before = lab.page.evaluate(notebook)

    def tab_to(selector):
        for _ in range(20):
            keys.press("Tab")
            if root.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"Tab does not lead to {selector}.")

    root.get_by_label("Prompt", exact=True).focus()
    keys.press("Control+A")
    keys.type("The Eiffel Tower is in the city of")
    tab_to("[aria-label=Subject]")
    keys.press("Control+A")
    keys.type("The Eiffel Tower")
    keys.press("Enter")
    lab.until("explorer.trace.subject == 'The Eiffel Tower'")
    lab.explorer()
    tab_to("[role=grid]")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        keys.press(key)
    root.locator("[data-score]").wait_for(state="attached")
    [[_, layer, kind]] = lab.ask("explorer.selection")
    assert (layer, kind) == (2, "hidden")
    for key in ("x", "r", "y", "d", "d"):  # They cut, convert and delete cells of a notebook.
        keys.press(key)
    keys.press("?")
    dialog = root.get_by_role("dialog", name="Keys and pointer")
    dialog.wait_for()
    floats = "all => all.map((el) => getComputedStyle(el).float)"
    assert set(dialog.locator("dt, dd").evaluate_all(floats)) == {"none"}
    keys.press("Escape")
    keys.press("Escape")
    keys.press("ArrowUp")
    assert lab.page.evaluate(notebook) == before
    keys.press("Control+s")
    lab.page.wait_for_function(f"() => !{NOTEBOOK}.context.model.dirty")
    runs = lab.ask("len(made)")
    keys.press("Shift+Enter")
    lab.until(f"len(made) == {runs + 1}")


THREAD = """
heard = []
explorer.observe(lambda change: heard.append(threading.current_thread().name), "selection")
"""


def test_the_answers_are_the_same_on_either_thread(lab):
    """JupyterLab calls back on a subshell's thread, other hosts on the main one; and a reload."""
    cells = [(2, 3, "mlp"), (3, 5, "hidden"), (4, 6, "attn")]

    def answers():
        lab.run(THREAD)
        shown = [lab.click(*cell).get_attribute("data-score") for cell in cells]
        return shown, set(lab.ask("heard"))

    on_subshell, threads = answers()
    assert any(name.startswith("subshell") for name in threads), threads
    set_setting(lab.scratch, KERNELS, {"commsOverSubshells": "disabled"})
    lab.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    lab.page.reload()
    lab.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    lab.page.evaluate(SESSION_READY)
    last = lab.shows([list(cells[-1])])
    assert last.get_attribute("data-score") == on_subshell[-1]
    on_main, threads = answers()
    assert threads == {"MainThread"}
    assert on_main == on_subshell


KERNELS = "@jupyterlab/apputils-extension/kernels-settings"


def test_a_restarted_kernel_is_noticed_and_the_cell_works_again(lab):
    lab.page.evaluate(f"{NOTEBOOK}.sessionContext.session.kernel.restart()")
    old = lab.explorers(1).nth(0)
    old.get_by_text("Kernel not connected").wait_for(timeout=60_000)
    for cell in (0, 1):
        lab.run_cell(cell)
    panel = lab.click(3, 4, "hidden")
    assert "%" in panel.inner_text()
    assert lab.explorers(1).count() == 1
