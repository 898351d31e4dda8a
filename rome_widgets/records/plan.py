"""What a run will cost before it is run. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rome_widgets.records.html import paragraph, shortened, table, visible


class PlannedPart(NamedTuple):
    """One part of a run."""

    what: str
    block_rows: int
    """Positions on which the model's blocks are called, over all layers; 0 where it was measured
    as a whole."""
    seconds: float
    how: str
    """How the seconds came about, a clause."""


@dataclass(frozen=True, repr=False)
class Plan:
    """The cost of a run, part by part. Made by `rome_widgets.plan`.

    Example:
        >>> found = rw.plan(lm, rw.bundled.facts()[:2], samples=10)
        >>> found.fits, found.block_rows > 10_000
        (True, True)
    """

    what: str
    """What is run, such as "a sweep of 1,000 facts"."""
    model: str
    parts: tuple[PlannedPart, ...]
    memory: int | None
    """Bytes that it takes beside the weights, where they are there: at most; None for edits, of
    which each method takes its own for gradients, optimisers and statistics."""
    least_memory: int
    """Bytes with which it still runs, in smaller pieces: one row of the longest prompt."""
    free_memory: int | None
    """Bytes that the device has left; None where nobody can say."""
    notes: tuple[str, ...] = ()
    """What the figures rest on."""

    @property
    def block_rows(self) -> int:
        """Positions on which blocks are called."""
        return sum(part.block_rows for part in self.parts)

    @property
    def seconds(self) -> float:
        """Of one worker."""
        return sum(part.seconds for part in self.parts)

    @property
    def fits(self) -> bool:
        """Whether there is memory enough, if need be for smaller pieces."""
        return self.free_memory is None or self.least_memory <= self.free_memory

    @property
    def duration(self) -> str:
        """The seconds, as a person says them: "about 40 s"."""
        return f"about {in_words(self.seconds)}"

    @property
    def _memory(self) -> str:
        """A sentence."""
        free = "" if self.free_memory is None else f" of {in_bytes(self.free_memory)} free"
        if not self.fits:
            return (
                f"Does not fit: {in_bytes(self.least_memory)}{free} for the longest prompt. "
                "Shorter ones or a smaller dtype would."
            )
        if self.memory is None:
            left = "" if self.free_memory is None else f"; {in_bytes(self.free_memory)} are free"
            return f"The memory of edits, which need gradients, is not planned{left}."
        smaller = self.free_memory is not None and self.memory > self.free_memory
        pieces = "; work is cut smaller" if smaller else ""
        return f"Memory beside the weights: at most {in_bytes(self.memory)}{free}{pieces}."

    @property
    def _lines(self) -> list[str]:
        rows = f", {self.block_rows:,} block rows" if self.block_rows else ""
        lines = [f"{self.what} of {self.model}: {self.duration}{rows}.", self._memory]
        return lines if self.fits else lines[::-1]

    def __repr__(self) -> str:
        parts = ", ".join(f"{each.what} {in_words(each.seconds)}" for each in self.parts)
        lines = [f"Plan({self._lines[0]}", *self._lines[1:], f"{parts})"]
        return "\n".join(shortened(visible(line), 100) for line in lines)

    def _repr_html_(self) -> str:
        rows = [
            (each.what, f"{each.block_rows:,}" if each.block_rows else "", in_words(each.seconds),
             each.how)
            for each in self.parts
        ]  # fmt: skip
        head = ("part", "block rows", "time", "how it came about")
        above, below = map(paragraph, self._lines), map(paragraph, self.notes)
        return "".join([*above, table(rows, head), *below])


_UNITS = {"d": 86400, "h": 3600, "min": 60}


def in_words(seconds: float) -> str:
    """Seconds as a person says them."""
    for name, unit in _UNITS.items():
        if seconds >= 2 * unit:
            return f"{seconds / unit:.{0 if seconds >= 10 * unit else 1}f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def in_bytes(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
