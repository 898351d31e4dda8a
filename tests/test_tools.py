"""What the Makefile leans on: a browser that is found, or remedies that are named at the end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.skips import NO_BROWSER, complaints
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


@pytest.mark.parametrize("arguments", [[], ["--install"]])
@pytest.mark.parametrize("root", [True, False])
def test_nothing_is_installed_unless_asked_and_only_as_root(monkeypatch, arguments, root):
    started = []
    monkeypatch.setattr(browser, "find", lambda: None)
    monkeypatch.setattr(browser, "_is_root", lambda: root)
    monkeypatch.setattr(browser.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(browser.subprocess, "run", lambda command, **rest: started.append(command))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert browser.main(arguments) == 1
    assert bool(started) == (root and bool(arguments))


def test_the_test_command_installs_nothing_and_that_of_ci_asks_for_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    asked = [line for line in makefile.splitlines() if "--install" in line]
    assert asked == ["\t@$(PY) -m tools.browser --install"]
    needs = dict(line.split(":", 1) for line in makefile.splitlines() if line.startswith("test"))
    assert "browser" not in needs["test"]
    assert "make browser" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_without_a_browser_all_else_runs_and_the_end_fails_and_says_what_is_needed(tmp_path):
    """One browser test and one other, in a run that finds no browser."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "tests/browser/test_grid_page.py", "tests/records/test_states.py",
        ],
        cwd=ROOT,
        env=os.environ | {"CHROMIUM": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert " passed" in done.stdout
    assert " failed" not in done.stdout
    assert " error" not in done.stdout
    assert done.stderr.strip().endswith(browser.REMEDIES.splitlines()[-1].strip())
    assert "Browser tests that did not run: " in done.stderr


@pytest.mark.parametrize(
    ("skipped", "said"),
    [
        ([], []),
        ([("tests/a.py::test_a", "why not")], ["not listed"]),
        ([("tests/browser/a.py::test_a", NO_BROWSER)], ["did not run: 1"]),
        (
            [("tests/a.py::test_a", "why not"), ("tests/browser/a.py::test_a", NO_BROWSER)],
            ["not listed", "did not run: 1"],
        ),
    ],
)
def test_a_skip_that_is_not_listed_is_complained_of(skipped, said):
    found = complaints(skipped)
    assert len(found) == len(said)
    assert all(words in each for words, each in zip(said, found, strict=True))


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
