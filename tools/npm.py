"""Run npm in js/: the machine's own, or one from PyPI put into this environment.

Usage: python -m tools.npm ci | run build | run check | test
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hatch_build import NODE_FROM_PYPI, find_npm, fresh

JS = Path(__file__).parent.parent / "js"


def main(arguments: list[str]) -> int:
    """Run npm with these arguments; its exit code."""
    npm = find_npm()
    if npm is None:
        subprocess.run([sys.executable, "-m", "pip", "install", NODE_FROM_PYPI], check=True)
        npm = find_npm()
        if npm is None:
            print(f"Node.js >= 20 was not found and {NODE_FROM_PYPI} gave none.", file=sys.stderr)
            return 1
    marker = JS / "node_modules" / ".package-lock.json"
    if arguments != ["ci"] and not fresh([marker], [JS / "package-lock.json"]):
        subprocess.run([*npm, "ci", "--no-audit", "--no-fund"], cwd=JS, check=True)
    return subprocess.run([*npm, *arguments], cwd=JS, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
