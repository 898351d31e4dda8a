"""What stands in a file of records: JSON, a JSON value a line, CSV, or parquet; told by its name.

What is no such file (a page of HTML, the pointer that Git LFS leaves, a file that ends in the
middle) is named. Reading runs no code of the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from rome_widgets.errors import DatasetError, MissingExtra

if TYPE_CHECKING:
    import pandas as pd

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
STRANGERS = {b"\x1f\x8b": "a gzip archive", b"PK\x03\x04": "a zip archive"}
"""How some files begin that are downloaded in place of what is in them."""


class RawRecord(NamedTuple):
    """A record as it stands in its file."""

    place: str
    """File and number, counted from 0."""
    value: Any
    wrong: str = ""
    """Why it cannot be read, if so."""


def read_raw(blob: bytes, name: str) -> list[RawRecord]:
    """The records of a file.

    Args:
        blob: What is in it.
        name: Its name, whose ending tells the format: .json, .jsonl, .csv, .tsv, .parquet; what has
            another is taken for JSON.

    Raises:
        DatasetError: It is something else, or torn.
        MissingExtra: What reads parquet is not installed.
    """
    refuse_stranger(blob, name)
    ending = PurePath(name).suffix.lower()
    if ending == ".parquet" or blob.startswith(b"PAR1"):
        return raw_rows(_parquet(blob, name), name)
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{name} is no text in UTF-8: byte {error.start} is not.", "UTF-8 was wanted."
        ) from None
    read: Callable[[str, str], list[RawRecord]] = {
        ".jsonl": _lines,
        ".ndjson": _lines,
        ".csv": _csv,
        ".tsv": _csv,
    }.get(ending, _json)
    return read(text, name)


def refuse_stranger(blob: bytes, name: str) -> None:
    """Refuse what often comes in the place of a file.

    Raises:
        DatasetError: It is that.
    """
    begins = blob[:200].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not begins:
        raise DatasetError(f"{name} is empty.", "Records were wanted.")
    if begins.startswith(LFS_POINTER):
        raise DatasetError(
            f"{name} is a pointer of Git LFS: it names the file, and is not it.",
            "The file itself was wanted.",
            "Fetch it with 'git lfs pull', or from where the data set is published.",
        )
    if begins.startswith(b"<"):
        raise DatasetError(
            f"{name} is HTML or XML, a page about the file perhaps.",
            "The file itself was wanted.",
            "Take the address that its download button has.",
        )
    for start, what in STRANGERS.items():
        if begins.startswith(start):
            raise DatasetError(f"{name} is {what}.", "What is in it was wanted.", "Unpack it.")


def raw_rows(frame: pd.DataFrame, name: str) -> list[RawRecord]:
    """The rows of a table of pandas; what is missing in it is None."""
    columns = [str(column) for column in frame.columns]
    cells = frame.astype(object).where(frame.notna(), None)
    return [
        RawRecord(f"{name}, row {number}", dict(zip(columns, row, strict=True)))
        for number, row in enumerate(cells.itertuples(index=False, name=None))
    ]


# --------------------------------------------------------------------------------- by format


def _json(text: str, name: str) -> list[RawRecord]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and "\n" in text[: error.pos]:
            return _lines(text, name)
        raise _no_json(error, text, name) from None
    except (ValueError, RecursionError) as error:  # numbers too long, lists too deep
        raise DatasetError(f"{name} is JSON that cannot be read: {error}.") from None
    some = found if isinstance(found, list) else [found]
    return [RawRecord(f"{name}, record {number}", each) for number, each in enumerate(some)]


def _no_json(error: json.JSONDecodeError, text: str, name: str) -> DatasetError:
    rest = text[error.pos :].rstrip()
    cut = any(word.startswith(rest) for word in ("true", "false", "null", "-"))
    if cut or error.msg.startswith("Unterminated string"):
        return DatasetError(
            f"{name} ends in the middle, after {len(text)} characters.",
            "A whole file was wanted.",
            "Download or copy it again.",
        )
    return DatasetError(
        f"{name} is no JSON: {error.msg} in line {error.lineno}.", "Records in JSON were wanted."
    )


def _lines(text: str, name: str) -> list[RawRecord]:
    """A JSON value a line; a line that is none is one bad record, as where a writer was killed."""
    found = []
    for number, line in enumerate(text.split("\n")):
        place = f"{name}, line {number}"
        if line.strip():
            try:
                found.append(RawRecord(place, json.loads(line)))
            except (ValueError, RecursionError) as error:
                found.append(RawRecord(place, None, f"The line is no JSON: {error}."))
    return found


def _csv(text: str, name: str) -> list[RawRecord]:
    """A row of names, then a row a record; a cell that is a list in JSON is a list."""
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if name.lower().endswith(".tsv") else ","
    )
    try:
        return list(_rows(rows, name))
    except csv.Error as error:
        raise DatasetError(
            f"{name} is no table: {error}, in line {rows.line_num}.", "CSV was wanted."
        ) from None


def _rows(rows: Iterator[list[str]], name: str) -> Iterator[RawRecord]:
    columns = next(rows, [])
    number = -1
    for row in rows:
        if not row:
            continue
        number += 1
        place = f"{name}, row {number}"
        if len(row) != len(columns):
            wrong = f"It has {len(row)} cells. As many as columns, {len(columns)}, were wanted."
            yield RawRecord(place, None, wrong)
        else:
            yield RawRecord(place, dict(zip(columns, map(_cell, row), strict=True)))


def _cell(text: str) -> Any:
    """Nothing for an empty cell."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):  # a text that begins with a bracket
            pass
    return text or None


def _parquet(blob: bytes, name: str) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(blob))
    except ImportError:
        raise MissingExtra(
            "pyarrow is not installed.",
            "It reads parquet files.",
            "Run: pip install pyarrow.",
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # a torn file makes whoever reads it fail in its own way
        raise DatasetError(
            f"{name} is no parquet file, or a torn one ({type(error).__name__}).",
            "A whole parquet file was wanted.",
            "Download or copy it again.",
        ) from None
