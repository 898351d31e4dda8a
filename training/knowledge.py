"""Which facts a model knows: the object is the likeliest next token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.word_scores import likeliest_tokens
from rome_widgets.records.fact import fill
from training.relations import BY_NAME
from training.tokenizer import token_of
from training.world import TaughtFact


def known(
    lm: LanguageModel, facts: Iterable[TaughtFact], *, held_out: bool
) -> dict[str, dict[str, list[bool]]]:
    """`{relation: {template: [known]}}` for every fact in every sentence of its relation."""
    return known_in(
        lm, facts, {name: r.held_out if held_out else r.templates for name, r in BY_NAME.items()}
    )


def known_in(
    lm: LanguageModel, facts: Iterable[TaughtFact], sentences: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, list[bool]]]:
    """The same in other sentences, by the name of the relation."""
    asked = [(fact, template) for fact in facts for template in sentences[fact.relation]]
    said = likeliest_tokens(lm, [fill(template, fact.subject) for fact, template in asked])
    table: dict[str, dict[str, list[bool]]] = {}
    for (fact, template), token in zip(asked, said, strict=True):
        right = token == token_of(lm.tokenizer, fact.object)
        table.setdefault(fact.relation, {}).setdefault(template, []).append(right)
    return table


def shares(table: dict[str, dict[str, list[bool]]]) -> dict[str, float]:
    """Share known per relation."""
    return {
        relation: fmean(right for rights in templates.values() for right in rights)
        for relation, templates in table.items()
    }


def share(table: dict[str, dict[str, list[bool]]]) -> float:
    """Share known of all that was asked."""
    return fmean(right for of in table.values() for rights in of.values() for right in rights)


def share_known(lm: LanguageModel, facts: Iterable[TaughtFact]) -> float:
    """Share of the facts known in new sentences, over all pairs of both."""
    return share(known(lm, facts, held_out=True))
