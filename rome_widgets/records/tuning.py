"""What was found when an editor was tuned to a model: every candidate, and how well it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rome_widgets.records.html import shortened, table, visible
from rome_widgets.records.metrics import SCORED, MetricsTotal

MOST_SHOWN = 3
"""Candidates in a repr."""


class Tried(NamedTuple):
    """One candidate."""

    layer: int
    settings: Mapping[str, Any]
    """All of the method's, by name."""
    total: MetricsTotal
    """Over the records that it edited; a candidate that was out early edited few."""
    refused: str = ""
    """Why it could not edit one of the records, if so."""


@dataclass(frozen=True, repr=False)
class Tuning:
    """The candidates, the best first. Made by `rome_widgets.tune`.

    Example:
        >>> some = rw.bundled.facts()[:1]
        >>> found = rw.tune(lm, some, layers=[3], settings=[{}], keep=False)
        >>> found.layer, found.tried[0].total.score > 0
    """

    method: str
    model: str
    tried: tuple[Tried, ...]
    kept: str | None
    """The file by which edits of this model go from now on; deleted, they do not. None: not kept.
    """

    @property
    def layer(self) -> int:
        """The best candidate's."""
        return self.tried[0].layer

    @property
    def settings(self) -> Mapping[str, Any]:
        """The best candidate's, by name."""
        return self.tried[0].settings

    @property
    def _changing(self) -> list[str]:
        """The settings in which candidates differ."""
        first = self.tried[0].settings
        return [name for name in first if any(t.settings[name] != first[name] for t in self.tried)]

    @property
    def _head(self) -> list[str]:
        return ["layer", *self._changing, "records", "S", *(f"{kind} %" for kind in SCORED)]

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(each.layer),
                *(str(each.settings[name]) for name in self._changing),
                str(len(each.total.records)),
                each.refused or f"{100 * each.total.score:.1f}",
                *(str(getattr(each.total, kind).success) for kind in SCORED),
            ]
            for each in self.tried
        ]

    @property
    def _title(self) -> str:
        return f"{self.method} on {self.model}"

    def __repr__(self) -> str:
        lines = [self._head, *self._rows()[:MOST_SHOWN]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = ["  ".join(map(str.rjust, line, widths)) for line in lines]
        more = len(self.tried) - MOST_SHOWN
        rest = [f"and {more} more"] if more > 0 else []
        return "\n".join(shortened(visible(line), 100) for line in [self._title, *shown, *rest])

    def _repr_html_(self) -> str:
        return table(self._rows(), self._head, self._title)
