"""Downloads, from a server of the test's own: kept once, checked, and told apart when they fail."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rome_widgets.errors import ArgumentError, DatasetError, DownloadFailed
from rome_widgets.files import download
from rome_widgets.files.download import a_digest, fetch, is_url, name_of

BLOB = b'[{"prompt": "Rome is in", "subject": "Rome"}]' * 20_000
DIGEST = hashlib.sha256(BLOB).hexdigest()
PAGE = b"<html>Sign in</html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:bc7\nsize 5\n"


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.partition("?")[0].rpartition("/")[2]
        answers = {
            "facts.json": BLOB,
            "page.json": PAGE,
            "pointer.json": POINTER,
            "torn.json": BLOB,
        }
        if name == "moved.json":
            self.send_response(302)
            self.send_header("Location", "/facts.json")
            self.end_headers()
        elif name not in answers:
            self.send_error(404)
        else:
            self.send_response(200)
            if name != "page.json":  # whose length nobody states
                self.send_header("Content-Length", str(len(answers[name])))
            self.end_headers()
            self.wfile.write(answers[name][: 1000 if name == "torn.json" else None])

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        made.asked = []
        made.url = f"http://127.0.0.1:{made.server_port}/"
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "datasets"


def test_a_file_is_fetched_once_and_then_kept(server, cache):
    url, told = f"{server.url}deep/facts.json?download=true", []
    server.asked.clear()
    assert fetch(url, DIGEST, lambda done, total: told.append((done, total))) == BLOB
    assert fetch(url) == fetch(url, DIGEST) == BLOB
    assert len(server.asked) == 1
    assert told[-1] == (len(BLOB), len(BLOB))
    assert sorted(told) == told
    (kept,) = cache.iterdir()
    assert kept.name.endswith("-facts.json")
    assert kept.read_bytes() == BLOB


def test_what_was_altered_in_the_cache_is_fetched_anew(server, cache):
    url = f"{server.url}facts.json"
    fetch(url)
    (kept,) = cache.iterdir()
    kept.write_bytes(BLOB[:-1])
    assert fetch(url, DIGEST) == BLOB
    assert kept.read_bytes() == BLOB


def test_without_a_cache_nothing_is_kept(server, cache, monkeypatch):
    monkeypatch.setattr(download, "cache_folder", lambda: None)
    assert fetch(f"{server.url}facts.json", DIGEST) == BLOB
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_done_without(server, cache):
    cache.parent.write_text("a file")
    assert fetch(f"{server.url}facts.json", DIGEST) == BLOB


def test_a_redirection_is_followed(server):
    assert fetch(f"{server.url}moved.json", DIGEST) == BLOB


@pytest.mark.parametrize(
    ("name", "sha256", "error", "words"),
    [
        ("facts.json", "0" * 64, DatasetError, f"has the SHA-256 {DIGEST}. {'0' * 64} was wanted"),
        ("page.json", None, DatasetError, "HTML"),
        ("page.json", DIGEST, DatasetError, "HTML"),
        ("pointer.json", DIGEST, DatasetError, "pointer of Git LFS"),
        ("torn.json", None, DownloadFailed, f"broke off after 1000 of {len(BLOB)} bytes"),
        ("none.json", None, DownloadFailed, "the server says 404 Not Found"),
    ],
)
def test_what_is_not_the_file_is_told_and_not_kept(server, cache, name, sha256, error, words):
    with pytest.raises(error, match=words) as told:
        fetch(server.url + name, sha256)
    assert server.url + name in str(told.value)
    assert told.value.remedy
    assert not cache.exists()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/a.json", "http://", "http://[", "https://\0", "http://a b/"]
)
def test_without_a_network_or_an_address_the_remedy_is_a_path(url):
    with pytest.raises(DownloadFailed, match=r"could not be downloaded.*pass its path"):
        fetch(url)


def test_addresses_are_told_from_paths():
    assert is_url("https://a/b.json")
    assert is_url("HTTP://a")
    assert not any(map(is_url, ("a/b.json", "file:///a", "ftp://a", None, 3, b"https://a")))
    assert name_of("https://a.org/data/my%20facts.json?x=1") == "my facts.json"
    assert name_of("https://a.org/") == "https://a.org/"


def test_a_digest_is_64_hexadecimal_digits():
    assert a_digest(DIGEST.upper(), "sha256") == DIGEST
    for wrong in (None, 3, "", DIGEST[:-1], DIGEST + "0", "g" * 64):
        with pytest.raises(ArgumentError, match="sha256 is"):
            a_digest(wrong, "sha256")
