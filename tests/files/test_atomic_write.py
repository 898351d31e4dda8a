"""A file appears whole or not at all."""

import pytest

from rome_widgets.errors import SaveFailed
from rome_widgets.files.atomic_write import write_whole


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
