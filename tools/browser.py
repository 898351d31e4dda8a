"""Find a Chromium for the browser tests; `make browser` also gets one.

In this order: $CHROMIUM, one on PATH, Playwright's own. With --install, where none of these is
there: one from apt, as root. Prints its path; exits with 1 and names the remedies where there is
none. Tests only look: nothing is installed on a machine by somebody who did not ask for it.
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
  - install Chromium or Chrome so that it is on PATH (Debian, Ubuntu: sudo apt install chromium;
    as root, `make browser` does that)
  - .venv/bin/python -m playwright install chromium"""

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
    if not _is_root() or not shutil.which("apt-get"):
        return None
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends"]):
        packages = ["chromium", "fonts-dejavu-core"] if arguments[0] == "install" else []
        # Output goes to stderr: stdout is the answer.
        subprocess.run(
            ["apt-get", *arguments, *packages], env=environment, stdout=sys.stderr, check=False
        )
    return find()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0  # Windows has no such number


def main(arguments: list[str]) -> int:
    """Print the browser's path, or the remedies."""
    path = find()
    if path is None and "--install" in arguments and not os.environ.get("CHROMIUM"):
        path = _from_apt()
    print(path or REMEDIES, file=sys.stdout if path else sys.stderr)
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
