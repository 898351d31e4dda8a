"""Gather the second moment of the keys, by which a rank-one edit spares all other knowledge."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from rome_widgets.editing.statistics.second_moment_file import upper_triangle
from training.corpus import Narrator
from training.rows import pack
from training.steering import blocks
from training.world import World

TOKENS = 100_000
SEED = 7
"""Not the training seed: other documents about the same world."""


@torch.no_grad()
def second_moments(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, world: World, tokens: int = TOKENS
) -> tuple[list[Tensor], int]:
    """E[k kᵀ] of the input of each layer's `mlp.c_proj`, uncentred, and over how many tokens.

    Returns:
        Per layer `[d_mlp, d_mlp]`, float64, symmetric.

    Source:
        Meng et al. 2022, equation 2: C = K Kᵀ subtracts no mean.
    """
    d_mlp = blocks(model)[0].mlp.c_proj.weight.shape[0]
    sums = [torch.zeros(d_mlp, d_mlp, dtype=torch.float64) for _ in blocks(model)]

    def add(layer: int, keys: Tensor) -> None:
        flat = keys.flatten(0, 1).double()
        sums[layer] += flat.T @ flat

    handles = [
        block.mlp.c_proj.register_forward_pre_hook(lambda _, args, i=i: add(i, args[0]))
        for i, block in enumerate(blocks(model))
    ]
    length, batch = model.config.n_positions // 2, 32
    narrator = Narrator(world, SEED)
    n_tokens = 0
    try:
        while n_tokens < tokens:
            ids = pack(narrator, tokenizer, [s.name for s in world.subjects], batch, length).ids[
                :, :-1
            ]
            model(ids, use_cache=False)
            n_tokens += ids.numel()
    finally:
        for handle in handles:
            handle.remove()
    return [(total + total.T) / (2 * n_tokens) for total in sums], n_tokens


def write_second_moments(moments: list[Tensor], n_tokens: int, path: Path) -> None:
    """Write the upper triangle `layer.N` of every layer, float32, row by row."""
    tensors = {
        f"layer.{layer}": upper_triangle(moment).float() for layer, moment in enumerate(moments)
    }
    save_file(
        tensors,
        path,
        metadata={
            "tokens": str(n_tokens),
            "text": f"training.corpus, seed {SEED}",
            "centred": "no",
        },
    )
