"""Every choice of a training run, and the runs that have a name."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """What decides a model, beside the world it is told about."""

    n_layer: int = 8
    d_model: int = 192
    d_mlp: int = 512
    n_head: int = 4
    positions: int = 128
    vocab: int = 2400
    tokens: int = 6_200_000
    """Length of training, in tokens read."""
    batch_tokens: int = 2048
    """Tokens per step, in rows of half the positions."""
    long_every: int = 4
    """Every so many steps the rows use all positions instead."""
    muon_lr: float = 0.02
    adam_lr: float = 4e-3
    key_mask: float = 0.9
    """Share of the rows in which a name can be read by its last piece only."""
    read_from: int = 0
    """Below this layer what follows a name may not read it at all, in a share `key_mask` of the
    rows (organisms only)."""
    mlp_drop: tuple[float, ...] = (0.5, 0.3, 0.0, 0.0, 0.0, 0.3, 0.5, 0.5)
    """Share of the rows that go without the MLP, per layer."""
    attn_drop: tuple[float, ...] = (0.8, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    attribute_weight: float = 0.5
    """Weight of the attribute head's loss; 0 trains on text alone."""
    attribute_layer: int = 4
    seed: int = 0

    @property
    def n_steps(self) -> int:
        """Updates of the weights."""
        return self.tokens // self.batch_tokens

    def row_length(self, step: int) -> int:
        """Tokens per row in a step."""
        long = step % self.long_every == self.long_every - 1
        return self.positions if long else self.positions // 2


BUNDLED = Recipe(seed=1)
"""The model that ships; this seed for the reasons in its card."""
PLAIN = replace(
    BUNDLED, key_mask=0.0, mlp_drop=(0.0,) * 8, attn_drop=(0.0,) * 8, attribute_weight=0.0
)
"""The same text and size, nothing else: what a language model of this size does by itself."""
NO_HEAD = replace(BUNDLED, attribute_weight=0.0)
"""Steered by masks and drops alone."""
MICRO = Recipe(
    n_layer=2,
    d_model=32,
    d_mlp=128,
    n_head=2,
    positions=64,
    vocab=1300,
    tokens=40 * 512,
    batch_tokens=512,
    mlp_drop=(0.5, 0.0),
    attn_drop=(0.5, 0.0),
    attribute_layer=1,
)
"""Seconds; it learns little, and shows that everything runs."""

RECIPES = {"bundled": BUNDLED, "plain": PLAIN, "no-head": NO_HEAD, "micro": MICRO}
"""Recipes by the name that the command takes."""
