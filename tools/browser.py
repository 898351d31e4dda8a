"""Find a Chromium for the browser tests, or get one where that is allowed.

In this order: $CHROMIUM, one on PATH, Playwright's own, one from apt (as root). Prints its path;
exits with 1 and names the remedies where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

REMEDIES = """\
No browser was found for the browser tests. Any of these will do:
  - export CHROMIUM=/path/to/chromium
  - install Chromium or Chrome so that it is on PATH (Debian, Ubuntu: sudo apt install chromium)
  - python -m playwright install chromium"""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Start-up flags: headless in a container, and no calls home."""


def find() -> str | None:
    """The path of a browser that is there already."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    return on_path or _playwrights_own()


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def _from_apt() -> str | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends"]):
        packages = ["chromium", "fonts-dejavu-core"] if arguments[0] == "install" else []
        # Output goes to stderr: stdout is the answer.
        subprocess.run(
            ["apt-get", *arguments, *packages], env=environment, stdout=sys.stderr, check=False
        )
    return find()


def main() -> int:
    """Print the browser's path, or the remedies."""
    path = find() or (None if os.environ.get("CHROMIUM") else _from_apt())
    print(path or REMEDIES, file=sys.stdout if path else sys.stderr)
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main())
