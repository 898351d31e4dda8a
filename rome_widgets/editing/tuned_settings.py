"""Layer and settings that `rome_widgets.tune` found for a model, kept for its edits from then on.

They lie in the cache folder, a JSON file for each model, as its weights without edits are, and
method: whoever deletes the file edits by the table or the rule again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rome_widgets.editing.settings import Known, Settings
from rome_widgets.errors import RomeWidgetsError, SaveFailed
from rome_widgets.files.atomic_write import make_folder, write_whole
from rome_widgets.files.cache_folder import cache_folder
from rome_widgets.model.base_weights import digest_without_edits
from rome_widgets.model.language_model import LanguageModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TunedSettings:
    """What was found, and by how many facts."""

    layer: int
    settings: Mapping[str, Any]
    n_facts: int


def keep_tuned(
    lm: LanguageModel, method: str, layer: int, settings: Settings, n_facts: int
) -> Path | None:
    """Keep what was found for a model; where, or None where there is no place for it."""
    path = _place(lm, method)
    if path is None:
        return None
    found = TunedSettings(layer, asdict(settings), n_facts)
    try:
        make_folder(path.parent)
        write_whole(path, json.dumps(asdict(found), indent=1).encode())
    except SaveFailed as error:
        logger.warning("The settings found are not kept for another time: %s", error)
        return None
    return path


def known_by_tuning(lm: LanguageModel, method: str, settings: type[Settings]) -> Known | None:
    """What was kept for this model and method; None where nothing was, or it cannot be read."""
    folder = _folder()
    if folder is None or not folder.is_dir():  # without reading weights, where nobody ever tuned
        return None
    path = _place(lm, method)
    if path is None or not path.is_file():
        return None
    try:
        found = TunedSettings(**json.loads(path.read_text("utf-8")))
        if found.layer not in range(lm.n_layers):
            raise ValueError(f"there is no layer {found.layer}")
        source = f"rome_widgets.tune, by {found.n_facts} facts"
        return Known(settings().changed(found.settings), source, found.layer)
    except (OSError, ValueError, TypeError, RomeWidgetsError) as error:
        logger.warning("%s is left out, as it cannot be read: %s", path, error)
        return None


def _folder() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "tuned_settings"


def _place(lm: LanguageModel, method: str) -> Path | None:
    """The file of a model and a method; none for a model whose code is not known."""
    folder = _folder()
    if folder is None or lm.foreign:
        return None
    about = [lm.remember("digest without edits", lm.identity, lambda: digest_without_edits(lm))]
    key = hashlib.sha256(json.dumps([*about, lm.identity.built, method]).encode()).hexdigest()[:24]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{lm.name}-{method}")[:60]
    return folder / f"{name}-{key}.json"
