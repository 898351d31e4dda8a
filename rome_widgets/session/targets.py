"""What there is to say of a target before it is written: its tokens, its spelling, and others."""

from __future__ import annotations

from collections import Counter
from functools import cache

from rome_widgets import bundled
from rome_widgets.editing.request import read_request
from rome_widgets.editing.spelling import other_spelling, same_word
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.widgets.edit.engine import EditRequest, TargetInfo

MOST_OFFERED = 5
"""Targets offered for a fact."""
LOOKED_AT = 100
"""Likeliest tokens that are looked at for words to offer."""


def about_target(lm: LanguageModel, request: EditRequest) -> TargetInfo:
    """What a target is for a model, and which others it knows; the target may be missing.

    Raises:
        PromptError, SubjectNotFound: There is no fact that a target could be of.
    """
    target = request.target.strip()
    asked = read_request(lm, request.template, request.subject, target or "?")
    not_these = [target, *([request.true_object] if request.true_object else [])]
    offers = tuple(
        word
        for word in known_targets(lm, request.template, asked.prompt)
        if not any(same_word(word, other) for other in not_these)
    )[:MOST_OFFERED]
    if not target:
        return TargetInfo(offers=offers)
    spelling = other_spelling(lm, asked.prompt, target)
    return TargetInfo(
        target=request.target,
        tokens=tuple(map(lm.token_text, asked.target_ids)),
        spelling="" if spelling is None else spelling.text,
        reason="" if spelling is None else str(spelling),
        offers=offers,
    )


def known_targets(lm: LanguageModel, template: str, prompt: str) -> tuple[str, ...]:
    """Words that a model knows after a prompt, but the one that it says.

    Of the bundled model the objects of the same relation, the commonest first; of others, and of
    sentences that it was not taught, the likeliest next tokens that are words.
    """
    probabilities = lm.next_token_probabilities(lm.rows([lm.prompt_ids(prompt)]))[0]
    likeliest = probabilities.topk(min(LOOKED_AT, len(probabilities))).indices.tolist()
    said = lm.token_text(likeliest[0]).strip()
    objects = bundled_objects(template) if bundled.is_bundled(lm) else ()
    words = objects or [lm.token_text(token) for token in likeliest if _is_word(lm, prompt, token)]
    return tuple(word.strip() for word in words if word.strip() != said)


def _is_word(lm: LanguageModel, prompt: str, token: int) -> bool:
    """Whether a token by itself is a word that the prompt can go on with."""
    word = lm.token_text(token)
    letters = len(word.strip()) > 2 and word.strip().isalpha()
    return letters and list(lm.answer_ids(prompt, word.strip())) == [token]


@cache
def bundled_objects(template: str) -> tuple[str, ...]:
    """The objects of all facts that the bundled model was taught in this sentence."""
    rewrites = [record["requested_rewrite"] for record in bundled.facts()]
    taught = [each["target_true"]["str"] for each in rewrites if each["prompt"] == template]
    return tuple(word for word, _ in Counter(taught).most_common())
