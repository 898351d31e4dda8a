"""Files that show any change: safetensors with a JSON header and a SHA-256 over every byte.

The checksum is computed with its own place filled with zeros. Reading runs no code; a file
appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rome_widgets.errors import EditFileError
from rome_widgets.files.atomic_write import write_whole

VERSION = "1"
_ZEROS = b"0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_HEADER_LIMIT = 4_000_000
"""Bytes of safetensors header that are looked at."""


def write(path: Path, kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """Write a sealed file.

    Args:
        path: Where.
        kind: What it is, such as "rome_widgets.edit".
        header: What JSON can hold.
        tensors: By name.

    Raises:
        SaveFailed: Nothing was written; a file that was there before is unchanged.
    """
    text = json.dumps(header, ensure_ascii=True, sort_keys=True)
    metadata = {"kind": kind, "version": VERSION, "header": text, "sha256": _ZEROS.decode()}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    blob = save_tensors(whole, metadata)
    start, stop = _place(blob)
    digest = hashlib.sha256(blob).hexdigest().encode()
    write_whole(path, blob[:start] + digest + blob[stop:])
    return path


def read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a sealed file.

    Raises:
        EditFileError: It cannot be read, is damaged, or is something else.
    """
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise EditFileError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path."
        ) from None
    try:
        return _open(blob, kind)
    except EditFileError as error:
        raise EditFileError(f"{path}: {error.found}", error.wanted, error.remedy) from None
    except Exception as error:  # a hostile file may break any layer below; it gets one name here
        raise EditFileError(
            f"{path} is damaged or something else ({type(error).__name__}).",
            f"A {kind} file was wanted.",
        ) from None


def _place(blob: bytes) -> tuple[int, int]:
    length = 8 + int.from_bytes(blob[:8], "little")
    # Searched from the end of the header's own text: a text in the header has its quotes escaped.
    found = _DIGEST.search(blob, 0, min(length, _HEADER_LIMIT))
    if found is None:
        raise EditFileError(
            "The file has no checksum.", "A file that this package wrote was wanted."
        )
    return found.span(1)


def _open(blob: bytes, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    start, stop = _place(blob)
    digest = hashlib.sha256(blob[:start] + _ZEROS + blob[stop:]).hexdigest().encode()
    if digest != blob[start:stop]:
        raise EditFileError(
            "The content does not match its SHA-256.",
            "An unaltered file was wanted.",
            "Copy it again, or make it again.",
        )
    length = int.from_bytes(blob[:8], "little")
    metadata = json.loads(blob[8 : 8 + length])["__metadata__"]
    if metadata["kind"] != kind or metadata["version"] != VERSION:
        raise EditFileError(
            f"The file states {metadata['kind']!r}, version {metadata['version']!r}.",
            f"{kind!r}, version {VERSION!r}, was wanted.",
        )
    tensors = load_tensors(blob)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise EditFileError(f"{name} has values that are not finite numbers.")
    return json.loads(metadata["header"]), tensors
