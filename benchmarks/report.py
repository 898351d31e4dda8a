"""Writes a figure with its commit, machine and versions."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).parent.parent


def write(name: str, machine: str, figures: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    about = {
        "commit": commit(),
        "machine": machine,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    text = json.dumps({**about, **figures}, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def commit() -> str:
    """The commit of the working tree, marked where something is not committed."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    run = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


def cpu(threads: int | None = None) -> str:
    """The machine in words."""
    used = torch.get_num_threads() if threads is None else threads
    return f"{os.cpu_count()} CPU cores, {'one thread' if used == 1 else f'{used} threads'}"


def verdict(value: float, wanted: float, *, at_least: bool) -> str:
    """What was wanted, and whether it was reached."""
    reached = value >= wanted if at_least else value <= wanted
    return f"wanted {'>=' if at_least else '<='} {wanted:g}: {'reached' if reached else 'MISSED'}"
