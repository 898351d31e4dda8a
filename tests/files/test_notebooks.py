"""The notebooks are copied whole, nobody's work is lost, and a bad folder is refused in words."""

from pathlib import Path

import pytest

import rome_widgets as rw

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_every_notebook_is_copied_as_it_is_in_the_order_of_reading(tmp_path):
    copies = rw.tour(tmp_path)
    assert [copy.name for copy in copies] == [each.name for each in NOTEBOOKS]
    assert [copy.read_bytes() for copy in copies] == [each.read_bytes() for each in NOTEBOOKS]


@pytest.mark.parametrize("name", ["new", "new/and deep", "Übung"])
def test_a_folder_that_is_not_there_is_made(tmp_path, name):
    assert all(copy.is_file() for copy in rw.tour(str(tmp_path / name)))


def test_without_a_folder_they_come_where_python_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rw.tour()
    assert {path.name for path in tmp_path.iterdir()} == {each.name for each in NOTEBOOKS}


def test_a_home_is_written_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert rw.tour("~/lessons")[0].parent == tmp_path / "lessons"


def test_a_notebook_that_is_there_keeps_what_was_done_in_it(tmp_path):
    first, second = rw.tour(tmp_path)[:2]
    first.write_text("my work")
    second.unlink()
    assert rw.tour(tmp_path)[0].read_text() == "my work"
    assert second.read_bytes() == NOTEBOOKS[1].read_bytes()


@pytest.mark.parametrize("folder", ["file", "file/below", "\0", None, 3, b"bytes", ["list"]])
def test_what_cannot_be_a_folder_is_refused_in_words(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(rw.errors.SaveFailed):
        rw.tour(folder)
