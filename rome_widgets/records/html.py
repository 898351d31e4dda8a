"""Small HTML tables, as records show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(
    rows: Iterable[Sequence[Any]], head: Sequence[Any] | None = None, caption: str | None = None
) -> str:
    """Write a table as HTML; every cell is text, never markup.

    Args:
        rows: Cells by row.
        head: Names of the columns.
        caption: What the table is of.

    Example:
        >>> table([["a < b", 1]])
        '<table><tbody><tr><td>a &lt; b</td><td>1</td></tr></tbody></table>'
    """
    title = "" if caption is None else f"<caption>{escape(caption)}</caption>"
    names = "" if head is None else f"<thead>{_row(head, 'th')}</thead>"
    body = "".join(_row(row, "td") for row in rows)
    return f"<table>{title}{names}<tbody>{body}</tbody></table>"


def _row(cells: Sequence[Any], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
