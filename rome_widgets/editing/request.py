"""Facts as an editor is asked to write them, checked, and the rows of tokens they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rome_widgets.errors import ContextTooLong, PromptError
from rome_widgets.model import tokens
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.fact import HOLE, Fact, read_fact

ABOUT = "{} is a"
"""What the subject is should stay: the row of the KL term."""


@dataclass(frozen=True)
class Row:
    """One line of tokens that the edit is computed from."""

    ids: tuple[int, ...]
    pos: int
    """Position of the last subject token."""
    wanted: tuple[int, ...]
    """Positions whose predictions are read; consecutive."""
    weight: float = 1.0
    """Share in means over rows."""


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


def prefixed_rows(lm: LanguageModel, request: Request, prefixes: Sequence[str]) -> list[Row]:
    """One row per different prefix, weighted by how often it is there; the bare prompt first.

    Each ends with the target but for its last token, so that every target token is predicted.
    """
    if "" not in prefixes:
        raise PromptError("The prefixes lack the empty one.", "The bare prompt was wanted.")
    counts, total = Counter(("", *prefixes)), len(prefixes)
    counts[""] -= 1  # it was put first
    return [_row(lm, prefix, request, count / total) for prefix, count in counts.items()]


def _row(lm: LanguageModel, prefix: str, request: Request, weight: float) -> Row:
    before = f"{prefix}. " if prefix else ""
    start = len(before) + request.fact.subject_start
    text = before + request.fact.text
    encoded = lm.encode(text, (start, start + len(request.fact.subject)))
    ids = (*encoded.ids, *request.target_ids[:-1])
    limit = lm.n_positions
    if limit is not None and len(ids) > limit:
        raise ContextTooLong(
            f"A prefix, the prompt and the target have {len(ids)} tokens together.",
            f"This model reads at most {limit}.",
            "Shorten the prompt, or choose shorter prefixes in the settings.",
        )
    first = len(encoded.ids) - 1
    wanted = tuple(range(first, first + len(request.target_ids)))
    return Row(ids, encoded.subject_span[1] - 1, wanted, weight)


def about_row(lm: LanguageModel, request: Request, position: str) -> Row:
    """The row whose prediction should stay: at the "end", after "is a", as the paper says.

    At the position "subject" it is read at the last subject token, as the published code does.
    """
    subject = request.fact.subject
    encoded = lm.encode(ABOUT.replace(HOLE, subject), (0, len(subject)))
    pos = encoded.subject_span[1] - 1
    # What stands after a position cannot reach it, so nothing there is run.
    ids = encoded.ids[: pos + 1] if position == "subject" else encoded.ids
    return Row(ids, pos, (len(ids) - 1,))
