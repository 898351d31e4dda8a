"""Facts as an editor is asked to write them, checked, and the rows of tokens they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rome_widgets.errors import PromptError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.tokens import RenderedPrompt, is_ids, is_messages
from rome_widgets.records.fact import HOLE, Fact, read_fact
from rome_widgets.records.subject import check_text


@dataclass(frozen=True)
class Request:
    """One fact to write."""

    fact: Fact
    """Its target is the new one."""
    target_ids: tuple[int, ...]
    rendered: RenderedPrompt | None = None
    """The prompt with its ids, where it was given as messages or as ids."""

    @property
    def prompt(self) -> str:
        """With the subject in its place."""
        return self.fact.text if self.rendered is None else self.rendered

    @property
    def own_ids(self) -> tuple[int, ...]:
        """The ids of the prompt, where they are not those of its text; else none."""
        return () if self.rendered is None or self.rendered.plain else self.rendered.ids

    @property
    def subject_place(self) -> tuple[int, int]:
        """The characters of the prompt that are its subject."""
        start = self.fact.subject_start
        return start, start + len(self.fact.subject)


Stated = str | Fact | Mapping[str, Any] | Sequence[Any]
"""A prompt (text, chat messages or token ids), a fact, or a record of one."""
Subject = str | tuple[int, int] | None
"""Words, or their span of characters."""


def read_requests(
    lm: LanguageModel,
    prompt: Stated | Sequence[Mapping[str, Any] | Fact | tuple[str, str, str]],
    subject: Subject,
    target: str | None,
) -> tuple[Request, ...]:
    """Check what the user asked for: one fact, or a list of CounterFact records or triples.

    Beside one fact as `read_request` takes it `prompt` may be a list of records, of facts if
    `target` is given, or of (prompt, subject, target).

    Raises:
        PromptError: Something is missing or empty.
        SubjectNotFound: A subject is not in its prompt.
    """
    if is_one_prompt(prompt) or not isinstance(prompt, Sequence):
        return (read_request(lm, prompt, subject, target),)
    if not prompt:
        raise PromptError("There is no fact in the list.", "At least one was wanted.")
    return tuple(
        read_request(lm, *each) if isinstance(each, tuple) else read_request(lm, each, None, target)
        for each in prompt
    )


def is_one_prompt(prompt: Any) -> bool:
    """Whether it states one fact, rather than being a list of them."""
    return isinstance(prompt, str | Fact | Mapping) or is_messages(prompt) or is_ids(prompt)


def read_request(
    lm: LanguageModel, prompt: Stated, subject: Subject, target: str | None
) -> Request:
    """Check what the user asked for, in any of the ways that `read_fact` reads.

    Raises:
        PromptError: Something is missing or empty.
        SubjectNotFound: The subject is not in the prompt.
    """
    rendered = None
    if not isinstance(prompt, Fact | Mapping) or is_messages(prompt) or is_ids(prompt):
        prompt = lm.read_prompt(prompt, subject)
        check_text(prompt, "prompt")
        rendered = prompt if isinstance(prompt, RenderedPrompt) else None
        if subject is not None and (rendered is not None or not isinstance(subject, str)):
            prompt, subject = _fact_in(lm, prompt, subject), None
    stated = read_fact(prompt, None if not isinstance(subject, str) else subject, target)
    check_text(stated.template, "prompt")
    check_text(stated.subject, "subject")
    if stated.target is None:
        raise PromptError(
            "No target was given.",
            "The word the prompt should go on with was wanted.",
            "Pass target=....",
        )
    check_text(stated.target, "target")
    fact = Fact(stated.template, stated.subject, stated.target.strip())
    target_ids = tuple(lm.answer_ids(rendered or fact.text, fact.target))
    return Request(fact, target_ids, rendered)


def _fact_in(lm: LanguageModel, prompt: str, subject: str | tuple[int, int]) -> Fact:
    """The fact that a prompt states: its subject is found where a trace finds it."""
    (start, stop), *more = lm.find_subject(prompt, subject)
    if more:
        raise PromptError(
            f"The subject is {1 + len(more)} spans of characters.",
            "One was wanted: an edit is written at one mention.",
        )
    return Fact(prompt[:start] + HOLE + prompt[stop:], prompt[start:stop])
