"""Facts as an editor is asked to write them, checked, and the rows of tokens they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rome_widgets.errors import PromptError
from rome_widgets.model import tokens
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.fact import Fact, read_fact


@dataclass(frozen=True)
class Request:
    """One fact to write."""

    fact: Fact
    """Its target is the new one."""
    target_ids: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """With the subject in its place."""
        return self.fact.text


Stated = str | Fact | Mapping[str, Any]
"""A prompt, a fact, or a record of one."""


def read_requests(
    lm: LanguageModel,
    prompt: Stated | Sequence[Mapping[str, Any] | tuple[str, str, str]],
    subject: str | None,
    target: str | None,
) -> tuple[Request, ...]:
    """Check what the user asked for: one fact, or a list of CounterFact records or triples.

    Beside one fact as `read_request` takes it `prompt` may be a list of records, of facts if
    `target` is given, or of (prompt, subject, target).

    Raises:
        PromptError: Something is missing or empty.
        SubjectNotFound: A subject is not in its prompt.
    """
    if isinstance(prompt, (str, Fact, Mapping)) or not isinstance(prompt, Sequence):
        return (read_request(lm, prompt, subject, target),)
    if not prompt:
        raise PromptError("There is no fact in the list.", "At least one was wanted.")
    return tuple(
        read_request(lm, *each) if isinstance(each, tuple) else read_request(lm, each, None, target)
        for each in prompt
    )


def read_request(
    lm: LanguageModel, prompt: Stated, subject: str | None, target: str | None
) -> Request:
    """Check what the user asked for, in any of the ways that `read_fact` reads.

    Raises:
        PromptError: Something is missing or empty.
        SubjectNotFound: The subject is not in the prompt.
    """
    if isinstance(prompt, str):
        tokens.check_text(prompt, "prompt")
    stated = read_fact(prompt, subject, target)
    tokens.check_text(stated.template, "prompt")
    tokens.check_text(stated.subject, "subject")
    if stated.target is None:
        raise PromptError(
            "No target was given.",
            "The word the prompt should go on with was wanted.",
            "Pass target=....",
        )
    tokens.check_text(stated.target, "target")
    fact = Fact(stated.template, stated.subject, stated.target.strip())
    return Request(fact, tuple(lm.answer_ids(fact.text, fact.target)))
