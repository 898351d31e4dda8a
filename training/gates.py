"""Figures of a trained model beside what was wanted of them, and the file they are kept in."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.model_files import read_json

_TRAINED = ("model/model.safetensors", "model/tokenizer.json", "facts.json")
FILES = {
    "knowledge": _TRAINED,
    "traces": _TRAINED,
    "edits": (*_TRAINED, "settings.json", "second_moment.safetensors"),
}
"""By part of the figures, the files of the folder that they depend on."""


@dataclass(frozen=True)
class Gate:
    """One figure, and what was wanted of it."""

    name: str
    value: float
    wanted: float
    at_least: bool = True

    @property
    def reached(self) -> bool:
        """Whether the figure is as wanted."""
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted

    @property
    def bound(self) -> str:
        """What was wanted, in signs."""
        return f"{'≥' if self.at_least else '≤'} {self.wanted:g}"

    def __str__(self) -> str:
        said = "reached" if self.reached else "MISSED"
        return f"{said:8s} {self.name}: {self.value:.4g}, wanted {self.bound}"


def keep(folder: Path, part: str, gates: list[Gate], figures: dict[str, Any]) -> None:
    """Write the figures of one part; those of the others stay if they still count."""
    about = {"sha256": digests(folder, part), "gates": [asdict(gate) for gate in gates]}
    text = json.dumps(kept_figures(folder) | {part: figures | about}, indent=1, ensure_ascii=False)
    unfinished = folder / "figures.part"
    unfinished.write_text(text + "\n", encoding="utf-8")
    os.replace(unfinished, folder / "figures.json")


def kept_figures(folder: Path) -> dict[str, Any]:
    """By part, what was measured of the files that are there now.

    Raises:
        WorldError: The file of figures is damaged.
    """
    path = folder / "figures.json"
    found = read_json(path) if path.exists() else {}
    return {
        part: found[part]
        for part in FILES
        if part in found and found[part].get("sha256") == digests(folder, part)
    }


def digests(folder: Path, part: str) -> dict[str, str]:
    """SHA-256 of every file that the figures of a part depend on."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES[part]}


def kept_gates(folder: Path) -> list[Gate]:
    """All gates that were measured of them."""
    return [Gate(**gate) for part in kept_figures(folder).values() for gate in part["gates"]]


def side_by_side(folders: list[Path]) -> str:
    """A Markdown table of the gates, a column per folder; what is missed is marked."""
    # The layer or the relation that a name holds differs between models.
    columns = [{plain(gate.name): gate for gate in kept_gates(folder)} for folder in folders]
    wanted = {name: gate for column in reversed(columns) for name, gate in column.items()}
    names = dict.fromkeys(name for column in columns for name in column)
    lines = [
        "| | wanted | " + " | ".join(folder.name for folder in folders) + " |",
        "|---|---|" + "---|" * len(folders),
    ]
    for name in names:
        cells = [_cell(column.get(name)) for column in columns]
        lines.append(f"| {name} | {wanted[name].bound} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain(name: str) -> str:
    """A gate's name without the layer or relation that was found."""
    return re.sub(r" \([^)]*\)", "", name)


def _cell(gate: Gate | None) -> str:
    if gate is None:
        return ""
    return f"{gate.value:.3g}" + ("" if gate.reached else " (missed)")
