"""Records of facts out of a file, a folder, an address or a table: those that can be read.

The others are told with their places, and end nothing, unless there are no more than they.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rome_widgets.errors import ArgumentError, DatasetError, PromptError, RomeWidgetsError, said
from rome_widgets.files.download import check_digest, fetch, is_url, name_of
from rome_widgets.files.raw_records import RawRecord, raw_rows, read_raw
from rome_widgets.model.progress_bar import counting
from rome_widgets.records.arguments import a_path
from rome_widgets.records.fact_record import FactRecord, record_of
from rome_widgets.records.fact_records import BadRecord, FactRecords
from rome_widgets.records.html import plural
from rome_widgets.records.schemas import SCHEMAS, TABLE, Schema


def records_of(raws: Sequence[RawRecord], forms: Sequence[Schema], source: str) -> FactRecords:
    """Those that can be read; the others are told with their places.

    Raises:
        DatasetError: None can be.
    """
    found, left_out = [], []
    for raw in raws:
        try:
            if raw.wrong:
                raise PromptError(raw.wrong)
            found.append(record_of(_form_of(raw.value, forms).read(raw.value)))
        except RomeWidgetsError as error:
            left_out.append(BadRecord(raw.place, str(error)))
    if not found:
        first = f" The first is {left_out[0].place}: {left_out[0].reason}" if left_out else ""
        raise DatasetError(
            f"None of the {plural(len(raws), 'record')} of {source} can be read.{first}",
            f"Records of {_named(forms)} were wanted.",
        )
    return FactRecords(found, source, left_out)


def _form_of(value: Any, forms: Sequence[Schema]) -> Schema:
    """That of the forms which a record has; a table may have columns by which others are told.

    Raises:
        PromptError: It has another, or none.
    """
    if not isinstance(value, Mapping):
        raise PromptError(f"It is {said(value)}.", "A mapping of fields was wanted.")
    known = (TABLE,) if TABLE in forms else SCHEMAS[:-1]
    found = next((form.name for form in known if form.keys <= value.keys()), None)
    if found is None:
        missing = sorted(forms[0].keys - value.keys())
        raise PromptError(
            f"It has the fields {said(sorted(map(str, value)))}.",
            f"{missing[0]!r} was wanted, too.",
        )
    for form in forms:
        if form.name == found:
            return form
    raise PromptError(f"It is a record of {found}.")


def _named(forms: Sequence[Schema]) -> str:
    return " or ".join(form.name for form in forms)


def raw_file(source: Any, sha256: str | None, progress: Any) -> list[RawRecord]:
    """The records of a file, or of what an address has.

    Raises:
        DatasetError: Another file than was wanted, or a torn one.
        DownloadFailed: No network, or no such file there.
    """
    if is_url(source):
        with counting(progress, "Downloading", "MiB") as steps:
            blob = fetch(
                source, sha256, lambda done, total: steps.at(done >> 20, total and total >> 20)
            )
        return read_raw(blob, name_of(source))
    path = _expanded(a_path(DatasetError, "file")(source, "source"))
    try:
        blob = path.read_bytes()
    except OSError as error:
        near = _near(path) if isinstance(error, FileNotFoundError) else None
        raise DatasetError(
            f"{said(str(path))} cannot be read: {error.strerror or error}.",
            "The path of a file, or an address that begins with https://, was wanted.",
            f"Did you mean {near!r}?" if near else "Check the path.",
        ) from None
    check_digest(blob, sha256, str(path))
    return read_raw(blob, path.name)


def raw_files(source: Any, ending: str, sha256: str | None, progress: Any) -> list[RawRecord]:
    """The same of a folder: of its files with this ending, by name; one that is torn is told."""
    if is_url(source) or not _is_folder(a_path(DatasetError, "file or folder")(source, "source")):
        return raw_file(source, sha256, progress)
    found: list[RawRecord] = []
    for file in sorted(_expanded(Path(source)).rglob(f"*{ending}")):
        try:
            found += raw_file(file, sha256, progress)
        except DatasetError as error:
            found.append(RawRecord(str(file), None, str(error)))
    return found


def raw_table(source: Any, sha256: str | None, progress: Any) -> tuple[list[RawRecord], str]:
    """The records of a table, whatever it is, and what to call it."""
    if isinstance(source, str | os.PathLike):
        return raw_file(source, sha256, progress), os.fspath(source)
    if callable(getattr(source, "itertuples", None)) and hasattr(source, "columns"):
        try:
            return raw_rows(source, "a table"), "a table"
        except Exception as error:  # something that only looks like a table of pandas
            raise DatasetError(f"{said(source)} cannot be read: {error}.") from None
    try:
        values = list(source)
    except Exception:
        raise DatasetError(
            f"{said(source)} is no table.",
            "A DataFrame, records, or the path or address of a file was wanted.",
        ) from None
    return [RawRecord(f"record {n}", value) for n, value in enumerate(values)], "a table"


def field_columns(columns: Any) -> dict[str, str]:
    """Their names by field."""
    if columns is None:
        return {}
    known = {*FactRecord.__dataclass_fields__} - {"along_with"}
    if (
        not isinstance(columns, Mapping)
        or not {*columns} <= known
        or not all(isinstance(each, str) for each in columns.values())
    ):
        raise ArgumentError(
            f"columns is {said(columns)}.",
            f"A mapping from fields to columns was wanted; fields are {', '.join(sorted(known))}.",
        )
    return dict(columns)


def renamed(row: Any, names: Mapping[str, str]) -> Any:
    """A row by the names of fields; what is no row as it is."""
    if not (names and isinstance(row, Mapping)):
        return row
    taken = {field: row[column] for field, column in names.items() if column in row}
    return {name: value for name, value in row.items() if name not in names} | taken


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # Python's word for a home that cannot be found
        return path


def _is_folder(path: Path) -> bool:
    try:
        return _expanded(path).is_dir()
    except OSError:
        return False


def _near(path: Path) -> str | None:
    """A file of a name like this one, beside where it should be."""
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return None
    return next(iter(difflib.get_close_matches(path.name, names, n=1)), None)
