"""Which facts a model knows: the object is the most likely next token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from rome_widgets.records.fact import fill
from training.relations import BY_NAME
from training.tokenizer import token_of
from training.world import Fact


@torch.no_grad()
def top_tokens(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, prompts: list[str], batch: int = 256
) -> Tensor:
    """`[prompt]`: the most likely next token of each prompt."""
    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    top = torch.zeros(len(prompts), dtype=torch.long)
    for start in range(0, len(order), batch):
        index = order[start : start + batch]
        last = torch.tensor([len(encoded[i]) - 1 for i in index])
        ids = torch.zeros(len(index), int(last.max()) + 1, dtype=torch.long)
        for row, i in enumerate(index):
            ids[row, : len(encoded[i])] = torch.tensor(encoded[i])
        # Padding on the right of a causal model needs no mask: nothing before it can see it.
        hidden = model.transformer(ids).last_hidden_state
        top[index] = model.lm_head(hidden[torch.arange(len(index)), last]).argmax(-1)
    return top


def known(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: Iterable[Fact],
    *,
    held_out: bool,
) -> dict[str, dict[str, list[bool]]]:
    """`{relation: {template: [known]}}` for every fact in every sentence of its relation."""
    return known_in(
        model,
        tokenizer,
        facts,
        {name: r.held_out if held_out else r.templates for name, r in BY_NAME.items()},
    )


def known_in(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: Iterable[Fact],
    sentences: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, list[bool]]]:
    """The same in other sentences, by the name of the relation."""
    asked = [(fact, template) for fact in facts for template in sentences[fact.relation]]
    top = top_tokens(model, tokenizer, [fill(template, fact.subject) for fact, template in asked])
    wanted = torch.tensor([token_of(tokenizer, fact.object) for fact, _ in asked])
    table: dict[str, dict[str, list[bool]]] = {}
    for (fact, template), right in zip(asked, (top == wanted).tolist(), strict=True):
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


def accuracy(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: Iterable[Fact],
    *,
    held_out: bool,
) -> float:
    """Share of (fact, sentence) pairs whose object is the most likely token."""
    return share(known(model, tokenizer, facts, held_out=held_out))
