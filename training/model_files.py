"""Write and read the files beside the weights: the facts, and the settings that suit the size."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.recipe import Recipe
from training.relations import relations_table
from training.world import World, WorldError

# Chosen, as the paper chose its own, by sweeps on facts of the development split: see the card.
SETTINGS = Path(__file__).parent / "tables" / "settings.json"


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder that no training has written.

    Raises:
        WorldError: It lacks a file of these names.
    """
    for name in names:
        if not (folder / name).is_file():
            raise WorldError(
                f"{folder} has no {name}.",
                "The folder that a training wrote was wanted.",
                f"Write it: python -m training.train --out {folder}",
            )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file beside the model.

    Raises:
        WorldError: It is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorldError(
            f"{path} is damaged ({error}).",
            "The file that a training or an evaluation wrote was wanted.",
            "Write it again, or delete it if it is figures.json.",
        ) from error


def facts_table(world: World) -> dict[str, Any]:
    """Make what `facts.json` holds: templates once per relation, then one row per fact."""
    facts = [asdict(fact) | {"split": fact.split} for fact in world.facts]
    return {"relations": relations_table(), "facts": facts}


def facts_digest(world: World) -> str:
    """SHA-256 of the facts table, to tell which facts a model was taught."""
    return hashlib.sha256(json.dumps(facts_table(world), sort_keys=True).encode()).hexdigest()


def write_facts(world: World, path: Path) -> None:
    """Write the facts, one per line so that a difference is readable."""
    table = facts_table(world)
    relations = json.dumps(table["relations"], indent=1, ensure_ascii=False)
    facts = ",\n".join(json.dumps(fact, ensure_ascii=False) for fact in table["facts"])
    path.write_text(f'{{"relations": {relations},\n"facts": [\n{facts}\n]}}\n', encoding="utf-8")


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Make what `settings.json` holds, by method; edits are made where the attributes were read."""
    settings = read_json(SETTINGS)
    rank_one = {"layer": recipe.attribute_layer, **settings.pop("rank-one")}
    return {"rome": rank_one, "r-rome": rank_one, **settings}


def write_settings(recipe: Recipe, path: Path) -> None:
    """Write the edit settings."""
    path.write_text(json.dumps(settings_of(recipe), indent=2) + "\n", encoding="utf-8")
