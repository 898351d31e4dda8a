"""Figures of a full run, one file per gate under benchmarks/results."""

import json
import subprocess
from pathlib import Path

from tests.helpers.counts import FULL

ROOT = Path(__file__).parents[2]


def write_gate(gate, figures):
    """Print a gate's figures; the full run also writes them, with the commit they are of."""
    print(f"\n{gate}: {figures}")
    if not FULL:
        return
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"commit": commit, **figures}, indent=1) + "\n"
    (folder / f"{gate}.json").write_text(text, encoding="utf-8")
