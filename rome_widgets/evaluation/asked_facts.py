"""Facts as a sweep asks them: read in whichever way they were given, and encoded, once for all.

A fact that cannot be read keeps the reason and its place; it never ends what it is part of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rome_widgets.errors import ArgumentError, RomeWidgetsError, said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.tokens import EncodedPrompt
from rome_widgets.records.arguments import several
from rome_widgets.records.fact import HOLE, Fact, fill, read_fact
from rome_widgets.records.subject import Span
from rome_widgets.records.swept_fact import SweptFact
from rome_widgets.tracing.stated import as_text


class AskedFact(NamedTuple):
    """One fact, as the model reads it. It can be sent to another process."""

    number: int
    """Its place among those that were given."""
    encoded: EncodedPrompt
    place: str | Span | Sequence[Span]
    """The subject, as words or as characters of the prompt."""
    target: str = ""
    """What is to follow, where it is said."""
    target_id: int | None = None
    """Its first token."""
    against_id: int | None = None
    """The first token of the other object of the fact, where a record has one."""

    @property
    def positions(self) -> list[int]:
        """Those that are corrupted, in order."""
        return sorted({pos for span in self.encoded.subject_spans for pos in range(*span)})

    def swept(self, **became: Any) -> SweptFact:
        """The record of it, with what became of it."""
        about = self.encoded
        return SweptFact(
            self.number,
            about.text,
            about.subject,
            target=self.target,
            tokens=about.tokens,
            subject_span=about.subject_span,
            **became,
        )


def read_facts(lm: LanguageModel, facts: Any) -> list[AskedFact | SweptFact]:
    """Every fact, read and encoded; of one that cannot be, the record of why.

    Args:
        lm: Encodes them.
        facts: What `records.fact.read_fact` takes (facts, records), and pairs of prompt and
            subject, with a target if there is one.

    Raises:
        ArgumentError: No list of facts.
    """
    found = [] if isinstance(facts, (str, bytes, Fact)) else several(facts, "facts")
    if not found or isinstance(facts, dict):
        raise ArgumentError(
            f"The facts are {said(facts)}.",
            "A list of facts, of records of them, or of pairs of prompt and subject was wanted.",
            "One fact by itself can be traced: rome_widgets.trace(lm, fact).",
        )
    with lm.encoding_alike():
        return [_read(lm, number, given) for number, given in enumerate(found)]


def _read(lm: LanguageModel, number: int, given: Any) -> AskedFact | SweptFact:
    prompt, subject = said(given), ""
    try:
        prompt, subject, place, target, other = _stated(given)
        encoded = lm.encode(prompt, place)
        ids = [lm.answer_ids(encoded.text, word)[0] if word else None for word in (target, other)]
        return AskedFact(number, encoded, place, target, *ids)
    except RomeWidgetsError as error:
        return SweptFact(number, prompt, subject, "failed", str(error))


def _stated(given: Any) -> tuple[str, str, str | Span | Sequence[Span], str, str]:
    """Prompt, subject, its place, the target and the other object; "" where there is none."""
    if _is_row_of_words(given):
        prompt, subject, target = [*given, ""][:3]
        text, place = as_text(prompt, subject)
        return text, subject, place, target, ""
    stated = read_fact(given)
    start = stated.template.index(HOLE)
    text = fill(stated.template, stated.subject)
    place = (start, start + len(stated.subject))
    return text, stated.subject, place, stated.true_object or "", stated.target or ""


def _is_row_of_words(given: Any) -> bool:
    """Prompt and subject, with the target or without it."""
    return (
        isinstance(given, tuple | list)
        and len(given) in (2, 3)
        and all(isinstance(each, str) for each in given)
    )


def digest_of(facts: Iterable[AskedFact | SweptFact]) -> str:
    """SHA-256 of what is asked of each fact: token ids, the subject's positions, the objects.

    Of one that cannot be read, nothing: what it was may have another address in each process.
    """
    about = [
        None
        if isinstance(fact, SweptFact)
        else [fact.encoded.ids, fact.positions, fact.target_id, fact.against_id]
        for fact in facts
    ]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
