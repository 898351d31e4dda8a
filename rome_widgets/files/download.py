"""Files from the network, kept in the cache folder and checked; asked for by nobody but a user."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from rome_widgets.errors import ArgumentError, DatasetError, DownloadFailed, SaveFailed, said
from rome_widgets.files.atomic_write import make_folder, write_whole
from rome_widgets.files.cache_folder import cache_folder
from rome_widgets.files.raw_records import refuse_stranger

PATIENCE = 20.0
"""Seconds to wait for an answer, and for each piece."""
PIECE = 1 << 18
"""Bytes that are read at once."""
Told = Callable[[int, int | None], object]
"""Hears how many bytes are here, and of how many, if that is known."""


def is_url(source: Any) -> bool:
    """Whether it is an address on the web, rather than a path."""
    return isinstance(source, str) and source.lower().startswith(("https://", "http://"))


def name_of(url: str) -> str:
    """The last part of an address, such as "known_1000.json"."""
    try:
        return unquote(PurePosixPath(urlsplit(url).path).name) or url
    except ValueError:  # an address that is none
        return url


def fetch(url: str, sha256: str | None = None, told: Told = lambda done, total: None) -> bytes:
    """What an address has: out of the cache folder, where it was fetched before.

    Args:
        url: Its address.
        sha256: Digest that it has to have; one in the cache that has another is fetched anew.
        told: Hears how far it is.

    Raises:
        DownloadFailed: No network, no such file, or the connection broke off.
        DatasetError: It is another file: a page, a pointer, or of another digest.
    """
    kept = _place(url)
    if kept is not None:
        with suppress(OSError, DatasetError):
            blob = kept.read_bytes()
            check_digest(blob, sha256, str(kept))
            return blob
    blob = _download(url, told)
    check_digest(blob, sha256, url)
    refuse_stranger(blob, url)
    if kept is not None:
        with suppress(SaveFailed):  # nothing depends on it
            make_folder(kept.parent)
            write_whole(kept, blob)
    return blob


def check_digest(blob: bytes, sha256: str | None, name: str) -> None:
    """Refuse what has another digest than was wanted, if any.

    Raises:
        DatasetError: It has.
    """
    if sha256 is None:
        return
    refuse_stranger(blob, name)  # says more
    found = hashlib.sha256(blob).hexdigest()
    if found != sha256:
        raise DatasetError(
            f"{name} has the SHA-256 {found}.",
            f"{sha256} was wanted.",
            "It is torn, altered, or another version: get it again; if it is what you want, "
            "pass its path or its own sha256.",
        )


def a_digest(value: Any, name: str) -> str:
    """A kind of argument, see `records.arguments`: a SHA-256 in hexadecimal."""
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value.lower()):
        return value.lower()
    raise ArgumentError(f"{name} is {said(value)}.", "64 hexadecimal digits were wanted.")


def _place(url: str) -> Path | None:
    """Where it is kept; None where there is no cache folder."""
    folder = cache_folder()
    key = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    plain = re.sub(r"[^\w.-]", "_", name_of(url), flags=re.ASCII)[-80:]
    return None if folder is None else folder / "datasets" / f"{key}-{plain}"


def _download(url: str, told: Told) -> bytes:
    try:
        with _open(url) as answer:
            return _read(answer, told)
    except urllib.error.HTTPError as error:
        error.close()
        raise _failed(url, f"the server says {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise _failed(url, str(reason) or type(error).__name__) from None


def _open(url: str) -> Any:
    """The answer of a server; the only place that asks the network for data."""
    request = urllib.request.Request(url, headers={"User-Agent": "rome_widgets"})
    return urllib.request.urlopen(request, timeout=PATIENCE)


def _read(answer: Any, told: Told) -> bytes:
    stated = answer.headers.get("Content-Length", "")
    total = int(stated) if stated.isdecimal() else None
    pieces, done = [], 0
    while piece := answer.read(PIECE):
        pieces.append(piece)
        done += len(piece)
        told(done, total)
    if total is not None and done < total:
        raise http.client.HTTPException(f"the connection broke off after {done} of {total} bytes")
    return b"".join(pieces)


def _failed(url: str, why: str) -> DownloadFailed:
    return DownloadFailed(
        f"{url} could not be downloaded: {why}.",
        "A network, or the path of the file on this machine, was wanted.",
        "Download it elsewhere, and pass its path.",
    )
