"""The log of a sweep: a line per fact, flushed to disk before it counts, to go on from. No torch.

Every line is the beginning of the SHA-256 of its text, and the text, JSON. The first says what is
swept, and how. A process that is killed on its way leaves at most one torn line, the last, which
whoever goes on drops; the facts before it are whole. Only one process at a time writes a log: the
system lets go of its lock when a process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rome_widgets.errors import RomeWidgetsError, SaveFailed, SweepChanged, SweepFileError, said
from rome_widgets.files.atomic_write import REMEDY, make_folder
from rome_widgets.files.sweep_file import fact_from_json, fact_to_json
from rome_widgets.records.html import plural
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.states import Kind
from rome_widgets.records.swept_fact import SweptFact

try:
    import fcntl
except ImportError:  # Windows: nobody can say there who else writes
    fcntl = None

logger = logging.getLogger(__name__)

NAME = "sweep.log"
VERSION = 1
_DIGITS = 16
"""Of the checksum of a line."""


@contextmanager
def opened_log(
    folder: Path,
    about: Mapping[str, Any],
    kinds: Sequence[Kind],
    n_layers: int,
    batch_size: int,
) -> Iterator[SweepLog]:
    """The log in a folder, new or to go on from, for as long as the block runs.

    Args:
        folder: Made where it is not there.
        about: What decides the results, as JSON can hold it; a log that was begun with something
            else is not gone on with.
        kinds: Of the sweep.
        n_layers: Of the model.
        batch_size: Facts that are traced together; a log that is gone on with has its own.

    Raises:
        SaveFailed: It cannot be written, or another process writes it.
        SweepChanged: It was begun with other facts, settings or model.
        SweepFileError: A line is damaged. The log was left as it is.
    """
    make_folder(folder)
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        _lock(descriptor, path)
        log = SweepLog(path, descriptor, batch_size)
        log.begin(about, kinds, n_layers)
        yield log
    finally:
        os.close(descriptor)


class SweepLog:
    """A log that is open; see `opened_log`.

    Attributes:
        done: By number, the facts that it holds.
        batch_size: With which it was begun: other batches round otherwise.
    """

    def __init__(self, path: Path, descriptor: int, batch_size: int) -> None:
        self._path, self._descriptor = path, descriptor
        self.batch_size = batch_size
        self._end = 0
        """Bytes of whole lines."""
        self.done: dict[int, SweptFact] = {}

    def begin(self, about: Mapping[str, Any], kinds: Sequence[Kind], n_layers: int) -> None:
        """Read what is there, drop a torn end, and write the first line of a new log."""
        header = {
            "rome_widgets.sweep_log": VERSION,
            "about": about,
            "batch_size": self.batch_size,
        }
        try:
            blob = self._path.read_bytes()
        except OSError as error:
            raise _not_written(self._path, error) from None
        stated = list(self._whole_lines(blob))
        if stated:
            self._check_header(stated[0], json.loads(json.dumps(header)))
            for number, each in enumerate(stated[1:], 2):
                self._take(number, each, kinds, n_layers)
        if self._end < len(blob):
            logger.warning(
                "The last line of %s is torn, as of a process that was killed: it is dropped, and "
                "its fact is traced again.", self._path,
            )  # fmt: skip
            self._cut()
        if not stated:
            self._append(header)
            _flush_folder(self._path.parent)

    def _whole_lines(self, blob: bytes) -> Iterator[Any]:
        """What the lines state; the last may be torn.

        Raises:
            SweepFileError: Another one is damaged.
        """
        lines = blob.split(b"\n")
        for number, line in enumerate(lines, 1):
            digits, text = line[:_DIGITS], line[_DIGITS + 1 :]
            if digits == _checksum(text) and number < len(lines):
                self._end += len(line) + 1
                yield json.loads(text)
            elif any(lines[number:]):
                raise SweepFileError(
                    f"Line {number} of {self._path} does not match its checksum.",
                    "Lines as they were written were wanted; the log was left as it is.",
                    "Take this line out, and its fact is traced again; or give another folder.",
                )
            else:
                return

    def _check_header(self, found: Any, wanted: Mapping[str, Any]) -> None:
        version = found.get("rome_widgets.sweep_log") if isinstance(found, dict) else None
        if version != VERSION:
            raise SweepFileError(
                f"{self._path} states the version {said(version)}.", f"{VERSION} was wanted."
            )
        about, ours = found.get("about"), wanted["about"]
        if about == ours:
            self.batch_size = whole_number(found.get("batch_size"), "The batch size", 1)
            return
        known = about if isinstance(about, dict) else {}
        changed = [name for name in {**ours, **known} if known.get(name) != ours.get(name)]
        raise SweepChanged(
            f"The log {self._path} was begun with other {', '.join(changed)}: "
            + "; ".join(f"{said(known.get(n))}, now {said(ours.get(n))}" for n in changed[:3])
            + ".",
            "The same facts, settings and model were wanted; nothing was changed.",
            "Give another folder, or sweep as before.",
        )

    def _take(self, number: int, stated: Any, kinds: Sequence[Kind], n_layers: int) -> None:
        try:
            fact = fact_from_json(stated, kinds, n_layers)
        except RomeWidgetsError as error:
            raise SweepFileError(
                f"Line {number} of {self._path} holds no fact of this sweep. {error}"
            ) from None
        if fact.number in self.done:
            raise SweepFileError(
                f"{self._path} holds fact {fact.number} twice.",
                "Every fact once was wanted; the log was left as it is.",
                f"Take line {number} out.",
            )
        self.done[fact.number] = fact

    def add(self, fact: SweptFact) -> None:
        """Write a fact; once this returns, it is on the disk.

        Raises:
            SaveFailed: It was not written; those before it are kept.
        """
        self._append(fact_to_json(fact))
        self.done[fact.number] = fact

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
            kept = f"{plural(len(self.done), 'fact')} before it are kept in {self._path}"
            raise SaveFailed(
                f"A fact was not recorded: {error.strerror or error}; {kept}.",
                "A folder that is writable and has space was wanted.",
                "Make room, and run the same sweep again: it goes on from there.",
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
            f"{path} is being written by another sweep.",
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
