"""Frames of records as parquet, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rome_widgets.errors import MissingExtra, SaveFailed
from rome_widgets.files.atomic_write import write_whole
from rome_widgets.records.arguments import a_path

if TYPE_CHECKING:
    import pandas as pd


def save_frame(frame: pd.DataFrame, path: str | os.PathLike[str], instead: str) -> Path:
    """Write a frame; returns the path.

    Args:
        frame: What to write, without its index.
        path: Where.
        instead: What keeps the same without this package, for the message.

    Raises:
        MissingExtra: pyarrow is not installed.
        SaveFailed: Nothing was written; a file that was there before is unchanged.
    """
    place: Path = a_path(SaveFailed, "file")(path, "path")
    try:
        blob: Any = frame.to_parquet(engine="pyarrow", index=False)
    except ImportError:
        raise MissingExtra(
            "pyarrow is not installed.",
            "It writes parquet.",
            f"Run: pip install pyarrow. Or keep it whole: {instead}.",
        ) from None
    write_whole(place, blob)
    return place
