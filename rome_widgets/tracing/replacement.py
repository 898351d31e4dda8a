"""The corrupted run of another subject: which tokens it reads in place of the prompt's own.

Source:
    Zhang & Nanda 2024, "Towards best practices of activation patching in language models":
    symmetric token replacement.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from rome_widgets import bundled
from rome_widgets.errors import NoiseError, RomeWidgetsError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.tokens import EncodedPrompt
from rome_widgets.records.corruption import Subject
from rome_widgets.records.html import plural
from rome_widgets.records.subject import Span

OFFERED = 3
"""Subjects that an error offers, at most."""


def ids_with_subject(
    lm: LanguageModel,
    prompt: str,
    places: Sequence[Span],
    encoded: EncodedPrompt,
    other: Subject,
) -> tuple[int, ...]:
    """The token ids of the prompt with another subject in these places.

    Args:
        lm: Reads the prompt.
        prompt: As it was encoded.
        places: Characters of the subject, of every mention that is meant.
        encoded: The prompt's own tokens.
        other: Who is to stand there.

    Raises:
        NoiseError: It has another number of tokens there, or changes those around it; offers the
            nearest subjects of the bundled list that fit.
    """
    found = _with_words(lm, prompt, places, other.words)
    if _fits(found, encoded):
        return found.ids
    near = islice(
        (
            each
            for each in _by_likeness(encoded.subject, other.words)
            if _fits_in(lm, prompt, places, encoded, each)
        ),
        OFFERED,
    )
    offers = ", ".join(f"rw.Subject({each!r})" for each in near)
    has = plural(_n_tokens(found), "token")
    raise NoiseError(
        f"{other.words!r} has {has} in the place of {encoded.subject!r}."
        if _n_tokens(found) != _n_tokens(encoded)
        else f"{other.words!r} changes the tokens around it.",
        f"{plural(_n_tokens(encoded), 'token')} in the same positions were wanted, "
        "so that every state has its counterpart.",
        f"Such subjects are {offers}." if offers else "",
    )


def _with_words(
    lm: LanguageModel, prompt: str, places: Sequence[Span], words: str
) -> EncodedPrompt:
    for place in sorted(places, reverse=True):
        prompt = lm.with_words(prompt, place, words)
    grown, spans = 0, []
    for start, stop in sorted(places):
        spans.append((start + grown, start + grown + len(words)))
        grown += len(words) - (stop - start)
    return lm.encode(prompt, spans)


def _fits(found: EncodedPrompt, encoded: EncodedPrompt) -> bool:
    """Whether the tokens are as many, and the same but for those of the subject."""
    if found.subject_spans != encoded.subject_spans or len(found.ids) != len(encoded.ids):
        return False
    inside = {pos for span in encoded.subject_spans for pos in range(*span)}
    pairs = enumerate(zip(found.ids, encoded.ids, strict=True))
    return all(one == other for pos, (one, other) in pairs if pos not in inside)


def _fits_in(
    lm: LanguageModel, prompt: str, places: Sequence[Span], encoded: EncodedPrompt, words: str
) -> bool:
    try:
        return _fits(_with_words(lm, prompt, places, words), encoded)
    except RomeWidgetsError:  # too long, or nothing that this tokenizer sees
        return False


def _n_tokens(encoded: EncodedPrompt) -> int:
    return sum(stop - start for start, stop in encoded.subject_spans)


def _by_likeness(subject: str, words: str) -> list[str]:
    """The other subjects of the bundled list, the nearest first.

    Those first of which the same relations are known as of the prompt's own `subject`, if any are;
    of these the ones whose letters are most like the words that were asked for.
    """
    relations: dict[str, set[str]] = defaultdict(set)
    for fact in bundled.facts():
        stated = fact["requested_rewrite"]
        relations[stated["subject"]].add(stated["relation_id"])
    own = relations.pop(subject, set())
    matcher = difflib.SequenceMatcher(b=words)

    def nearness(other: str) -> tuple[int, float, str]:
        matcher.set_seq1(other)
        return -len(own & relations[other]), -matcher.quick_ratio(), other

    return sorted(relations, key=nearness)
