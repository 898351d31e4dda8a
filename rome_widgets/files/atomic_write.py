"""Atomic writes: a file appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from rome_widgets.errors import SaveFailed


def write_whole(path: Path, blob: bytes) -> None:
    """Write beside the target, flush to disk, then rename over it."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("xb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise SaveFailed(
            f"{path} was not written: {error.strerror or error}.",
            remedy="Choose a folder that exists, is writable and has space.",
        ) from None
    finally:
        with suppress(OSError):  # such as a file where a folder was wanted: said above
            beside.unlink(missing_ok=True)
