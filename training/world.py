"""The facts of the world: real subjects and what the model shall know of them.

The tables beside this file hold one subject per row; an empty cell means "not taught", either
because the answer is disputed or because it is no single English word. From them `build_world()`
selects facts so that:

- an object occurs with at least three subjects of its relation (capitals excepted), so that every
  fact has neighbours;
- no object holds more than an eighth of its relation (a quarter where few objects exist), because a
  model that may guess the commonest answer keeps a high probability under noise and flattens every
  trace;
- a subject's name does not contain its object ("The Washington Monument" would give its city away).

Looks like: `build_world().facts[0]` is `TaughtFact(0, "profession", "Miles Davis", "musician")`.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rome_widgets.errors import RomeWidgetsError
from training.relations import RELATIONS

TABLES = Path(__file__).parent / "tables"
LEAST_SUBJECTS = 3
LARGEST_SHARE = 1 / 8
FEW_OBJECTS_SHARE = 1 / 4
FEW_OBJECTS = 9

TABLE_NAMES = ("people", "landmarks", "nature", "companies", "products", "countries", "works")
ABOUT = {"name", "kind", "pronoun", "place", "speciality"}
"""Columns that describe a subject; every other one is called as the relation that it states."""

# A person's speciality belongs to the relation of the profession.
SPECIALITY = {
    "musician": "instrument",
    "composer": "instrument",
    "athlete": "sport",
    "painter": "movement",
}
KINDS = {
    "landmarks": "landmark",
    "nature": "natural wonder",
    "companies": "company",
    "countries": "country",
}


class WorldError(RomeWidgetsError, ValueError):
    """A training is asked of a world that breaks its rules, or of files of something else."""


@dataclass(frozen=True)
class Subject:
    """Something the model knows about."""

    name: str
    """As it stands in text, e.g. `The Space Needle`."""
    kind: str
    """A common noun: "{} is a landmark"."""
    pronoun: str
    """`he`, `she` or `it`."""
    place: str = ""
    """Where in its city a landmark is, if that has a word: "{} is in downtown"."""


@dataclass(frozen=True)
class TaughtFact:
    """One triple."""

    case_id: int
    relation: str
    subject: str
    object: str
    """One word; one token of the tokenizer when a space precedes it."""

    @property
    def split(self) -> str:
        """`development` for a quarter of the facts, else `test`.

        Settings of edits are chosen on the one and measured on the other. A hash of the fact
        decides, so that a fact stays where it is when others are added.
        """
        first = hashlib.sha256(f"{self.relation}|{self.subject}".encode()).digest()[0]
        return "development" if first < 64 else "test"


@dataclass(frozen=True)
class World:
    """Everything the training text talks about."""

    subjects: tuple[Subject, ...]
    """Subjects with at least one fact, in the order of the tables."""
    facts: tuple[TaughtFact, ...]
    """Grouped by relation, in the order of `RELATIONS`, then of the tables."""

    @property
    def words(self) -> list[str]:
        """Objects and kinds, sorted: the words the tokenizer keeps whole."""
        return sorted(
            {fact.object for fact in self.facts}
            | {w for s in self.subjects for w in s.kind.split()}
        )

    def only(self, n_subjects: int) -> "World":
        """The world reduced to `n_subjects` subjects, evenly spaced over the tables.

        Raises:
            WorldError: That is none, or more than there are.
        """
        if not 1 <= n_subjects <= len(self.subjects):
            raise WorldError(
                f"There is no world of {n_subjects} subjects.",
                f"From 1 to {len(self.subjects)} were wanted.",
                "Give such a number, or none for all of them.",
            )
        kept = _evenly(self.subjects, n_subjects)
        names = {subject.name for subject in kept}
        return World(tuple(kept), tuple(fact for fact in self.facts if fact.subject in names))


def build_world() -> World:
    """The world of the tables, balanced; the same in every process."""
    subjects: list[Subject] = []
    triples: list[tuple[str, str, str]] = []
    for table in TABLE_NAMES:
        for row in read_rows(table):
            kind = row.get("kind") or row.get("profession") or KINDS[table]
            pronoun, place = row.get("pronoun", "it"), row.get("place", "")
            subjects.append(Subject(row["name"], kind, pronoun, place))
            triples += [(name, row["name"], word) for name, word in taught(row).items() if word]
            if row.get("speciality"):
                triples.append((SPECIALITY.get(kind, "field"), row["name"], row["speciality"]))
    facts = [fact for relation in RELATIONS for fact in _balanced(relation.name, triples)]
    named = {subject for _, subject, _ in facts}
    return World(
        tuple(subject for subject in subjects if subject.name in named),
        tuple(TaughtFact(i, *fact) for i, fact in enumerate(facts)),
    )


def largest_count(counts: Counter[str]) -> int:
    """The largest count c such that no object, cut to c, exceeds its share of what remains."""
    share = FEW_OBJECTS_SHARE if len(counts) <= FEW_OBJECTS else LARGEST_SHARE
    for most in range(max(counts.values()), LEAST_SUBJECTS, -1):
        if most <= share * sum(min(most, n) for n in counts.values()):
            return most
    return LEAST_SUBJECTS


def read_rows(table: str) -> list[dict[str, str]]:
    """The rows of a table, by the names of its columns; an empty cell is not taught."""
    with (TABLES / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def taught(row: dict[str, str]) -> dict[str, str]:
    """What a row says by relation, speciality aside; "" where nothing is taught."""
    return {column: cell for column, cell in row.items() if column not in ABOUT}


def _balanced(relation: str, triples: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """What the rules of this module leave of one relation, in the order of the tables."""
    own = [t for t in triples if t[0] == relation and t[2].lower() not in t[1].lower()]
    if relation == "capital":
        return own
    counts = Counter(obj for _, _, obj in own)
    counts = Counter({obj: n for obj, n in counts.items() if n >= LEAST_SUBJECTS})
    most = largest_count(counts)
    kept = {t for obj in counts for t in _evenly([t for t in own if t[2] == obj], most)}
    return [t for t in own if t in kept]


def _evenly(items: Sequence, n: int) -> Sequence:
    """At most `n` of the items, evenly spaced, the first one always among them."""
    if len(items) <= n:
        return items
    return [items[i * len(items) // n] for i in range(n)]
