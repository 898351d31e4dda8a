"""Gives edits to other tools: as a PEFT adapter, or as the code that computes them again."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from rome_widgets import bundled
from rome_widgets.editing.edit import Edit
from rome_widgets.editing.methods import METHODS
from rome_widgets.errors import EditRefused, SaveFailed
from rome_widgets.files.atomic_write import write_folder
from rome_widgets.model.ledger import LowRank
from rome_widgets.model.load import load_expression
from rome_widgets.records.arguments import a_path


def to_peft(edits: Sequence[Edit], folder: str | os.PathLike[str]) -> Path:
    """Write edits of low rank as one LoRA adapter; returns the folder.

    The rank is the number of factors and alpha equals it, so that the adapter is the edit, with
    its present strength folded in.

    Raises:
        EditRefused: An edit is not of low rank, or the edits' matrices need different ranks.
        SaveFailed: The folder could not be written.
    """
    by_name: dict[str, list[tuple[LowRank, float]]] = defaultdict(list)
    for edit in edits:
        for update in edit.updates:
            if not isinstance(update, LowRank):
                raise EditRefused(
                    f"{update.name} was changed by {edit.report.method!r}, in all directions.",
                    "A change of low rank was wanted.",
                    "Keep it with save, or the whole model with lm.save_pretrained.",
                )
            by_name[update.name].append((update, edit.strength))
    tensors: dict[str, Any] = {}
    ranks, transposed = set(), set()
    for name, some in by_name.items():
        a = torch.cat([update.u for update, _ in some])
        b = torch.cat([strength * update.v for update, strength in some]).T
        module = name.removesuffix(".weight")
        tensors[f"base_model.model.{module}.lora_A.weight"] = a.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = b.contiguous()
        ranks.add(len(a))
        transposed.add(some[0][0].transposed)
    if len(ranks) != 1 or len(transposed) != 1:
        raise EditRefused(
            f"The matrices carry changes of the ranks {sorted(ranks)}.",
            "One adapter has one rank.",
            "Write an adapter per matrix.",
        )
    config = _config(edits[0], sorted(by_name), ranks.pop(), transposed.pop())
    folder = Path(a_path(SaveFailed, "folder")(folder, "folder"))
    blob = safetensors.torch.save(tensors, {"format": "pt"})

    def write(to: Path) -> None:
        (to / "adapter_model.safetensors").write_bytes(blob)
        (to / "adapter_config.json").write_text(json.dumps(config, indent=2), "utf-8")

    write_folder(folder, write)
    return folder


def _config(edit: Edit, names: Sequence[str], rank: int, transposed: bool) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": getattr(edit.lm.model.config, "_name_or_path", "") or None,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "target_modules": [name.removesuffix(".weight") for name in names],
        "inference_mode": True,
    }


def to_code(edit: Edit) -> str:
    """Python that loads the model, computes this edit again and applies it."""
    report, triples = edit.report, list(map(astuple, edit.facts))
    load, moment = load_expression(edit.lm), ""
    if report.second_moment and not bundled.is_bundled(edit.lm):
        moment = _moment(report.second_moment)
    kind = type(edit.lm.model).__name__
    in_memory = (
        f"# model: the {kind} that is in memory, {edit.lm.n_layers} layers; tokenizer: its own\n"
    )
    given: list[Any] = list(triples[0]) if len(triples) == 1 else [triples]
    if report.prompt_ids:
        start = edit.fact.subject_start
        given[:2] = list(report.prompt_ids), (start, start + len(edit.fact.subject))
    stated = "".join(f"    {each!r},\n" for each in given)
    # Files of before had the settings of every method.
    own = METHODS[report.method].settings.names() if report.method in METHODS else report.settings
    settings = {name: value for name, value in report.settings.items() if name in own}
    stated_settings = ", ".join(f"{name!r}: {_value(value)}" for name, value in settings.items())
    return (
        "import rome_widgets as rw\n\n"
        f"{in_memory if 'model, tokenizer' in load else ''}"
        f"lm = {load}\n"
        "edit = rw.edit(\n"
        "    lm,\n"
        f"{stated}"
        f"    method={report.method!r},\n"
        f"    layer={report.layer},\n"
        f"    settings={{{stated_settings}}},\n"
        f"{moment}"
        f"    seed={report.seed},\n"
        ")\n"
        f"edit.strength = {edit.strength!r}\n"
        "edit.apply()\n"
    )


def _value(value: Any) -> str:
    """As Python writes it; NaN and infinity have no literals of their own."""
    named = isinstance(value, float) and not math.isfinite(value)
    return f"float({str(value)!r})" if named else repr(value)


def _moment(about: str) -> str:
    if about.startswith("the identity"):
        return '    second_moment="identity",\n'
    in_one_line = repr(" ".join(about.split()))[1:-1]  # a comment ends with its line
    return f"    second_moment=...,  # it was computed over {in_one_line}\n"
