"""Atomic writes: a file, or the files of a folder, appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from rome_widgets.errors import SaveFailed

REMEDY = "Choose a folder that exists, is writable and has space."


def write_whole(path: Path, blob: bytes) -> None:
    """Write beside the target, flush to disk, then rename over it."""
    beside = _beside(path)
    try:
        with beside.open("xb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise _failed(path, error, REMEDY) from None
    finally:
        with suppress(OSError):  # such as a file where a folder was wanted: said above
            beside.unlink(missing_ok=True)


def write_folder(
    folder: Path,
    write: Callable[[Path], None],
    outdated: Callable[[str], bool] = lambda name: False,
) -> None:
    """Let `write` fill a new folder beside the target, then move its files there, each whole.

    Files that were in the folder before stay, but for those of the same names, and those that are
    `outdated`: whoever reads the folder would take them for the new ones.

    Args:
        folder: Made where it is not there, with the folders above it.
        write: Fills the folder that it is given.
        outdated: Whether a file of this name, if it was not written now, has to go.

    Raises:
        SaveFailed: The folder could not be written; it is as it was, unless a file of it could be
            replaced and the next one not.
    """
    if folder.exists() and not folder.is_dir():
        raise SaveFailed(f"{folder} is a file.", "A folder was wanted.", "Choose another path.")
    folder = folder.absolute()  # "." has no name to put another beside
    beside = _beside(folder)
    try:
        beside.mkdir(parents=True)
        write(beside)
        made = [path.relative_to(beside) for path in beside.rglob("*") if path.is_file()]
        folder.mkdir(exist_ok=True)
        _move(beside, folder, made)
        for old in [path for path in folder.iterdir() if outdated(path.name)]:
            if old.relative_to(folder) not in made:
                old.unlink()
    except SaveFailed:  # `write` said more
        raise
    except OSError as error:
        raise _failed(folder, error, REMEDY) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _move(source: Path, target: Path, files: Iterable[Path]) -> None:
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).replace(target / file)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def _failed(path: Path, error: OSError, remedy: str) -> SaveFailed:
    return SaveFailed(f"{path} was not written: {error.strerror or error}.", remedy=remedy)
