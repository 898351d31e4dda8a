"""A fact as a person writes it: a prompt with a hole for the subject, the subject, the target.

Pure text, no model. The hole is one literal `{}`; nothing here uses `str.format`, so braces,
quotes and format fields in a prompt are only text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from rome_widgets.errors import PromptError, SubjectNotFound
from rome_widgets.records.schemas import Fields, read_fields
from rome_widgets.records.subject import find_subject, no_subject, not_found, subject_places

HOLE = "{}"


@dataclass(frozen=True)
class Fact:
    """One statement about one subject.

    Args:
        prompt: Text with one literal `{}` where the subject goes, or the text with the subject
            already in it; its last occurrence, whole words before parts of words, then becomes
            the hole.
        subject: The entity as it is written in the text.
        target: The word the text should go on with, without a leading space; may be empty.

    Raises:
        PromptError: The prompt has more than one `{}`.
        SubjectNotFound: The prompt has neither a `{}` nor the subject.

    Example:
        >>> Fact("The Space Needle is in the city of", "The Space Needle", "Seattle").prompt
        '{} is in the city of'
    """

    prompt: str
    """Text with one literal `{}`."""
    subject: str
    """What fills the hole."""
    target: str = ""
    """The word a person expects next; the leading space is the library's business."""

    def __post_init__(self) -> None:
        for name in ("prompt", "subject", "target"):
            if not isinstance(getattr(self, name), str):
                raise PromptError(
                    f"The {name} of a fact is {type(getattr(self, name)).__name__}, not text.",
                    remedy=f"Pass the {name} as a str.",
                )
        if not self.subject.strip():
            raise no_subject(self.prompt, found="The subject is empty.")
        holes = self.prompt.count(HOLE)
        if holes == 1:
            return
        if holes > 1:
            raise PromptError(
                f"The prompt {self.prompt!r} has {holes} places marked {HOLE}.",
                f"Exactly one {HOLE} was wanted, for the subject.",
                "Keep one of them; text that needs more braces can be traced as plain text.",
            )
        if not subject_places(self.prompt, self.subject):
            missing = not_found(self.prompt, self.subject)
            raise SubjectNotFound(
                f"The prompt {self.prompt!r} has neither {HOLE} nor the subject {self.subject!r}.",
                missing.wanted,
                f"{missing.remedy} Or mark the subject's place with {HOLE}.",
                missing.suggestion,
            )
        ((start, stop),), _ = find_subject(self.prompt, self.subject)
        object.__setattr__(self, "subject", self.prompt[start:stop])
        object.__setattr__(self, "prompt", self.prompt[:start] + HOLE + self.prompt[stop:])

    @property
    def subject_start(self) -> int:
        """Character index of the subject in `text`."""
        return self.prompt.index(HOLE)

    @property
    def text(self) -> str:
        """The prompt with the subject in its place."""
        return fill(self.prompt, self.subject)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The fact of a record in any form that is known: CounterFact's, known_1000's, ...

        Raises:
            PromptError: The mapping has none of them, or states several facts.
        """
        fields = _one_fact(record)
        return cls(fields["prompt"], fields["subject"], fields["target"])

    def stated(self) -> StatedFact:
        """What it says, and of a new object nothing."""
        return StatedFact(self.prompt, self.subject, None, self.target or None)


class StatedFact(NamedTuple):
    """What a text, a fact or a record says."""

    template: str
    """Text with one literal `{}`."""
    subject: str
    target: str | None
    """The new object, where one is named."""
    true_object: str | None
    """The object that a person expects, where one is named."""


def read_fact(
    prompt: str | Fact | Mapping[str, Any], subject: str | None = None, target: str | None = None
) -> StatedFact:
    """Read a fact in whichever way it was given.

    Args:
        prompt: Text with one `{}`, or with the subject in it; a Fact; or a record, whose new target
            is taken where `target` is not given.
        subject: The entity; not needed with a Fact or a record.
        target: The new object.

    Raises:
        PromptError: Text without a subject, or a record that states no fact.
        SubjectNotFound: The subject is not in the text.

    Example:
        >>> read_fact("Rome is in", "Rome", "France")
        StatedFact(template='{} is in', subject='Rome', target='France', true_object=None)
    """
    if isinstance(prompt, Mapping):
        fields = _one_fact(prompt)
        stated = Fact(fields["prompt"], fields["subject"], fields["target"]).stated()
        stated = stated._replace(target=fields.get("target_new"))
    elif isinstance(prompt, Fact):
        stated = prompt.stated()
    elif subject is None:
        raise no_subject(prompt if isinstance(prompt, str) else "")
    else:
        stated = Fact(prompt, subject).stated()
    missing = target is None or (isinstance(target, str) and not target)
    return stated if missing and stated.target else stated._replace(target=target)


def _one_fact(record: Any) -> Fields:
    fields = read_fields(record)
    if more := fields.get("along_with"):
        raise PromptError(
            f"The record states {1 + len(more)} facts, which belong together.",
            "One fact was wanted.",
            "Read it with FactRecord.from_record: its along_with are the others.",
        )
    return fields


def fill(template: str, subject: str) -> str:
    """`template` with `subject` in place of its `{}`; other braces are only text."""
    head, _, tail = template.partition(HOLE)
    return head + subject + tail
