"""The cache folder: keeps what can be computed again; nothing depends on it."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """`ROME_WIDGETS_CACHE`, else `rome_widgets` in the user's cache folder; None without a home.

    The user's cache folder is `XDG_CACHE_HOME`, else `~/.cache`. Nothing is made here.
    """
    try:
        given = os.environ.get("ROME_WIDGETS_CACHE")
        if given:
            return Path(given).expanduser()
        users = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return (users if users.is_absolute() else Path.home() / ".cache") / "rome_widgets"
    except RuntimeError:  # Python's word for a home that cannot be found
        return None
