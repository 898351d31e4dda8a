"""Run the notebook of real models and keep what it shows, for who reads it without a kernel.

    python -m tools.record_notebook

On SmolLM2, as `tools.real_models` fetches it. Pictures, tables and words are kept, no live widgets:
on a page without a kernel they could only say so.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tools import real_models

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "03_real_models.ipynb"
LIVE = "application/vnd.jupyter.widget-view+json"
SECONDS = 1800
"""For one cell, at most."""


def run(path: Path, model: Path) -> Any:
    """The notebook with all its cells executed on this model."""
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"ROME_WIDGETS_MODEL": str(model)}
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=SECONDS, resources=where).execute(env=environment)
    return notebook


def without_what_lives(notebook: Any) -> Any:
    """The same, with outputs that show on any page, and no times of execution."""
    notebook.metadata.pop("widgets", None)
    for cell in _code(notebook):
        cell.metadata.pop("execution", None)
        kept = []
        for output in cell.outputs:
            live = output.get("data", {}).pop(LIVE, None)
            shows = "text/html" in output.get("data", {}) or live is None
            if shows and output.get("name") != "stderr":
                kept.append(output)
        cell.outputs = kept
    notebook.metadata["recorded"] = code_of(notebook)
    return notebook


def code_of(notebook: Any) -> str:
    """SHA-256 of all code: outputs recorded for other code are old."""
    return hashlib.sha256("\0".join(cell.source for cell in _code(notebook)).encode()).hexdigest()


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


if __name__ == "__main__":
    found = run(NOTEBOOK, real_models.gguf_file("smollm2"))
    nbformat.write(without_what_lives(found), NOTEBOOK)
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1000:.0f} kB")
