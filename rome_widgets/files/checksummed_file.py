"""The one container of our files: safetensors, a JSON header, and a SHA-256 over every byte.

safetensors alone accepts a flipped bit in the data. The checksum is computed with its own place
filled with zeros. Reading runs no code; a file appears whole or not at all. Whoever defines a kind
of file says whose arrays it holds, so that NumPy's are read without torch, and torch's bfloat16,
which NumPy does not have, is kept bit for bit.

safetensors takes no more than 100 MB beside the arrays, so a large header is an array of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rome_widgets.errors import EditFileError, RunFileError, TraceFileError
from rome_widgets.files.atomic_write import write_whole

_ZEROS = b"0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_LARGEST_HEADER = 2_000_000
"""Characters of a header that is kept beside the arrays."""
_HEADER = "rome_widgets.header"
"""The array that a larger one is."""


FileError = EditFileError | TraceFileError | RunFileError


class FileKind(NamedTuple):
    """One kind of file."""

    name: str
    """Such as "rome_widgets.edit"."""
    error: type[FileError]
    """Raised for a file that cannot be read."""
    arrays: Literal["numpy", "torch"]
    """Whose arrays it holds."""
    version: str = "1"
    finite: bool = True
    """Whether all values have to be finite floating-point numbers."""


def write(path: Path, kind: FileKind, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Path:
    """Write a file, whole or not at all; returns the path.

    Args:
        path: Where.
        kind: What it is.
        header: What JSON can hold.
        arrays: By name; contiguous, on the CPU.

    Raises:
        SaveFailed: Nothing was written; a file that was there before is unchanged.
    """
    text = json.dumps(header, ensure_ascii=True, sort_keys=True)
    metadata = {"kind": kind.name, "version": kind.version, "sha256": _ZEROS.decode()}
    if len(text) <= _LARGEST_HEADER:
        metadata["header"] = text
    else:
        library = import_module(kind.arrays)
        content = library.frombuffer(bytearray(text, "ascii"), dtype=library.uint8)
        arrays = {**arrays, _HEADER: content}
    blob = import_module(f"safetensors.{kind.arrays}").save(arrays, metadata)
    start, stop = _place(blob, kind)
    digest = hashlib.sha256(blob).hexdigest().encode()
    write_whole(path, blob[:start] + digest + blob[stop:])
    return path


def read(path: Path, kind: FileKind) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays of a file.

    Raises:
        EditFileError, TraceFileError, RunFileError: As `kind` says: the file
            cannot be read, is damaged, or is something else.
    """
    try:
        return _open(path.read_bytes(), kind)
    except OSError as error:
        raise kind.error(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path."
        ) from None
    except kind.error as error:
        raise kind.error(f"{path}: {error.found}", error.wanted, error.remedy) from None
    except MemoryError:
        raise
    except Exception as error:  # a hostile file may break any layer below; it gets one name here
        raise kind.error(
            f"{path} is damaged or something else ({type(error).__name__}).",
            f"A {kind.name} file was wanted.",
        ) from None


def metadata_of(blob: bytes) -> dict[str, str]:
    """The metadata of a safetensors file."""
    length = int.from_bytes(blob[:8], "little")
    return json.loads(blob[8 : 8 + length]).get("__metadata__", {})


def _place(blob: bytes, kind: FileKind) -> tuple[int, int]:
    length = 8 + int.from_bytes(blob[:8], "little")
    # Nothing else in there looks like it: a text in the header has its quotes escaped.
    found = _DIGEST.search(blob, 0, min(length, len(blob)))
    if found is None:
        raise kind.error("The file has no checksum.", f"A {kind.name} file was wanted.")
    return found.span(1)


def _open(blob: bytes, kind: FileKind) -> tuple[dict[str, Any], dict[str, Any]]:
    start, stop = _place(blob, kind)
    digest = hashlib.sha256(blob[:start] + _ZEROS + blob[stop:]).hexdigest().encode()
    if digest != blob[start:stop]:
        raise changed(kind)
    metadata = metadata_of(blob)
    if (metadata["kind"], metadata["version"]) != (kind.name, kind.version):
        raise kind.error(
            f"The file states {metadata['kind']!r}, version {metadata['version']!r}.",
            f"{kind.name!r}, version {kind.version!r}, was wanted.",
        )
    arrays = import_module(f"safetensors.{kind.arrays}").load(blob)
    header = metadata.get("header") or np.asarray(arrays.pop(_HEADER)).tobytes()
    for name, array in arrays.items() if kind.finite else ():
        isfinite = import_module(kind.arrays).isfinite
        if "float" not in str(array.dtype) or not isfinite(array).all():
            raise kind.error(f"{name} has values that are not finite numbers.")
    return json.loads(header), arrays


def changed(kind: FileKind) -> FileError:
    """The error for a file that was altered after it was written."""
    return kind.error(
        "The content does not match its SHA-256.",
        "An unaltered file was wanted.",
        "Copy it again, or make it again.",
    )
