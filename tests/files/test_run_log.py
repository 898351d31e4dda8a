"""A log holds every row that it said it holds, whatever happens to its writer.

Shown on the log of a sweep; any other differs in its `LogKind` alone.
"""

import errno
import os

import pytest

from rome_widgets.errors import RunChanged, RunFileError, SaveFailed
from rome_widgets.files import run_log
from rome_widgets.files.run_log import opened_log
from rome_widgets.files.sweep_file import sweep_log
from rome_widgets.records.states import KINDS
from tests.files.test_sweep_file import same_fact
from tests.helpers.records import sweep_of, swept_fact_of

KIND = sweep_log(KINDS, 3)
NAME = "sweep.log"
ABOUT = {"model": "abc", "settings.seed": 1, "kinds": ("mlp",)}
FACTS = sweep_of("a\n⟨é⟩\ud800").facts


def log_in(folder, about=ABOUT, batch_size=4):
    return opened_log(folder, KIND, about, {"batch_size": batch_size})


def written(folder, facts=FACTS):
    with log_in(folder) as log:
        for fact in facts:
            log.add(fact)
    return (folder / NAME).read_bytes()


def done_in(folder):
    with log_in(folder) as log:
        return log.done


def test_what_was_added_is_there_the_next_time_bit_for_bit(tmp_path):
    folder = tmp_path / "not" / "there yet"
    written(folder, FACTS[:2])
    with log_in(folder, batch_size=9) as log:
        assert [*log.done] == [0, 1]
        assert log.kept == {"batch_size": 4}
        log.add(FACTS[2])
    found = done_in(folder)
    assert all(same_fact(found[fact.number], fact) for fact in FACTS[:3])


def test_every_fact_is_flushed_before_it_counts(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(file) or fsync(file))
    with log_in(tmp_path) as log:
        for number in range(3):
            before = len(flushed)
            log.add(swept_fact_of("x", number))
            assert len(flushed) == before + 1


def test_a_log_that_ends_anywhere_keeps_the_whole_lines_and_drops_the_rest(tmp_path, caplog):
    blob = written(tmp_path, FACTS[:3])
    ends = [place + 1 for place, byte in enumerate(blob) if byte == ord("\n")]
    for stop in sorted({0, 1, *range(7, len(blob), len(blob) // 40), *ends, ends[1] - 1}):
        (tmp_path / NAME).write_bytes(blob[:stop])
        caplog.clear()
        whole = [end for end in ends if end <= stop]
        assert len(done_in(tmp_path)) == max(0, len(whole) - 1)
        assert ("is torn" in caplog.text) == (stop not in {0, *ends})
        assert (tmp_path / NAME).read_bytes() == blob[: max(whole, default=ends[0])]


def test_garbage_at_the_end_is_torn_and_a_flipped_bit_before_it_is_damage(tmp_path):
    blob = written(tmp_path, FACTS[:2])
    (tmp_path / NAME).write_bytes(blob + b"\0" * 30)
    assert len(done_in(tmp_path)) == 2
    last = blob.rindex(b"\n", 0, -1)
    for place in range(0, last, max(1, last // 40)):
        broken = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        (tmp_path / NAME).write_bytes(broken)
        with pytest.raises(RunFileError, match="does not match its checksum"):
            done_in(tmp_path)
        assert (tmp_path / NAME).read_bytes() == broken


def test_a_line_that_was_taken_out_is_a_row_to_compute_again(tmp_path):
    lines = written(tmp_path).splitlines(keepends=True)
    (tmp_path / NAME).write_bytes(b"".join(lines[:2] + lines[3:]))
    assert [*done_in(tmp_path)] == [0, 2, 3]
    (tmp_path / NAME).write_bytes(b"".join([*lines, lines[2]]))
    with pytest.raises(RunFileError, match="holds fact 1 twice"):
        done_in(tmp_path)
    sealed = b'{"number": 1}'
    (tmp_path / NAME).write_bytes(lines[0] + run_log._checksum(sealed) + b" " + sealed + b"\n")
    with pytest.raises(RunFileError, match=r"Line 2 .* holds no fact"):
        done_in(tmp_path)


def test_another_sweep_or_version_is_refused_with_what_differs(tmp_path, monkeypatch):
    blob = written(tmp_path)
    with pytest.raises(RunChanged, match=r"other settings\.seed: 1, now 2"):
        log_in(tmp_path, ABOUT | {"settings.seed": 2}).__enter__()
    with pytest.raises(RunChanged, match="'abc', now None"):
        log_in(tmp_path, {k: v for k, v in ABOUT.items() if k != "model"}).__enter__()
    monkeypatch.setattr(run_log, "VERSION", 2)
    with pytest.raises(RunFileError, match="version 1"):
        done_in(tmp_path)
    assert (tmp_path / NAME).read_bytes() == blob


def test_one_process_at_a_time_writes(tmp_path):
    with log_in(tmp_path) as log:
        with pytest.raises(SaveFailed, match="another run"):
            done_in(tmp_path)
        log.add(FACTS[0])
    assert [*done_in(tmp_path)] == [0]


@pytest.mark.parametrize("when", ["write", "fsync"])
def test_a_full_disk_is_told_and_takes_nothing_that_was_recorded(tmp_path, monkeypatch, when):
    before = written(tmp_path, FACTS[:1])
    write = os.write

    def full(file, data=b""):
        if when == "write" and len(data) > 40:
            return write(file, data[:40])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with log_in(tmp_path) as log, monkeypatch.context() as patch:
        patch.setattr(os, when, full)
        with pytest.raises(SaveFailed, match=r"No space left.*1 fact before it"):
            log.add(FACTS[1])
        patch.undo()
        assert (tmp_path / NAME).read_bytes() == before
        log.add(FACTS[1])
    assert [*done_in(tmp_path)] == [0, 1]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SaveFailed):
        done_in(tmp_path / "file")
    (tmp_path / "folder" / NAME).mkdir(parents=True)
    with pytest.raises(SaveFailed, match="cannot be written"):
        done_in(tmp_path / "folder")

    def refuse(*_):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SaveFailed, match="Read-only file system"):
        done_in(tmp_path)
