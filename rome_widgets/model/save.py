"""Writes a model as a checkpoint that transformers loads: whole, or not at all."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from torch import nn

from rome_widgets.errors import RomeWidgetsError, SaveFailed
from rome_widgets.files.atomic_write import write_folder
from rome_widgets.model.quantised import as_plain, unpacked_from

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
"""Files of weights; one that an earlier model left behind would be read in place of the new."""


def save_model(model: nn.Module, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer into a folder; other files that are there stay.

    Raises:
        SaveFailed: The folder could not be written, or transformers cannot save this model.
    """
    adapted = next((name for name, _ in model.named_parameters() if ".base_layer." in name), None)
    if adapted is not None:
        raise SaveFailed(
            f"The model carries an adapter, on {adapted.partition('.base_layer.')[0]} for one.",
            "A model of plain matrices was wanted: a checkpoint with these names does not load.",
            "Merge it first: model = peft_model.merge_and_unload().",
        )

    def write(to: Path) -> None:
        try:
            _write_weights(model, to)
            tokenizer.save_pretrained(to)
        except (OSError, RomeWidgetsError):
            raise
        except Exception as error:  # a disk that is full is a SafetensorError, for one
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SaveFailed(
                f"{folder} was not written: {said.rstrip('.')}.",
                remedy="Choose a folder that is writable and has space; if it is not that, see "
                "what model.save_pretrained and tokenizer.save_pretrained want.",
            ) from error

    write_folder(folder, write, outdated=lambda name: _WEIGHTS.fullmatch(name) is not None)


def _write_weights(model: Any, folder: Path) -> None:
    """As transformers does, but also with settings of generation that it finds inconsistent.

    Such as a temperature beside `do_sample=False`. transformers loads them with a warning, and
    refuses to save them; they decide nothing that is traced or edited, and are kept as they are.
    """
    if unpacked_from(model):
        model = as_plain(model)
    settings = getattr(model, "generation_config", None)
    if settings is None or _consistent(settings):
        model.save_pretrained(folder)
        return
    # A copy of the outermost module alone, with the same weights: the user's own stays untouched.
    plain = copy.copy(model)
    plain.generation_config = type(settings)()
    plain.save_pretrained(folder)
    settings.to_json_file(folder / "generation_config.json", keys_to_pop=["compile_config"])


def _consistent(settings: Any) -> bool:
    try:
        settings.validate(strict=True)
    except ValueError:
        return False
    return True
