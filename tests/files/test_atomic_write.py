"""A file or a folder appears whole or not at all, whatever is there and whenever it is killed."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rome_widgets.errors import SaveFailed
from rome_widgets.files import atomic_write
from rome_widgets.files.atomic_write import recover, write_folder, write_whole
from tests.helpers.counts import WRITER_KILLS

NEW = {"config.json": "new", "model.safetensors": "new", "sub/template.txt": "new"}


def writing(files):
    def write(to):
        for name, text in files.items():
            (to / name).parent.mkdir(exist_ok=True)
            (to / name).write_text(text)

    return write


def old_weights(name):
    return name.startswith("model-")


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    (made / "sub" / "mine").mkdir(parents=True)
    (made / "config.json").write_text("old")
    (made / "model-1.safetensors").write_text("old")
    (made / "notes.txt").write_text("mine")
    (made / "sub" / "mine" / "log").write_text("mine")
    return made


AFTER = {**NEW, "notes.txt": "mine", "sub/mine/log": "mine"}


@pytest.fixture(params=[True, False], ids=["exchanged", "renamed twice"])
def in_one_step(request, monkeypatch):
    """Whether the system exchanges two folders in one step."""
    if not request.param:
        monkeypatch.setattr(atomic_write, "_exchanged", lambda one, other: False)


# --------------------------------------------------------------------------------- one file


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"before")
    assert path.stat().st_mode & 0o444 == 0o444

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(SaveFailed, match="No space left"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_and_a_folder_for_a_file_are_refused(tmp_path):
    for path in (tmp_path / "nowhere" / "file", tmp_path):
        with pytest.raises(SaveFailed, match="Choose a folder"):
            write_whole(path, b"x")


def test_a_link_is_followed_and_stays(tmp_path):
    target, link, dangling = tmp_path / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"before")
    link.symlink_to(target)
    dangling.symlink_to("not yet")
    for path in (link, dangling):
        write_whole(path, b"after")
        assert path.is_symlink()
        assert path.read_bytes() == b"after"
    assert target.read_bytes() == (tmp_path / "not yet").read_bytes() == b"after"
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(SaveFailed):
        write_whole(tmp_path / "round", b"x")


def test_permissions_of_a_file_that_is_replaced_stay(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o640)
    write_whole(path, b"after")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def make_special(kind, path):
    if kind == "read-only":
        path.write_bytes(b"mine")
        path.chmod(0o444)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(os.devnull)
    else:
        server = __import__("socket").socket(__import__("socket").AF_UNIX)
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is short
        server.bind(path.name)
        os.chdir(here)
        server.close()


KINDS = ["read-only", "fifo", "device", "socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_or_special_file_is_never_replaced(tmp_path, kind):
    path = tmp_path / "file"
    make_special(kind, path)
    before = path.stat()
    with pytest.raises(SaveFailed, match=r"read-only|special file"):
        write_whole(path, b"after")
    assert os.path.samestat(path.stat(), before)
    assert list(tmp_path.iterdir()) == [path]


# -------------------------------------------------------------------------------- one folder


@pytest.mark.usefixtures("in_one_step")
def test_a_folder_is_replaced_and_what_else_was_in_it_stays(folder, tmp_path):
    write_folder(folder, writing(NEW), old_weights)
    assert contents(folder) == AFTER
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_without_any_of_the_files_stays_the_same_one(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = tmp_path.stat()
    write_folder(tmp_path, writing(NEW))
    assert os.path.samestat(tmp_path.stat(), before)
    assert contents(tmp_path) == {**NEW, "notes.txt": "mine"}


@pytest.mark.usefixtures("in_one_step")
def test_python_stays_where_it_stands(folder, monkeypatch):
    for place, name in ((folder, "."), (folder / "sub", "..")):
        monkeypatch.chdir(place)
        write_folder(Path(name), writing(NEW), old_weights)
        assert Path.cwd() == place
        assert contents(folder) == AFTER


def test_a_link_to_a_folder_is_followed_and_stays(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    folder.chmod(0o750)
    write_folder(link, writing(NEW), old_weights)
    assert link.is_symlink()
    assert contents(folder) == AFTER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


@pytest.mark.parametrize("kind", [*KINDS, "link", "folder"])
@pytest.mark.parametrize("name", ["config.json", "model-1.safetensors"])
def test_what_may_not_be_replaced_in_a_folder_leaves_it_as_it_was(folder, tmp_path, name, kind):
    (folder / name).unlink()
    if kind == "link":
        (tmp_path / "shared").write_text("shared")
        (folder / name).symlink_to(tmp_path / "shared")
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        make_special(kind, folder / name)
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    with pytest.raises(SaveFailed, match=f"{name} is"):
        write_folder(folder, writing(NEW), old_weights)
    assert {path: path.lstat() for path in tmp_path.rglob("*")}.keys() == before.keys()
    assert all(os.path.samestat(path.lstat(), was) for path, was in before.items())


def test_a_folder_that_is_read_only_is_left_alone(folder):
    folder.chmod(0o555)
    before = contents(folder)
    with pytest.raises(SaveFailed, match="read-only"):
        write_folder(folder, writing(NEW), old_weights)
    assert contents(folder) == before
    folder.chmod(0o755)


def test_links_and_pipes_beside_the_files_come_along(folder):
    (folder / "link").symlink_to("notes.txt")
    (folder / "to a folder").symlink_to("sub")
    os.mkfifo(folder / "pipe")
    write_folder(folder, writing(NEW), old_weights)
    assert os.readlink(folder / "link") == "notes.txt"  # noqa: PTH115
    assert (folder / "to a folder").is_symlink()
    assert (folder / "pipe").is_fifo()


def test_files_that_cannot_have_two_names_are_copied(folder, monkeypatch):
    def one_name_only(*_):
        raise OSError(atomic_write.errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", one_name_only)
    write_folder(folder, writing(NEW), old_weights)
    assert contents(folder) == AFTER


@pytest.mark.usefixtures("in_one_step")
def test_what_somebody_writes_there_meanwhile_stays(folder, monkeypatch):
    exchange = atomic_write._exchange

    def late(one, other):
        (folder / "sub" / "late").write_text("late")
        exchange(one, other)

    monkeypatch.setattr(atomic_write, "_exchange", late)
    write_folder(folder, writing(NEW), old_weights)
    assert contents(folder) == {**AFTER, "sub/late": "late"}


# -------------------------------------------------------------------------------------- kills

CHILD = """
import os, signal, sys
from pathlib import Path
from rome_widgets.files import atomic_write
target, at, two_steps = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "two"
if two_steps:
    atomic_write._exchanged = lambda one, other: False
count = 0
def step(event, args):
    global count
    if event in ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod"):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
def write(to):
    for name in ("config.json", "model.safetensors"):
        (to / name).write_text("new")
sys.addaudithook(step)
if sys.argv[4] == "file":
    atomic_write.write_whole(target, b"new")
else:
    atomic_write.write_folder(target, write, lambda name: name.startswith("model-"))
print(count)
"""


def killed(target, at, what, steps="one"):
    """How a writer ended that is killed at one of the calls it makes of the system."""
    command = [sys.executable, "-c", CHILD, str(target), str(at), steps, what]
    return subprocess.run(command, capture_output=True, text=True, check=False)


OLD = {"config.json": "old", "model-1.safetensors": "old"}
WRITTEN = {"config.json": "new", "model.safetensors": "new"}


@pytest.mark.parametrize("steps", ["one", "two"])
def test_a_writer_that_is_killed_leaves_the_old_or_the_new_and_the_next_one_sweeps(tmp_path, steps):
    target = tmp_path / "folder"

    def begin():
        for name, text in {**OLD, "notes.txt": "mine"}.items():
            target.mkdir(exist_ok=True)
            (target / name).write_text(text)
        (target / "model.safetensors").unlink(missing_ok=True)

    begin()
    calls = int(killed(target, 0, "folder", steps).stdout)
    for at in (1 + number * calls // WRITER_KILLS for number in range(WRITER_KILLS)):
        begin()
        assert killed(target, at, "folder", steps).returncode == -signal.SIGKILL
        if steps == "two":
            recover(target)
        found = contents(target)
        assert found.pop("notes.txt") == "mine"
        assert found in (OLD, WRITTEN)
        assert killed(target, 0, "folder", steps).returncode == 0
        assert contents(target) == {**WRITTEN, "notes.txt": "mine"}
        assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_of_a_file_leaves_the_old_or_the_new(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    calls = int(killed(path, 0, "file").stdout)
    for at in (1 + number * calls // WRITER_KILLS for number in range(WRITER_KILLS)):
        path.write_text("old")
        assert killed(path, at, "file").returncode == -signal.SIGKILL
        assert path.read_text() in ("old", "new")
        write_whole(path, b"next")
        assert list(tmp_path.iterdir()) == [path]


def test_nobody_sweeps_what_a_living_writer_has_begun(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def slow(to):
        (to / "config.json").write_text("slow")
        begun.set()
        assert go_on.wait(20)

    target = tmp_path / "folder"
    thread = threading.Thread(target=lambda: write_folder(target, slow))
    thread.start()
    assert begun.wait(20)
    other = multiprocessing.get_context("spawn").Process(target=_write_quickly, args=(target,))
    other.start()
    other.join(60)
    assert contents(target) == {"config.json": "quick"}
    go_on.set()
    thread.join()
    assert contents(target) == {"config.json": "slow"}
    assert list(tmp_path.iterdir()) == [target]


def _write_quickly(target):
    write_folder(target, writing({"config.json": "quick"}))


def test_only_what_is_named_like_ours_is_swept(tmp_path):
    mine = [f".file.{'0' * 31}.partial", f".file.{'0' * 32}", f".other.{'0' * 32}.partial"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".file.{'0' * 32}.partial").write_text("left over")
    write_whole(tmp_path / "file", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *mine}


def test_without_locks_everything_works_and_nothing_is_swept(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(atomic_write.errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    left = tmp_path / f".file.{'0' * 32}.partial"
    left.write_text("somebody's, perhaps")
    write_whole(tmp_path / "file", b"x")
    write_folder(tmp_path / "folder", writing(NEW))
    assert left.exists()
    assert contents(tmp_path / "folder") == NEW
