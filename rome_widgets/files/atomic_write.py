"""Atomic writes: a file, or the files of a folder, appear whole or not at all.

What is written lies beside its place first, and takes it in one step. A process that is killed on
the way leaves the old and, beside it, what it had begun: `.NAME.….partial`. Whoever writes there
next sweeps that away; what is being written by a living process it knows by the lock on it, which
the system lets go of when a process ends, however it ends.

Links: the path that was given is followed, so that what it leads to is written and the link stays.
Links inside a folder are not: what they lead to may be shared, as in the cache of the hub.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rome_widgets.errors import SaveFailed

try:
    import fcntl
except ImportError:  # Windows: nothing is swept there, as nobody can say what still lives
    fcntl = None

REMEDY = "Choose a folder that exists, is writable and has space."
ANOTHER = "Choose another path, or make it writable."
ONE_NAME_ONLY = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)
"""What systems say where a file cannot have two names."""
HEADS = ("config.json", "adapter_config.json")
"""Names of files without which nothing else in a folder is read as a model: they come last."""


def write_whole(path: Path, blob: bytes) -> None:
    """Write beside the target, flush to disk, then rename over it.

    Raises:
        SaveFailed: Nothing was written; what was there is unchanged. A file that is read-only, and
            what is no file, such as a pipe or a device, is never replaced.
    """
    try:
        target = Path(os.path.realpath(path))
        if not target.is_dir():  # the system's own word for a folder comes below
            _check_replaceable(target)
        _sweep(target)
        with _place_beside(target, is_folder=False) as beside:
            with beside.open("wb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
    except SaveFailed:
        raise
    except OSError as error:
        raise _failed(path, error) from None


def write_folder(
    folder: Path,
    write: Callable[[Path], None],
    outdated: Callable[[str], bool] = lambda name: False,
) -> None:
    """Let `write` fill a new folder beside the target, which then takes its place in one step.

    Files that were in the folder before come along, but for those of the same names, and those that
    are `outdated`: whoever reads the folder would take them for the new ones. Where none of these
    is there yet, the new files are moved in one by one, those of `HEADS` last, and the folder stays
    the same one.

    Args:
        folder: Made where it is not there, with the folders above it.
        write: Fills the folder that it is given.
        outdated: Whether a file of this name, if it was not written now, has to go.

    Raises:
        SaveFailed: The folder could not be written; it is as it was.
    """
    try:
        target = Path(os.path.realpath(folder))
        recover(target)
        if os.path.lexists(target) and not target.is_dir():
            raise SaveFailed(f"{folder} is a file.", "A folder was wanted.", "Choose another path.")
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        with _place_beside(target, is_folder=True) as beside:
            write(beside)
            made = sorted(
                (path.relative_to(beside) for path in beside.rglob("*") if path.is_file()),
                key=lambda file: file.name in HEADS,
            )
            for file in made:
                _flush(beside / file)
            _put(beside, target, made, outdated)
    except SaveFailed:  # `write` said more
        raise
    except OSError as error:
        raise _failed(folder, error) from None


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is not there.

    Raises:
        SaveFailed: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(folder, error) from None


def recover(folder: Path) -> None:
    """Put a folder back that a process left away when it was killed between two renamings.

    Only where the system cannot exchange two folders in one step is there such a moment.
    """
    if not os.path.lexists(folder):
        for aside in _leftovers(folder, ".aside"):
            with suppress(OSError):
                aside.rename(folder)
                return


# ------------------------------------------------------------------------------- in one step


def _put(beside: Path, folder: Path, made: list[Path], outdated: Callable[[str], bool]) -> None:
    """Put what was written into its place."""
    if not folder.exists():
        beside.rename(folder)
        return
    _check_writable(folder)
    there = [file for file in made if os.path.lexists(folder / file)]
    there += [Path(each.name) for each in folder.iterdir() if outdated(each.name)]
    for file in there:
        _check_replaceable(folder / file)
    if not there:
        for file in made:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (beside / file).replace(folder / file)
        return
    _take_along(folder, beside, {*there})
    _look_alike(folder, beside)
    here = _stands_in(folder)
    _exchange(beside, folder)
    if here is not None:
        os.chdir(here)  # else Python stands in the folder that goes
    _take_along(beside, folder, {*there})  # what somebody put there meanwhile


def _take_along(source: Path, target: Path, but: set[Path]) -> None:
    """Give the files of one folder that another lacks to both, by a second name for each.

    What is mounted in the folder is refused: with the folder around it, it would go.
    """
    for root, folders, files in os.walk(source):
        inside = Path(root).relative_to(source)
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in (each for each in folders if each not in links):
            if (Path(root) / name).is_mount():
                raise SaveFailed(f"Something is mounted in {Path(root) / name}.", remedy=ANOTHER)
            if not (target / inside / name).exists():
                (target / inside / name).mkdir()
                _look_alike(source / inside / name, target / inside / name)
        for file in (inside / name for name in (*files, *links)):
            if file not in but and not os.path.lexists(target / file):
                _give_second_name(source / file, target / file)


def _give_second_name(file: Path, name: Path) -> None:
    if file.is_symlink():
        name.symlink_to(file.readlink())
        return
    try:
        os.link(file, name)
    except FileNotFoundError:  # it was somebody's for a moment
        pass
    except OSError as error:
        if error.errno not in ONE_NAME_ONLY or not file.is_file():
            raise
        shutil.copy2(file, name)


def _look_alike(folder: Path, other: Path) -> None:
    """Give another folder the permissions and, where one may, the owner of this one."""
    shutil.copystat(folder, other)
    with suppress(OSError, AttributeError):
        os.chown(other, folder.stat().st_uid, folder.stat().st_gid)


def _stands_in(folder: Path) -> str | None:
    """Python's own folder, where that is this one or inside of it."""
    with suppress(OSError):
        here = os.path.realpath(os.curdir)
        return here if Path(here).is_relative_to(folder) else None
    return None


def _exchange(one: Path, other: Path) -> None:
    """Exchange two folders in one step; where the system cannot, in two, which `recover` knows."""
    if _exchanged(os.fsencode(one), os.fsencode(other)):
        return
    aside = one.with_suffix(".aside")
    other.rename(aside)
    try:
        one.rename(other)
    except BaseException:
        aside.rename(other)
        raise
    aside.rename(one)


def _exchanged(one: bytes, other: bytes) -> bool:
    here, exchange, swap = -100, 2, 2  # AT_FDCWD, RENAME_EXCHANGE; and RENAME_SWAP of macOS
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return library.renamex_np(one, other, swap) == 0
        return library.renameat2(here, one, here, other, exchange) == 0
    return False


# ------------------------------------------------------------------------- what may be replaced


def _check_replaceable(path: Path) -> None:
    """Refuse to write over what is no plain file, or is read-only."""
    if not os.path.lexists(path):
        return
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        what = "link" if stat.S_ISLNK(mode) else "folder" if stat.S_ISDIR(mode) else "special file"
        raise SaveFailed(f"{path} is a {what}.", "A plain file, or none, was wanted.", ANOTHER)
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Also to root, who may write everything, what nobody may write is read-only."""
    if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):
        raise SaveFailed(f"{path} is read-only.", "One that may be changed was wanted.", ANOTHER)


# --------------------------------------------------------------------------- beside its place


@contextmanager
def _place_beside(path: Path, *, is_folder: bool) -> Iterator[Path]:
    """A new file or folder beside a path, locked for as long as the block runs, and gone after."""
    while True:
        beside = path.with_name(f"{_stem(path)}{uuid.uuid4().hex}.partial")
        if is_folder:
            beside.mkdir()
        else:
            beside.open("xb").close()
        lock = _locked(beside)
        if lock is not None:
            break  # else somebody who sweeps was faster
    try:
        yield beside
    finally:
        _remove(beside)
        if lock >= 0:
            os.close(lock)


def _sweep(path: Path) -> None:
    """Remove what killed processes left beside a path."""
    for kind in (".partial", ".aside"):
        for left in _leftovers(path, kind):
            lock = _locked(left)
            if lock is not None and lock >= 0:
                _remove(left)
                os.close(lock)


def _leftovers(path: Path, kind: str) -> list[Path]:
    with suppress(OSError):
        names = (each.name for each in os.scandir(path.parent))
        return [
            path.with_name(name)
            for name in names
            if name.startswith(_stem(path))
            and name.endswith(kind)
            and len(name) == len(_stem(path)) + 32 + len(kind)
        ]
    return []


def _stem(path: Path) -> str:
    return f".{path.name[:40]}."  # a name has an end, and this one gets longer


def _locked(path: Path) -> int | None:
    """A descriptor that keeps a file or folder locked; None where another has it, or it is gone.

    -1 where there are no locks.
    """
    if fcntl is None:
        return -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
        found = None
    except (BlockingIOError, FileNotFoundError):
        found = None
    except OSError:  # a file system without locks
        found = -1
    os.close(descriptor)
    return found


def _remove(path: Path) -> None:
    with suppress(OSError):  # such as a file where a folder was wanted: said elsewhere
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, error: OSError) -> SaveFailed:
    return SaveFailed(f"{path} was not written: {error.strerror or error}.", remedy=REMEDY)
