"""What follows from an edit of the bundled world, and what should stay: asked of its own graph.

Questions are sentences of the world's relations. Two hops and inverses are made from templates that
name the object, "The maker of {} is": so "the maker of {}" is a phrase for it.

Source:
    Cohen et al. 2024, "Evaluating the Ripple Effects of Knowledge Editing": compositionality,
    aliases, and that only questions count whose conditions a model knows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rome_widgets.errors import ArgumentError
from rome_widgets.records.fact import fill
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.fact_records import FactRecords
from rome_widgets.records.schemas import Probe

OTHERS, TWO_HOPS, INVERSE, ALIAS = "other facts", "two hops", "inverse", "alias"
_NAMES_OBJECT = re.compile(r"The ((?:(?! of ).)+ of) \{\} is( the)?")
"""A template whose words before the hole are a phrase for the object."""
_ARTICLE = "The "
_DEPENDENT = (
    frozenset({"city", "country", "continent"}),
    frozenset({"headquarters", "company_country"}),
)
"""Relations of one place: who edits one fact of a subject leaves open what the others become."""


class _Relation(NamedTuple):
    main: str
    """The template that records use."""
    phrase: str
    """What names the object, such as "the maker of {}"; "" where no template does."""
    article: str
    """What stands before the object: " the", or nothing."""


class Graph:
    """The facts of a world, by subject and by relation.

    Args:
        table: Templates by relation, and facts; `facts.json`.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._relations = {
            name: _relation(sentences["templates"])
            for name, sentences in table["relations"].items()
        }
        self._facts: dict[str, dict[str, str]] = defaultdict(dict)
        self._objects: dict[str, set[str]] = defaultdict(set)
        self._last_names = Counter(
            name.split(" ")[-1] for name in {fact["subject"] for fact in table["facts"]}
        )
        for fact in table["facts"]:
            self._facts[fact["subject"]][fact["relation"]] = fact["object"]
            self._objects[fact["relation"]].add(fact["object"])

    def with_ripples(self, record: FactRecord) -> FactRecord:
        """A record of this world with its questions.

        Raises:
            ArgumentError: It is of another one.
        """
        name, subject = record.relation, record.subject
        if self._facts.get(subject, {}).get(name) != record.target or not record.target_new:
            raise ArgumentError(
                f"{record!r} is no record of the bundled world.",
                "One of rw.bundled.facts() or rw.datasets.bundled() was wanted.",
            )
        follows = (*self._two_hops(record), *self._inverse(record), *self._alias(record))
        return replace(
            record,
            locality=tuple(self._others(record)),
            portability=follows,
            contradictions=tuple(sorted(self._objects[name] - {record.target_new})),
        )

    def _others(self, record: FactRecord) -> Iterator[Probe]:
        """Facts of the subject that an edit leaves as they are."""
        depend = {record.relation}.union(*(some for some in _DEPENDENT if record.relation in some))
        for name, obj in self._facts[record.subject].items():
            if name not in depend:
                prompt = fill(self._relations[name].main, record.subject)
                yield Probe(prompt, ((obj,),), OTHERS)

    def _two_hops(self, record: FactRecord) -> Iterator[Probe]:
        """What is known of the new object, asked of the phrase for it, where that is news."""
        phrase = self._relations[record.relation].phrase
        new, true = record.target_new or "", record.target
        for name, obj in self._facts.get(new, {}).items() if phrase else ():
            if self._facts.get(true, {}).get(name) == obj:
                continue
            template = self._relations[name].main
            prompt = fill(template, fill(phrase, record.subject))
            condition = Probe(fill(template, new), ((obj,),))
            yield Probe(prompt[:1].upper() + prompt[1:], ((obj,),), TWO_HOPS, (condition,))

    def _inverse(self, record: FactRecord) -> Iterator[Probe]:
        """The sentence turned round. Others that have the object count as wrong; they are many."""
        _, phrase, article = self._relations[record.relation]
        if phrase:
            before = f"{article.strip().capitalize()} {record.target_new}".strip()
            prompt = f"{before} is {phrase.removesuffix(' {}')}"
            yield Probe(prompt, ((record.subject,),), INVERSE)

    def _alias(self, record: FactRecord) -> Iterator[Probe]:
        """The edited prompt with a shorter name, where the unedited model knows the fact by it."""
        for name in self._aliases(record.subject):
            prompt = fill(record.prompt, name)
            condition = Probe(prompt, ((record.target,),))
            yield Probe(prompt, ((record.target_new or "",),), ALIAS, (condition,))

    def _aliases(self, subject: str) -> Iterator[str]:
        """Without its article; of a person the last name, where nobody else is called so."""
        if subject.startswith(_ARTICLE):
            yield subject.removeprefix(_ARTICLE)
            return
        *first, last = subject.split(" ")
        if first and self._last_names[last] == 1 and "profession" in self._facts[subject]:
            yield last


def _relation(templates: Iterable[str]) -> _Relation:
    main, *_ = templates = list(templates)
    for template in templates:
        if found := _NAMES_OBJECT.fullmatch(template):
            return _Relation(main, f"the {found[1]} {{}}", found[2] or "")
    return _Relation(main, "", "")


def rippled(records: Iterable[Any], table: Mapping[str, Any]) -> FactRecords:
    """Records of a world with their questions; see `rome_widgets.bundled.with_ripples`."""
    given = records if isinstance(records, FactRecords) else FactRecords(records)
    graph = Graph(table)
    found = [graph.with_ripples(record) for record in given]
    return FactRecords(found, given.source, given.left_out)
