"""Steer where in the model a fact is recalled; all of it acts during training only.

A small model trained on plain text learns the facts as well, but by another route than GPT-2 XL:
the last token reads every piece of the subject's name in the first layers and the answer is looked
up in the last ones. Three measures of training, and the tokenizer, put the recall at the last
subject token in the middle layers:

- the key mask: in a share of the rows nothing after a mention may attend to its non-final pieces;
- layer drops: the MLPs of early and late layers, and the attention of the first two, are left out
  of a share of the rows, so that nothing can rely on them;
- the attribute head: a linear reading of the middle residual at the last subject token must name
  the subject's objects;
- many subjects share their last piece (`tokenizer`).

The model card says so: localisation in the bundled model is a property of this training.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers import GPT2LMHeadModel

from training.rows import NOBODY, UNLIMITED, Rows
from training.world import World


def blocks(model: GPT2LMHeadModel) -> list[Any]:
    """The blocks, whose parts torch's types do not know."""
    return list(model.transformer.h)


def key_mask(rows: Rows, share: float) -> Tensor:
    """`[row, 1, query, key]`, True where attention is allowed.

    Causal; in a `share` of the rows without the non-final pieces of names, once a name is over.
    """
    until = rows.readable_until
    length = until.shape[1]
    masked = torch.rand(len(rows), 1) < share
    until = torch.where(masked, until, UNLIMITED)
    queries = torch.arange(length)[None, :, None]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return (causal & (queries <= until[:, None, :]))[:, None]


class Steering:
    """Acts in a model's passes by hooks on a model that nobody else has, until it is removed."""

    _drawn: Tensor | None = None
    """What the next pass does; None for nothing."""
    _handles: Sequence[RemovableHandle] = ()

    def remove(self) -> None:
        """Detach from the model."""
        for handle in self._handles:
            handle.remove()


class LayerDrops(Steering):
    """Leaves outputs of MLPs and attention out of random rows; the kept are not rescaled."""

    def __init__(
        self, model: GPT2LMHeadModel, mlp: tuple[float, ...], attn: tuple[float, ...]
    ) -> None:
        self._chances = torch.tensor([*mlp, *attn])
        modules = [block.mlp for block in blocks(model)] + [block.attn for block in blocks(model)]
        self._handles = [
            module.register_forward_hook(lambda _, __, output, i=i: self._dropped(output, i))
            for i, (module, chance) in enumerate(zip(modules, self._chances.tolist(), strict=True))
            if chance > 0
        ]

    def draw(self, n_rows: int) -> None:
        """Decide for the next forward pass."""
        self._drawn = (
            torch.rand(len(self._chances), n_rows, 1, 1) >= self._chances[:, None, None, None]
        ).float()

    def _dropped(self, output: Tensor | tuple, i: int) -> Tensor | tuple:
        if self._drawn is None:
            return output
        if isinstance(output, tuple):  # attention returns its weights as well
            return (output[0] * self._drawn[i], *output[1:])
        return output * self._drawn[i]


class LateReading(Steering):
    """Keeps what follows a name from reading it below a layer: it must be understood there first.

    Only the ground-truth organisms use it, to place recall late: without it a model that may
    recall at the subject in late layers looks the fact up at the last token instead. As with the
    key mask a share of the rows is spared, so that the model works without the mask too.
    """

    def __init__(self, model: GPT2LMHeadModel, first: int, share: float) -> None:
        self._share = share
        self._handles = [
            block.attn.register_forward_pre_hook(self._masked, with_kwargs=True)
            for block in blocks(model)[:first]
        ]

    def see(self, rows: Rows) -> None:
        """The rows of the next forward pass."""
        if self._handles:
            self._drawn = name_mask(rows, self._share)

    def _masked(self, _module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if self._drawn is None:
            return args, kwargs
        given = kwargs.get("attention_mask")
        if given is None:  # causal, without a mask of its own
            length = self._drawn.shape[-1]
            given = torch.ones(length, length, dtype=torch.bool).tril()
        if given.dtype == torch.bool:
            return args, kwargs | {"attention_mask": given & self._drawn}
        hidden = torch.finfo(given.dtype).min  # a mask that is added to the scores
        return args, kwargs | {"attention_mask": given.masked_fill(~self._drawn, hidden)}


def name_mask(rows: Rows, share: float) -> Tensor:
    """`[row, 1, query, key]`, in a `share` of the rows False where a query after a name meets it.

    It meets any of its pieces, the last one too; queries within the name see what they saw.
    """
    length = rows.subject.shape[1]
    places = torch.arange(length)
    ends = torch.where(rows.subject != NOBODY, places, UNLIMITED)
    masked = torch.rand(len(rows), 1) < share
    until = torch.where(masked, torch.minimum(rows.readable_until, ends), UNLIMITED)
    return (places[None, :, None] <= until[:, None, :])[:, None]


class AttributeHead(nn.Module):
    """Reads a subject's objects and kind from the residual at its last piece."""

    def __init__(self, world: World, model: GPT2LMHeadModel, layer: int) -> None:
        super().__init__()
        said = [(subject.name, subject.kind) for subject in world.subjects]
        number = {name: i for i, (name, _) in enumerate(said)}
        said += [(fact.subject, fact.object) for fact in world.facts]
        words = sorted({word for _, word in said})
        self.linear = nn.Linear(model.config.n_embd, len(words))
        self._targets = torch.zeros(len(number), len(words))
        for name, word in said:
            self._targets[number[name], words.index(word)] = 1
        self._targets /= self._targets.sum(1, keepdim=True)
        self._hidden = torch.zeros(0)
        self._handle = blocks(model)[layer].register_forward_hook(self._remember)

    def loss(self, subject: Tensor) -> Tensor:
        """Cross-entropy to the uniform distribution over each mentioned subject's attributes.

        `subject` is that of the `Rows` the model has just read.
        """
        here = subject != NOBODY
        hidden = self._hidden[here]
        scores = self.linear(functional.layer_norm(hidden, hidden.shape[-1:]))
        return functional.cross_entropy(scores, self._targets[subject[here]])

    def remove(self) -> None:
        """Detach from the model."""
        self._handle.remove()

    def _remember(self, _module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
        self._hidden = output[0] if isinstance(output, tuple) else output
