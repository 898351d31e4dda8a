"""The log of a long run: a line per row, flushed to disk before it counts, to go on from. No torch.

A row is what one piece of the run came to, such as a fact of a sweep. Every line is the beginning
of the SHA-256 of its text, and the text, JSON. The first says what is run, and how. A process that
is killed on its way leaves at most one torn line, the last, which whoever goes on drops; the rows
before it are whole. Only one process at a time writes a log: the system lets go of its lock when a
process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from rome_widgets.errors import RomeWidgetsError, RunChanged, RunFileError, SaveFailed, said
from rome_widgets.files.atomic_write import REMEDY, make_folder
from rome_widgets.records.html import plural

try:
    import fcntl
except ImportError:  # Windows: nobody can say there who else writes
    fcntl = None

logger = logging.getLogger(__name__)

VERSION = 1
_DIGITS = 16
"""Of the checksum of a line."""

Row = TypeVar("Row")


class LogKind(NamedTuple, Generic[Row]):
    """What the log of one kind of run holds."""

    name: str
    """Of the run, such as "sweep": its log is sweep.log, in a folder of its own."""
    row: str
    """What a row is, in one word, for messages."""
    key: Callable[[Row], Hashable]
    """Tells the rows apart; each is there once."""
    to_json: Callable[[Row], Mapping[str, Any]]
    """All of a row, as JSON can hold it."""
    from_json: Callable[[Any], Row]
    """The row back again, bit for bit; a `RomeWidgetsError` where it is something else."""

    @property
    def file_name(self) -> str:
        """In the folder of the run."""
        return f"{self.name}.log"


@contextmanager
def opened_log(
    folder: Path,
    kind: LogKind[Row],
    about: Mapping[str, Any],
    kept: Mapping[str, Any] | None = None,
) -> Iterator[RunLog[Row]]:
    """The log in a folder, new or to go on from, for as long as the block runs.

    Args:
        folder: Made where it is not there.
        kind: What it is of.
        about: What decides the results, as JSON can hold it; a log that was begun with something
            else is not gone on with.
        kept: What a new log is begun with; one that is gone on with has its own, whatever is
            given here, such as the size of its batches: other batches round otherwise.

    Raises:
        SaveFailed: It cannot be written, or another process writes it.
        RunChanged: It was begun with something else.
        RunFileError: A line is damaged. The log was left as it is.
    """
    make_folder(folder)
    path = folder / kind.file_name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        _lock(descriptor, path)
        log = RunLog(path, descriptor, kind)
        log.begin(about, kept or {})
        yield log
    finally:
        os.close(descriptor)


class RunLog(Generic[Row]):
    """A log that is open; see `opened_log`.

    Attributes:
        done: By key, the rows that it holds.
        kept: What it was begun with.
    """

    def __init__(self, path: Path, descriptor: int, kind: LogKind[Row]) -> None:
        self._path, self._descriptor, self._kind = path, descriptor, kind
        self._end = 0
        """Bytes of whole lines."""
        self.done: dict[Hashable, Row] = {}
        self.kept: Mapping[str, Any] = {}

    def begin(self, about: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        """Read what is there, drop a torn end, and write the first line of a new log."""
        header = {self._mark: VERSION, "about": about, "kept": kept}
        try:
            blob = self._path.read_bytes()
        except OSError as error:
            raise _not_written(self._path, error) from None
        stated = list(self._whole_lines(blob))
        self.kept = kept
        if stated:
            self._check_header(stated[0], json.loads(json.dumps(about)))
            for number, each in enumerate(stated[1:], 2):
                self._take(number, each)
        if self._end < len(blob):
            logger.warning(
                "The last line of %s is torn, as of a process that was killed: it is dropped, and "
                "its %s is computed again.", self._path, self._kind.row,
            )  # fmt: skip
            self._cut()
        if not stated:
            self._append(header)
            _flush_folder(self._path.parent)

    @property
    def _mark(self) -> str:
        """In the first line, with the version: whose log it is."""
        return f"rome_widgets.{self._kind.name}_log"

    def _whole_lines(self, blob: bytes) -> Iterator[Any]:
        """What the lines state; the last may be torn.

        Raises:
            RunFileError: Another one is damaged.
        """
        lines = blob.split(b"\n")
        for number, line in enumerate(lines, 1):
            digits, text = line[:_DIGITS], line[_DIGITS + 1 :]
            if digits == _checksum(text) and number < len(lines):
                self._end += len(line) + 1
                yield json.loads(text)
            elif any(lines[number:]):
                raise RunFileError(
                    f"Line {number} of {self._path} does not match its checksum.",
                    "Lines as they were written were wanted; the log was left as it is.",
                    f"Take this line out, and its {self._kind.row} is computed again; or give "
                    "another folder.",
                )
            else:
                return

    def _check_header(self, found: Any, ours: Mapping[str, Any]) -> None:
        version = found.get(self._mark) if isinstance(found, dict) else None
        if version != VERSION:
            raise RunFileError(
                f"{self._path} states the version {said(version)}.", f"{VERSION} was wanted."
            )
        about, kept = found.get("about"), found.get("kept")
        if about == ours and isinstance(kept, dict):
            self.kept = kept
            return
        known = about if isinstance(about, dict) else {}
        changed = [name for name in {**ours, **known} if known.get(name) != ours.get(name)]
        raise RunChanged(
            f"The log {self._path} was begun with other {', '.join(changed)}: "
            + "; ".join(f"{said(known.get(n))}, now {said(ours.get(n))}" for n in changed[:3])
            + ".",
            "The same were wanted; nothing was changed.",
            f"Give another folder, or repeat the {self._kind.name} as it was begun.",
        )

    def _take(self, number: int, stated: Any) -> None:
        kind = self._kind
        try:
            row = kind.from_json(stated)
        except RomeWidgetsError as error:
            raise RunFileError(
                f"Line {number} of {self._path} holds no {kind.row} of this {kind.name}. {error}"
            ) from None
        key = kind.key(row)
        if key in self.done:
            raise RunFileError(
                f"{self._path} holds {kind.row} {key} twice.",
                f"Every {kind.row} once was wanted; the log was left as it is.",
                f"Take line {number} out.",
            )
        self.done[key] = row

    def add(self, row: Row) -> None:
        """Write a row; once this returns, it is on the disk.

        Raises:
            SaveFailed: It was not written; those before it are kept.
        """
        self._append(self._kind.to_json(row))
        self.done[self._kind.key(row)] = row

    def _append(self, stated: Mapping[str, Any]) -> None:
        text = json.dumps(stated, ensure_ascii=True).encode()
        line = _checksum(text) + b" " + text + b"\n"
        try:
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                self._cut()
            row, done = self._kind.row, len(self.done)
            raise SaveFailed(
                f"A {row} was not recorded: {error.strerror or error}; {plural(done, row)} before "
                f"it are kept in {self._path}.",
                "A folder that is writable and has space was wanted.",
                f"Make room, and run the same {self._kind.name} again: it goes on from there.",
            ) from None
        self._end += len(line)

    def _cut(self) -> None:
        """Take away what is behind the last whole line."""
        try:
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
        except OSError as error:
            raise _not_written(self._path, error) from None


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_DIGITS].encode()


def _lock(descriptor: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SaveFailed(
            f"{path} is being written by another run.",
            "A log that nobody else writes was wanted.",
            "Wait for it, or give another folder.",
        ) from None
    except OSError:  # a file system without locks
        return


def _flush_folder(folder: Path) -> None:
    """So that the name of a new file outlasts a loss of power, where a system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _not_written(path: Path, error: OSError) -> SaveFailed:
    return SaveFailed(f"{path} cannot be written: {error.strerror or error}.", remedy=REMEDY)
