"""HTML tables that every host shows: inline styles alone, no script, and all text escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

Cell = str | float | None
"""Text, a number, or nothing; a `Probability` is shaded."""

_UNSEEN = re.compile(
    "[\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]"
)
# No colour of text, and borders that are seen on white and on black: hosts have dark themes.
_TABLE = "border-collapse:collapse;margin:4px 0 8px 0;font-variant-numeric:tabular-nums"
_ROW = "border-bottom:1px solid rgba(128,128,128,.3)"
_LEFT = "text-align:left;padding:1px 8px"
_RIGHT = "text-align:right;padding:1px 8px"


class Probability(float):
    """A number from 0 to 1 whose cell of a table is the darker the greater it is."""


def table(
    rows: Iterable[Sequence[Cell]], head: Sequence[str] | None = None, caption: str | None = None
) -> str:
    """A table; text stands on the left, numbers on the right with four decimals.

    Args:
        rows: The cells of each row.
        head: The names of the columns.
        caption: What the table shows.
    """
    rows = [list(row) for row in rows]
    numeric = [not isinstance(cell, str) for cell in rows[0]] if rows else []
    names = "".join(
        f'<th style="{_RIGHT if number else _LEFT}">{shown(name)}</th>'
        for name, number in zip(head or (), [*numeric, *[False] * len(head or ())], strict=False)
    )
    return (
        f'<table style="{_TABLE}">'
        + (f'<caption style="text-align:left">{shown(caption)}</caption>' if caption else "")
        + (f'<tr style="{_ROW}">{names}</tr>' if names else "")
        + "".join(f'<tr style="{_ROW}">{"".join(map(_cell, row))}</tr>' for row in rows)
        + "</table>"
    )


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return f'<td style="{_LEFT}"><bdi>{shown(value)}</bdi></td>'
    style = _RIGHT
    if isinstance(value, Probability) and math.isfinite(value):
        style += f";background-color:rgba(90,130,190,{0.6 * min(1, max(0, value)):.2f})"
    return f'<td style="{style}">{number(value)}</td>'


def number(value: float | None) -> str:
    """A count as it is, another number with four decimals, a dash for none and for NaN."""
    if value is None or math.isnan(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def paragraph(words: str) -> str:
    """Words on a line of their own."""
    return f"<p>{shown(words)}</p>"


def shown(words: str) -> str:
    """Words as HTML that shows them as they are."""
    return escape(visible(words))


def visible(words: str) -> str:
    """Words with what would not be seen, or would move others, written out, as the page does."""
    written = _UNSEEN.sub(lambda found: _picture(found[0]), words)
    return written.encode("utf-8", "backslashreplace").decode("utf-8")


def _picture(character: str) -> str:
    known = {"\n": "⏎", "\t": "⇥", "\x7f": "␡"}
    code = ord(character)
    return known.get(character) or (chr(0x2400 + code) if code < 0x20 else f"⟨{code:04X}⟩")


def label(token: str) -> str:
    """A token as the name of a row: leading space dropped, controls drawn, at most 40 long."""
    return shortened(visible(token[1:] if token.startswith(" ") and len(token) > 1 else token))


def shortened(words: str, most: int = 40) -> str:
    """Words cut to a length, with an ellipsis where something is left out."""
    return words if len(words) <= most else f"{words[: most - 1]}…"


def quoted(words: str, most: int = 60) -> str:
    """Words for a repr: in quotes, on one line, not too long."""
    return shortened(repr(words), most)


def plural(count: int, word: str) -> str:
    """A count with its word, as in "1 state", "2 states"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def and_more(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
