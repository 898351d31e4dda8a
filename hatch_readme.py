"""Hatchling hook: the README and the links of the package's page, which is not where the files are.

A README links files beside it. Elsewhere such a link leads nowhere, so here it becomes one into the
repository at the version's tag, where a release says which repository that is:

ROME_WIDGETS_HOME=https://host/owner/name   the release workflow sets it

Without it, words that were linked to a file stay as words, and pictures are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PAPER = "https://arxiv.org/abs/2202.05262"
LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<to>(?!https?:|#)[^)]+)\)")


class Readme(MetadataHookInterface):
    """What PyPI shows."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `readme` and `urls`."""
        home = os.environ.get("ROME_WIDGETS_HOME", "").rstrip("/")
        tag = f"v{metadata['version']}"
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": away(text, home, tag)}
        metadata["urls"] = urls(home)


def away(text: str, home: str, tag: str) -> str:
    """A README as it reads away from its files."""

    def linked(found: re.Match[str]) -> str:
        picture, words, to = found["picture"], found["words"], found["to"]
        if not home:
            return "" if picture else words
        return f"{picture}[{words}]({home}/{'raw' if picture else 'blob'}/{tag}/{to})"

    return LINK.sub(linked, text)


def urls(home: str) -> dict[str, str]:
    """The links of the package's page."""
    if not home:
        return {"Paper": PAPER}
    return {
        "Homepage": home,
        "Documentation": f"{home}/tree/main/notebooks",
        "Changelog": f"{home}/blob/main/CHANGELOG.md",
        "Issues": f"{home}/issues",
        "Paper": PAPER,
    }
