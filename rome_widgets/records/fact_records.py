"""Records of facts in their order, with where they are from and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from rome_widgets.errors import ArgumentError, said
from rome_widgets.records.arguments import several, text
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.html import paragraph, plural, table
from rome_widgets.records.numbers import as_whole, whole_number

if TYPE_CHECKING:
    import pandas as pd

MOST_SHOWN = 5
"""Records, and bad ones, that a notebook shows."""
SEEDS = (0, 2**32 - 1)
COLUMNS = tuple(each.name for each in fields(FactRecord) if each.name != "along_with")


class BadRecord(NamedTuple):
    """A record that was left out."""

    place: str
    """File and number, counted from 0."""
    reason: str


class FactRecords(Sequence[FactRecord]):
    """Records of facts, in order; nothing changes them.

    Args:
        records: Each as `FactRecord.from_record` reads it.
        source: Where they are from.
        left_out: Of the same source, those that could not be read.

    Raises:
        ArgumentError: An argument is another kind of thing.
        PromptError, SubjectNotFound: A record states no fact.

    Attributes:
        source: Where they are from.
        left_out: Those that could not be read, each with its place and the reason.

    Example:
        >>> facts = rw.datasets.bundled()
        >>> facts[:100].sample(3, seed=1).to_frame()[["prompt", "subject", "target"]]
    """

    def __init__(
        self, records: Iterable[Any], source: str = "", left_out: Iterable[BadRecord] = ()
    ) -> None:
        given = several(records, "records")
        self._records = tuple(FactRecord.from_record(each) for each in given)
        self.source = text(source, "source")
        self.left_out = tuple(several(left_out, "left_out"))
        if not all(isinstance(each, BadRecord) for each in self.left_out):
            raise ArgumentError(f"left_out is {said(left_out)}.", "BadRecords were wanted.")

    @overload
    def __getitem__(self, index: int) -> FactRecord: ...

    @overload
    def __getitem__(self, index: slice) -> FactRecords: ...

    def __getitem__(self, index: Any) -> FactRecord | FactRecords:
        """A record by its number, or some of them as another collection."""
        if isinstance(index, slice):
            return self._of(self._records[index])
        number = as_whole(index)
        if number is None:
            raise TypeError(f"records are numbered, or sliced; {index!r} is neither")
        return self._records[number]

    def __len__(self) -> int:
        return len(self._records)

    def __eq__(self, other: object) -> bool:
        """The same records in the same order, wherever they are from."""
        return isinstance(other, FactRecords) and self._records == other._records

    def __hash__(self) -> int:
        return hash(self._records)

    def sample(self, n: int, seed: int = 0) -> FactRecords:
        """`n` of them, drawn without repetition, in the order they were drawn.

        The same seed draws the same ones in every version of NumPy.

        Raises:
            ArgumentError: There are not so many.

        Example:
            >>> rw.datasets.bundled().sample(2)
            FactRecords(2, the bundled world)
        """
        count = whole_number(n, "n", 0, len(self), error=ArgumentError)
        return self._of(self._records[each] for each in self._order(seed)[:count])

    def shuffled(self, seed: int = 0) -> FactRecords:
        """All of them in another order; the first `n` are what `sample` draws."""
        return self._of(self._records[each] for each in self._order(seed))

    def to_frame(self) -> pd.DataFrame:
        """A row per record, in pandas, a column per field; `rw.datasets.table` reads it again.

        Further facts of a case (`along_with`) are not in it.

        Example:
            >>> frame = rw.datasets.bundled()[:3].to_frame()
            >>> rw.datasets.table(frame) == rw.datasets.bundled()[:3]
            True
        """
        import pandas as pd

        return pd.DataFrame(
            [[getattr(each, name) for name in COLUMNS] for each in self], columns=list(COLUMNS)
        )

    def _order(self, seed: int) -> Sequence[int]:
        drawn = whole_number(seed, "The seed", *SEEDS, error=ArgumentError)
        return np.random.RandomState(drawn).permutation(len(self)).tolist()

    def _of(self, records: Iterable[FactRecord]) -> FactRecords:
        """Some of them: what was left out is said of the whole."""
        return FactRecords(records, self.source, self.left_out)

    def __repr__(self) -> str:
        source = f", {self.source}" if self.source else ""
        bad = f", {len(self.left_out)} left out" if self.left_out else ""
        return f"FactRecords({len(self)}{source}{bad})"

    def _repr_html_(self) -> str:
        shown = self[:MOST_SHOWN]
        head = ("prompt", "subject", "true object", "new object")
        rows = [[each.prompt, each.subject, each.target, each.target_new or ""] for each in shown]
        title = f"{plural(len(self), 'record')}{f' from {self.source}' if self.source else ''}"
        more = len(self) - len(shown)
        html = table(rows, head, title) + (paragraph(f"and {more} more") if more else "")
        if not self.left_out:
            return html
        bad = f"{plural(len(self.left_out), 'record')} left out, the first of them:"
        return html + table(self.left_out[:MOST_SHOWN], ("place", "reason"), bad)
