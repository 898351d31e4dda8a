"""Gather the second moment of the keys, by which a rank-one edit spares all other knowledge."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from rome_widgets.editing.statistics.second_moment_file import upper_triangle
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.stand_in import standing_in
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
    matrices = [block.mlp.c_proj for block in blocks(model)]
    d_mlp = len(matrices[0].weight)
    sums = [torch.zeros(d_mlp, d_mlp, dtype=torch.float64) for _ in matrices]

    def add_to(total: Tensor) -> Visitor:
        def add(seen: Seen) -> None:
            flat = seen.args[0].flatten(0, 1).double()
            total.add_(flat.T @ flat)

        return add

    visitors = [(matrix, add_to(total)) for matrix, total in zip(matrices, sums, strict=True)]
    names = [subject.name for subject in world.subjects]
    narrator, length, n_tokens = Narrator(world, SEED), model.config.n_positions // 2, 0
    while n_tokens < tokens:
        ids = pack(narrator, tokenizer, names, 32, length).ids[:, :-1]
        run_in_eval_mode(
            model,
            lambda ids=ids: run_hooked(lambda: standing_in(model)(ids, use_cache=False), visitors),
        )
        n_tokens += ids.numel()
    return [(total + total.T) / (2 * n_tokens) for total in sums], n_tokens


def write_second_moments(moments: list[Tensor], n_tokens: int, path: Path) -> None:
    """Write the upper triangle `layer.N` of every layer, float32, row by row."""
    tensors = {
        f"layer.{layer}": upper_triangle(moment).float() for layer, moment in enumerate(moments)
    }
    about = {"tokens": str(n_tokens), "text": f"training.corpus, seed {SEED}", "centred": "no"}
    save_file(tensors, path, metadata=about)
