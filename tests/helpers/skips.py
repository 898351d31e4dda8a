"""Which tests may be skipped, and what a run that skipped others says at its end.

A skip that is not in `tests/skips.txt` fails the run. So do tests that found no browser: they are
passed over, so that all the others run first, and what they need is said once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.browser import REMEDIES

LISTED = (Path(__file__).parent.parent / "skips.txt").read_text(encoding="utf-8")
NO_BROWSER = "no browser was found"


def complaints(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """What has to be said of skips, given as node id and reason; none where all are listed."""
    unlisted = {(test, why) for test, why in skipped if test not in LISTED}
    without_browser = sorted(test for test, why in unlisted if NO_BROWSER in why)
    others = sorted({test for test, _ in unlisted} - set(without_browser))
    said = []
    if others:
        said.append(f"skipped, but not listed in tests/skips.txt: {others}")
    if without_browser:
        said.append(
            f"Browser tests that did not run: {len(without_browser)}; all others did. {REMEDIES}"
        )
    return said
