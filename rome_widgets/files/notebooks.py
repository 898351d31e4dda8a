"""The notebooks that come with the package, copied to where a person can run and change them."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from rome_widgets.errors import SaveFailed
from rome_widgets.files.atomic_write import write_whole
from rome_widgets.records.arguments import a_path, takes


@takes(folder=a_path(SaveFailed, "folder"))
@takes(folder=a_path(SaveFailed, "folder"))
def tour(folder: str | os.PathLike[str] = ".") -> list[Path]:
    """Copy the notebooks that explain tracing and editing into a folder, to be opened there.

    They run on the bundled model and need no network; only the third asks for a real one, and shows
    what was recorded on one. A notebook that is in the folder already stays as it is, with what
    you did in it.

    Args:
        folder: Where to put them; made if it is not there.

    Returns:
        The notebooks in that folder, in the order in which they are meant to be read.

    Raises:
        SaveFailed: The folder cannot be written.

    Example:
        >>> [notebook.name for notebook in rw.tour("tour")][:2]
        ['01_trace.ipynb', '02_edit.ipynb']
    """
    into = Path(folder)
    try:
        into = into.expanduser()
        into.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # the latter for `~` where there is no home
        raise SaveFailed(
            f"{into} cannot be a folder for the notebooks: "
            f"{getattr(error, 'strerror', None) or error}.",
            remedy="Choose a folder that is there and writable, or one to be made.",
        ) from None
    copies = [into / notebook.name for notebook in _shipped()]
    for notebook, copy in zip(_shipped(), copies, strict=True):
        if not copy.exists():
            write_whole(copy, notebook.read_bytes())
    return copies


def _shipped() -> list[Path]:
    """In an installed package they are within it; in a clone they are beside it."""
    package = Path(str(resources.files("rome_widgets")))
    within, beside = package / "notebooks", package.parent / "notebooks"
    return sorted((within if within.is_dir() else beside).glob("*.ipynb"))
