"""Where the cache folder is."""

from rome_widgets.files.cache_folder import cache_folder


def test_the_cache_is_where_it_should_be(monkeypatch, tmp_path):
    assert cache_folder().name.startswith("rome_widgets_tests_")  # conftest.py sees to it
    monkeypatch.delenv("ROME_WIDGETS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "rome_widgets"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "rome_widgets"
    monkeypatch.setenv("ROME_WIDGETS_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "home" / "mine"
