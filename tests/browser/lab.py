"""A real JupyterLab over a real kernel: started for one test, with settings of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat

SETTINGS = {
    # A news toast would cover the corner of a screenshot.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

NOTEBOOK = """[...window.jupyterapp.shell.widgets("main")].find(
  ({ content }) => content?.activeCellIndex !== undefined)"""
"""The notebook's panel, whatever else is open."""

SESSION_READY = f"""async () => {{
  const notebook = {NOTEBOOK};
  await notebook.context.ready;
  await notebook.sessionContext.ready;
  await notebook.sessionContext.session.kernel.info;
}}"""


@contextmanager
def lab_server(folder: Path, scratch: Path):
    """JupyterLab serving `folder`; yields its address."""
    for name, content in SETTINGS.items():
        set_setting(scratch, name, content)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(scratch / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "workspaces"),
    }
    port = _free_port()
    log = scratch / "lab.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1",
                f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
                "--ServerApp.password=", "--allow-root", f"--ServerApp.root_dir={folder}",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            env=environment, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, address, log)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def set_setting(scratch: Path, name: str, content: dict) -> None:
    """Settings of one plugin; a page that is open takes them when it is loaded again."""
    path = scratch / "settings" / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_notebook(path: Path, sources) -> None:
    """A notebook of code cells that opens without asking which kernel."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), path)


def open_and_run_all(page, address: str, notebook: str) -> None:
    """Open a notebook and run all its cells, once the session stands.

    Without waiting for the session, a second kernel can start while the first one runs.
    """
    page.goto(f"{address}/lab/tree/{notebook}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    page.evaluate(SESSION_READY)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")


def run_in_kernel(page, code):
    """Run Python in the notebook's kernel, as another cell would; its errors are raised here."""
    error = page.evaluate(
        f"""async code => {{
          const {{ kernel }} = {NOTEBOOK}.sessionContext.session;
          const {{ content }} = await kernel.requestExecute({{ code }}).done;
          return content.status === "ok" ? null : `${{content.ename}}: ${{content.evalue}}`;
        }}""",
        code,
    )
    assert error is None, error


def ask_kernel(page, folder: Path, expression: str):
    """The value of a Python expression in the kernel, whose folder this is."""
    code = f"import json, pathlib; pathlib.Path('said.json').write_text(json.dumps({expression}))"
    run_in_kernel(page, code)
    return json.loads((folder / "said.json").read_text())


def click_cell(page, explorer, pos, layer, kind, shape, patience=10_000):
    """Press the mouse at the centre of a cell; returns when the page shows its answer.

    `patience` is how long that may take, in milliseconds.
    """
    canvas = explorer.locator(f'canvas[data-kind="{kind}"]')
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    n_pos, n_layers = shape
    page.mouse.click(
        box["x"] + box["width"] * (layer + 0.5) / n_layers,
        box["y"] + box["height"] * (pos + 0.5) / n_pos,
    )
    wanted = json.dumps([[pos, layer, kind]], separators=(",", ":"))
    answered = explorer.locator(f"[data-selection='{wanted}'][data-latency-ms]")
    answered.wait_for(state="attached", timeout=patience)
    return answered


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(server: subprocess.Popen, address: str, log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended:\n{log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"JupyterLab did not answer in time:\n{log.read_text()[-3000:]}")
