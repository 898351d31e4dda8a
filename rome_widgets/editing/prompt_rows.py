"""Prompts of an edit as rows of token ids: with each prefix, and the one that should stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rome_widgets.editing.request import Request
from rome_widgets.errors import ContextTooLong, PromptError
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.fact import HOLE

ABOUT = "{} is a"
"""What the subject is should stay: the row of the KL term."""


@dataclass(frozen=True)
class PromptRow:
    """One line of tokens that the edit is computed from."""

    ids: tuple[int, ...]
    pos: int
    """Position of the last subject token."""
    wanted: tuple[int, ...]
    """Positions whose predictions are read; consecutive."""
    weight: float = 1.0
    """Share in means over rows."""


def prefixed_rows(lm: LanguageModel, request: Request, prefixes: Sequence[str]) -> list[PromptRow]:
    """One row per different prefix, weighted by how often it is there; the bare prompt first.

    A prefix goes where the text begins. In a chat that is not its very start, where no model reads
    words, but after the special tokens and the line of the turn that names its speaker.
    Each ends with the target but for its last token, so that every target token is predicted.
    """
    if "" not in prefixes:
        raise PromptError("The prefixes lack the empty one.", "The bare prompt was wanted.")
    counts, total = Counter(("", *prefixes)), len(prefixes)
    counts[""] -= 1  # it was put first
    return [_row(lm, prefix, request, count / total) for prefix, count in counts.items()]


def _row(lm: LanguageModel, prefix: str, request: Request, weight: float) -> PromptRow:
    before = f"{prefix}. " if prefix else ""
    start, stop = (at + len(before) for at in request.subject_place)
    at = lm.start_of_words(request.prompt, request.subject_place[0])
    encoded = lm.encode(lm.with_words(request.prompt, (at, at), before), (start, stop))
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
    return PromptRow(ids, encoded.subject_span[1] - 1, wanted, weight)


def about_row(lm: LanguageModel, request: Request, position: str) -> PromptRow:
    """The row whose prediction should stay: at the "end", after "is a", as the paper says.

    At the position "subject" it is read at the last subject token, as the published code does.
    """
    subject = request.fact.subject
    encoded = lm.encode(ABOUT.replace(HOLE, subject), (0, len(subject)))
    pos = encoded.subject_span[1] - 1
    # What stands after a position cannot reach it, so nothing there is run.
    ids = encoded.ids[: pos + 1] if position == "subject" else encoded.ids
    return PromptRow(ids, pos, (len(ids) - 1,))
