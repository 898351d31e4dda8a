"""Small tables for notebooks: every text is escaped, and styles are inline and without colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top;border:0"


def table(
    rows: Iterable[Sequence[Any]], head: Sequence[Any] | None = None, caption: str | None = None
) -> str:
    """An HTML table of texts.

    Args:
        rows: Per row its cells; each is shown as `str` says.
        head: The names of the columns.
        caption: What stands above.
    """
    above = "" if caption is None else f"<caption style='{_CELL}'>{escape(caption)}</caption>"
    names = "" if head is None else _row(head, "th")
    body = "".join(_row(row, "td") for row in rows)
    style = "border-collapse:collapse;border:0;background:none;color:inherit"
    return f"<table style='{style}'>{above}{names}{body}</table>"


def _row(cells: Sequence[Any], tag: str) -> str:
    inner = "".join(f"<{tag} style='{_CELL}'>{escape(str(cell))}</{tag}>" for cell in cells)
    return f"<tr style='background:none'>{inner}</tr>"
