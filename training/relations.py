"""The relations of the world and how English says them: `tables/relations.json`, and its rules.

Every template holds one literal `{}` for the subject and ends where the object follows. The first
template of a relation is the one that records, notebooks and figures use. `held_out` templates
never occur in the training text; they measure whether a fact is known or a sentence was memorised.
Three rules keep that measurement fair:

- every word of a held-out template occurs in training templates (the model has no other way to
  learn it);
- where it can be helped, no training text continues a held-out template's ending with anything but
  such an object ("is in" may be followed by "the city of", so nothing ends in "is in" about a
  landmark);
- no article stands before an object that may start with a vowel.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "tables" / "relations.json"


@dataclass(frozen=True)
class Relation:
    """One relation and its sentences."""

    name: str
    """Identifier used in records, e.g. `city`."""
    templates: tuple[str, ...]
    """Training templates, each with one `{}`; the first one is the relation's main prompt."""
    held_out: tuple[str, ...]
    """Templates that the training text never uses."""


def relations_table() -> dict[str, dict[str, list[str]]]:
    """The sentences of every relation: those of the text, and those that only measure."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


RELATIONS = tuple(
    Relation(name, tuple(sentences["templates"]), tuple(sentences["held_out"]))
    for name, sentences in relations_table().items()
)

BY_NAME = {relation.name: relation for relation in RELATIONS}


def held_out_digest() -> str:
    """SHA-256 of the held-out sentences, which were fixed before the shipped model was trained.

    `tests/training` holds the digest; a training writes it into its report. Training sentences
    were added where earlier models had got a held-out one wrong: see the model card.
    """
    sentences = {relation.name: relation.held_out for relation in RELATIONS}
    return hashlib.sha256(json.dumps(sentences, sort_keys=True).encode()).hexdigest()
