"""What is to be traced, whichever way it was said: the text of a prompt, and the subject in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rome_widgets import bundled
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.tokens import is_ids, is_messages
from rome_widgets.records.fact import HOLE, Fact, fill, read_fact
from rome_widgets.records.subject import Span, check_text, no_subject

Prompt = str | Fact | Mapping[str, Any] | Sequence[Any] | np.ndarray | Tensor
"""Text, a fact or a record of one, chat messages, or token ids."""
SubjectOfPrompt = str | Span | Sequence[Span] | None
"""Words, their span of characters, or the spans of several mentions."""


def read_stated(
    lm: LanguageModel, prompt: Prompt, subject: SubjectOfPrompt
) -> tuple[str, str | Span | Sequence[Span]]:
    """As `as_text`, of whatever a model can read as a prompt.

    Raises:
        PromptError: Neither a prompt nor a fact, or one without a subject.
    """
    if not isinstance(prompt, Fact | Mapping) or is_messages(prompt) or is_ids(prompt):
        prompt = lm.read_prompt(prompt, subject)
    return as_text(prompt, subject)


def as_text(prompt: Any, subject: SubjectOfPrompt) -> tuple[str, str | Span | Sequence[Span]]:
    """The text to run and the subject in it, whichever way the fact was given.

    A text is taken literally. Only where the subject is not in it and it has exactly one `{}`,
    that is the subject's place.

    Raises:
        PromptError: Text without a subject, or a record that states no fact.
    """
    if isinstance(prompt, str):
        check_text(prompt, "prompt")
        if subject is None:
            raise no_subject(prompt, bundled.subjects())
        if isinstance(subject, str) and not subject.strip():
            raise no_subject(prompt, bundled.subjects(), "The subject is empty.")
    if isinstance(prompt, str) and subject is not None:
        if not isinstance(subject, str) or not subject.strip() or subject in prompt:
            return prompt, subject
        if prompt.count(HOLE) != 1:
            return prompt, subject
    stated = read_fact(prompt, subject if isinstance(subject, str) else None)
    start = stated.template.index(HOLE)
    return fill(stated.template, stated.subject), (start, start + len(stated.subject))
