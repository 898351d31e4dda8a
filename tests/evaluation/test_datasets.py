"""Data sets: each is read in its published forms, from a path or an address, never unasked."""

import hashlib
import json

import pytest

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, DatasetError, DownloadFailed, SettingsError
from rome_widgets.evaluation import datasets
from rome_widgets.files import download
from tests.helpers import published
from tests.test_public_api import loaded_after

LOADED = {
    "known_facts": [published.KNOWN],
    "counterfact": [published.COUNTERFACT, published.CONDENSED, published.TRACING],
    "zsre": [published.ZSRE],
    "qaedit": [published.QAEDIT],
    "ripple_edits": [published.RIPPLE],
    "mquake": [published.MQUAKE],
    "relations": [published.RELATION],
    "table": [published.TABLE],
}
"""By loader, records that it reads."""


@pytest.fixture(autouse=True)
def network(monkeypatch, tmp_path):
    """What is asked of the network, which nobody answers here."""
    asked = []

    def open_(url):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_open", open_)
    return asked


def test_every_public_name_is_there_and_said_what_it_is():
    assert sorted(datasets.__all__) == datasets.__all__
    assert set(LOADED) | {"bundled", "known_to"} == {
        name for name in datasets.__all__ if name[0].islower()
    }
    for name in datasets.__all__:
        assert getattr(rw.datasets, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'known'"):
        rw.datasets.known  # noqa: B018


def test_records_are_loaded_without_torch():
    assert loaded_after("import rome_widgets as rw; rw.datasets.bundled()") == []


@pytest.mark.parametrize("name", LOADED)
def test_a_file_is_read_from_a_path_however_it_is_given(name, tmp_path, network):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(LOADED[name]))
    load = getattr(rw.datasets, name)
    found = load(path)
    assert load(str(path)) == found
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load(path, sha256=digest.upper()) == found
    assert len(found) == (2 if name == "relations" else len(LOADED[name]))
    assert (found.source, found.left_out, network) == (str(path), (), [])


@pytest.mark.parametrize("name", LOADED)
def test_an_address_is_asked_once_and_kept(name, tmp_path, network, monkeypatch):
    url = "https://example.org/facts.json"
    load = getattr(rw.datasets, name)
    with pytest.raises(DownloadFailed, match=r"no network.*pass its path"):
        load(url)
    assert network == [url]
    blob = json.dumps(LOADED[name]).encode()
    monkeypatch.setattr(download, "_download", lambda url, told: told(5, None) or blob)
    told = []
    found = load(url, progress=told.append)
    assert found.source == url
    assert [(each.done, each.total) for each in told] == [(0, None)]
    monkeypatch.undo()
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path / "cache"))
    assert load(url) == found
    with pytest.raises(DatasetError, match="cannot be read"):
        load("ftp://example.org/facts.json")


@pytest.mark.parametrize(
    ("load", "options", "url"),
    [
        ("known_facts", {}, "https://rome.baulab.info/data/dsets/known_1000.json"),
        ("counterfact", {}, "https://rome.baulab.info/data/dsets/counterfact.json"),
        ("zsre", {"target": "alt"}, "https://rome.baulab.info/data/dsets/zsre_mend_eval.json"),
        ("qaedit", {}, datasets.QAEDIT.url),
        *[("mquake", {"subset": name}, each.url) for name, each in datasets.MQUAKE.items()],
        *[
            ("ripple_edits", {"subset": name}, each.url)
            for name, each in datasets.RIPPLE_EDITS.items()
        ],
    ],
)
def test_without_a_source_it_is_where_it_is_published(load, options, url, network):
    with pytest.raises(DownloadFailed, match="no network") as told:
        getattr(rw.datasets, load)(**options)
    assert network == [url]
    assert url in str(told.value)


def test_what_is_published_has_to_have_its_digest(monkeypatch):
    monkeypatch.setattr(download, "_download", lambda url, told: b'[{"prompt": "altered"}]')
    for name in ("known_facts", "counterfact", "zsre", "qaedit", "mquake"):
        with pytest.raises(DatasetError, match=r"has the SHA-256 .* was wanted"):
            getattr(rw.datasets, name)()
    with pytest.raises(DatasetError, match="'edit' was wanted"):  # whose digest is not known
        rw.datasets.ripple_edits()
    own = hashlib.sha256(b'[{"prompt": "altered"}]').hexdigest()
    with pytest.raises(DatasetError, match="None of the 1 record"):
        rw.datasets.known_facts(sha256=own)


def test_digests_and_addresses_are_whole():
    every = [datasets.KNOWN_FACTS, datasets.COUNTERFACT, datasets.ZSRE, datasets.QAEDIT]
    for each in [*every, *datasets.MQUAKE.values(), *datasets.RIPPLE_EDITS.values()]:
        assert each.url.startswith("https://")
        assert each.sha256 is None or download.a_digest(each.sha256, "it") == each.sha256


def test_either_answer_of_zsre_is_edited_in(tmp_path):
    path = tmp_path / "zsre.json"
    path.write_text(json.dumps([published.ZSRE]))
    for target, wanted in (("answers", "uniform"), ("alt", "unmanned aircraft")):
        (record,) = rw.datasets.zsre(path, target=target)
        assert (record.target, record.target_new) == ("uniform", wanted)


def test_the_bundled_world_is_its_facts():
    found, facts = rw.datasets.bundled(), rw.bundled.facts()
    assert len(found) == len(facts)
    assert found[7].neighborhood_prompts == tuple(facts[7]["neighborhood_prompts"])
    assert len(rw.datasets.bundled("development")) == len(rw.bundled.facts("development"))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: rw.datasets.bundled("train"), SettingsError, "split"),
        (lambda: rw.datasets.zsre(target="pred"), ArgumentError, "answers, alt"),
        (lambda: rw.datasets.mquake(subset="CF-4k"), ArgumentError, "CF-3k-v2, CF-3k"),
        (lambda: rw.datasets.ripple_edits(subset=["popular"]), ArgumentError, "popular, random"),
        (lambda: rw.datasets.relations(None), ArgumentError, "evandez/relations"),
        (lambda: rw.datasets.known_facts(sha256="short"), ArgumentError, "hexadecimal"),
        (lambda: rw.datasets.known_facts(progress=3), ArgumentError, "progress"),
        (lambda: rw.datasets.table(5), DatasetError, "is no table"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(call, error, words, network):
    with pytest.raises(error, match=words):
        call()
    assert network == []
