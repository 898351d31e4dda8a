"""What a long run keeps: its rows as they are done, what decides them, and its files in the end.

Sweeps and evaluations are kept alike, in a folder of their own; without one, in memory.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from rome_widgets.errors import MissingExtra
from rome_widgets.files.run_log import LogKind, RunLog, opened_log
from rome_widgets.model.base_weights import digest_of_weights
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.precision import reduced_precision

Row = TypeVar("Row")


class RowsInMemory(Generic[Row]):
    """The rows of a run without a folder; used as `RunLog`.

    Attributes:
        done: By key, the rows that there are.
        kept: What the run was begun with.
    """

    def __init__(self, kind: LogKind[Row], kept: Mapping[str, Any]) -> None:
        self._kind, self.kept = kind, kept
        self.done: dict[Hashable, Row] = {}

    def add(self, row: Row) -> None:
        """See `RunLog.add`."""
        self.done[self._kind.key(row)] = row


def kept_rows(
    folder: Path | None,
    kind: LogKind[Row],
    about: Mapping[str, Any],
    kept: Mapping[str, Any] | None = None,
) -> AbstractContextManager[RunLog[Row] | RowsInMemory[Row]]:
    """Where the rows of a run are kept: the log of this very run, or memory; see `opened_log`."""
    if folder is None:
        return nullcontext(RowsInMemory(kind, kept or {}))
    return opened_log(folder, kind, about, kept)


def about_model(lm: LanguageModel) -> dict[str, Any]:
    """What of a model decides the results of a run, by name; as JSON can hold it."""
    return {
        "model": digest_of_weights(lm),
        "code": [lm.identity.built, lm.engine, *lm.foreign],
        "precision": [lm.device.type, str(lm.dtype), reduced_precision(lm.device, lm.dtype)],
    }


class _Result(Protocol):
    def save(self, path: Path) -> Path: ...

    def to_parquet(self, path: Path) -> Path: ...


def write_result(found: _Result, folder: Path, file_name: str) -> None:
    """The whole result beside its log; as parquet too, where pyarrow is installed."""
    place = folder / file_name
    found.save(place)
    try:
        found.to_parquet(place.with_suffix(".parquet"))
    except MissingExtra:
        return
