"""A fact with what is asked about it, in one form for all data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rome_widgets.errors import ArgumentError, PromptError, said
from rome_widgets.records.arguments import text as a_text
from rome_widgets.records.arguments import texts
from rome_widgets.records.fact import Fact, StatedFact
from rome_widgets.records.html import quoted, table
from rome_widgets.records.schemas import PROMPTS, Fields, Probe, read_fields
from rome_widgets.records.subject import check_text

LISTS = (*PROMPTS, "aliases", "aliases_new", "contradictions")
"""Fields that are texts."""
PROBES = ("locality", "portability")
"""Fields that are probes."""


@dataclass(frozen=True, repr=False)
class FactRecord(Fact):
    """A fact, and what a data set has about it; taken wherever a `Fact` is.

    Args:
        prompt: As of `Fact`.
        subject: As of `Fact`.
        target: The true object, without a leading space; empty where none is named.
        target_new: The object that an edit is to put in its place; None where none is named.
        id: What the data set calls it.
        relation: What the data set calls its relation.
        paraphrase_prompts: Other sentences for the fact: the new object is right after an edit.
        neighborhood_prompts: About other subjects that have the true object, which stays right.
        attribute_prompts: About other subjects that have the new object already.
        generation_prompts: For the model to go on from freely.
        aliases: Further names of the true object.
        aliases_new: Further names of the new object.
        contradictions: Other objects of the relation: a text that names one contradicts the new.
        locality: What else is asked, and has the same answer after an edit.
        portability: What else is asked, and is answered by what follows from the edit.
        along_with: Facts that belong to the same case, to be edited together with this one.

    Raises:
        PromptError, SubjectNotFound: It states no fact.
        ArgumentError: A field is another kind of thing.

    Example:
        >>> record = FactRecord("The capital of {} is", "France", "Paris", target_new="Rome")
        >>> record.text, record
        ('The capital of France is', FactRecord('The capital of {} is', 'France': 'Paris' → 'Rome'))
        >>> report = rw.edit(lm, record, progress=False).report
    """

    target_new: str | None = None
    id: str = ""
    relation: str = ""
    paraphrase_prompts: tuple[str, ...] = ()
    neighborhood_prompts: tuple[str, ...] = ()
    attribute_prompts: tuple[str, ...] = ()
    generation_prompts: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    aliases_new: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    portability: tuple[Probe, ...] = ()
    along_with: tuple[FactRecord, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("id", "relation", "target_new"):
            if (value := getattr(self, name)) is not None:
                a_text(value, name)
        object.__setattr__(self, "target_new", self.target_new or None)
        for name in LISTS:
            object.__setattr__(self, name, tuple(texts(getattr(self, name), name)))
        for name, kind in (*((each, Probe) for each in PROBES), ("along_with", FactRecord)):
            object.__setattr__(self, name, _all_of(kind, getattr(self, name), name))
        for name in ("text", "target", "target_new"):
            if value := getattr(self, name):
                check_text(value, name)

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | Fact) -> Self:
        """A record in any form that is known, or a fact, with all that it says.

        Raises:
            PromptError, SubjectNotFound: It states no fact.

        Example:
            >>> FactRecord.from_record(rw.bundled.facts()[0]).relation
            'profession'
        """
        if isinstance(record, cls):
            return record
        if isinstance(record, Fact):
            return cls(record.prompt, record.subject, record.target)
        return cls(**_arguments(read_fields(record)))

    @property
    def edited_together(self) -> tuple[FactRecord, ...]:
        """All facts of the case, this one first."""
        return (self, *self.along_with)

    def stated(self) -> StatedFact:
        """What it says, the new object too."""
        return super().stated()._replace(target=self.target_new)

    def __repr__(self) -> str:
        objects = [quoted(each) for each in (self.target, self.target_new) if each]
        says = f": {' → '.join(objects)}" if objects else ""
        return f"FactRecord({quoted(self.prompt)}, {quoted(self.subject)}{says})"

    def _repr_html_(self) -> str:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return table([[name, _shown(each)] for name, each in values.items() if each])


def record_of(fields: Fields) -> FactRecord:
    """The record that a schema has read; raises as `FactRecord` does."""
    return FactRecord(**_arguments(fields))


def _arguments(fields: Fields) -> Fields:
    """With further facts of the same case as records."""
    return {**fields, "along_with": tuple(map(record_of, fields.get("along_with", ())))}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return " · ".join(each if isinstance(each, str) else said(each) for each in value)


def _all_of(kind: type, given: Any, name: str) -> tuple[Any, ...]:
    if isinstance(given, list | tuple) and all(isinstance(each, kind) for each in given):
        return tuple(given)
    raise ArgumentError(f"{name} is {said(given)}.", f"A list of {kind.__name__} was wanted.")


def new_and_true(record: FactRecord) -> tuple[str, str]:
    """Both objects of a record.

    Raises:
        PromptError: It does not name them.
    """
    if record.target_new and record.target:
        return record.target_new, record.target
    missing = "new object (target_new)" if record.target else "true object (target)"
    raise PromptError(
        f"{record!r} names no {missing}.", "Both objects were wanted, to compare the two."
    )
