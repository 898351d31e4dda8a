"""What the Makefile leans on: a browser that is found, or remedies that are named."""

import shutil
import subprocess
import sys
from pathlib import Path

from tools import browser

ROOT = Path(__file__).parent.parent


def test_a_named_browser_comes_first(monkeypatch):
    monkeypatch.setenv("CHROMIUM", sys.executable)
    assert browser.find() == sys.executable


def test_a_browser_on_path_comes_next(monkeypatch, tmp_path):
    (tmp_path / "google-chrome").touch(mode=0o755)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find() == str(tmp_path / "google-chrome")


def test_no_browser_is_a_failure_that_names_the_remedies(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tools.browser"],
        cwd=ROOT,
        env={"CHROMIUM": str(tmp_path / "absent"), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for remedy in ("export CHROMIUM=", "apt install chromium", "playwright install chromium"):
        assert remedy in done.stderr
    assert done.stdout == ""


def test_an_old_node_is_not_taken(monkeypatch, tmp_path):
    from hatch_build import find_npm

    for name, said in (("node", "v18.19.0"), ("npm", "10")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / name).chmod(0o755)
    sh = shutil.which("sh")
    assert sh is not None
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sh).parent}")
    found = find_npm()
    assert found is None or str(tmp_path / "npm") not in found
