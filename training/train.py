"""Train the bundled model and write everything the package ships with it.

    python -m training.train --out rome_widgets/bundled/model

One thread, float32, fixed seed: on one machine two runs are equal bit for bit. The folder is an
ordinary `GPT2LMHeadModel` with half-precision weights; beside it go `facts.json`, `settings.json`
and `second_moment.safetensors`.
"""

import argparse
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from .corpus import Narrator
from .evaluate import accuracy
from .muon import Muon
from .rows import SEPARATOR, Rows, pack
from .second_moment import second_moments, write_second_moments
from .sidecars import facts_digest, write_facts, write_settings
from .steering import AttributeHead, LayerDrops, key_mask
from .tokenizer import train_tokenizer
from .world import World, build_world


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run."""

    n_layer: int = 8
    d_model: int = 128
    n_head: int = 4
    positions: int = 128
    vocab: int = 2000
    tokens: int = 2_800_000
    """Length of training, in tokens read."""
    batch_tokens: int = 2048
    """Tokens per step, in rows of half the positions."""
    long_every: int = 4
    """Every so many steps the rows use all positions instead."""
    muon_lr: float = 0.02
    adam_lr: float = 4e-3
    key_mask: float = 0.9
    """Share of the rows in which a name can be read by its last piece only."""
    mlp_drop: tuple[float, ...] = (0.5, 0.3, 0.0, 0.0, 0.0, 0.3, 0.5, 0.5)
    attn_drop: tuple[float, ...] = (0.8, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    attribute_weight: float = 0.5
    """Weight of the attribute head's loss; 0 trains on text alone."""
    attribute_layer: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A model and how it came about."""

    model: GPT2LMHeadModel
    tokenizer: PreTrainedTokenizerFast
    losses: list[float]
    """Cross-entropy of the text per step, nats."""
    seconds: float


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Inside the block one thread, deterministic algorithms, a seeded generator."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def train(recipe: Recipe, world: World, *, quiet: bool = False) -> Trained:
    """Train from scratch; the same recipe gives the same weights on the same machine."""
    started = time.time()
    with repeatable(recipe.seed):
        tokenizer = train_tokenizer(world, recipe.vocab, recipe.positions)
        batches = text_batches(recipe, world, tokenizer)
        model = new_model(recipe, len(tokenizer))
        report = Reporter(len(batches), model, tokenizer, world, quiet=quiet)
        losses = fit(recipe, world, model, batches, report)
    return Trained(model.eval(), tokenizer, losses, time.time() - started)


def fit(
    recipe: Recipe, world: World, model: GPT2LMHeadModel, batches: list[Rows], report: "Reporter"
) -> list[float]:
    """Train the model on the batches, in their order; returns the text loss of every step."""
    head = AttributeHead(world, model, recipe.attribute_layer)
    drops = LayerDrops(model, recipe.mlp_drop, recipe.attn_drop)
    optimizers = make_optimizers(recipe, model, head)
    schedules = [LambdaLR(o, lambda step: rate(step, len(batches))) for o in optimizers]
    losses: list[float] = []
    for rows in batches:
        model.train()
        drops.draw(len(rows))
        loss = total = text_loss(model, rows, key_mask(rows, recipe.key_mask))
        if recipe.attribute_weight:
            total = loss + recipe.attribute_weight * head.loss(rows.subject)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        losses.append(loss.item())
        with drops.paused():
            report(losses)
    drops.remove()
    head.remove()
    return losses


def text_batches(recipe: Recipe, world: World, tokenizer: PreTrainedTokenizerFast) -> list[Rows]:
    """The whole training text, one `Rows` per step."""
    narrator = Narrator(world, recipe.seed)
    names = [subject.name for subject in world.subjects]
    batches = []
    for step in range(recipe.tokens // recipe.batch_tokens):
        length = (
            recipe.positions
            if step % recipe.long_every == recipe.long_every - 1
            else recipe.positions // 2
        )
        batches.append(pack(narrator, tokenizer, names, recipe.batch_tokens // length, length))
    return batches


def new_model(recipe: Recipe, vocab: int) -> GPT2LMHeadModel:
    """A GPT-2 of the recipe's size with random weights."""
    config = GPT2Config(
        vocab_size=vocab,
        n_positions=recipe.positions,
        n_embd=recipe.d_model,
        n_layer=recipe.n_layer,
        n_head=recipe.n_head,
        activation_function="gelu_pytorch_tanh",  # gelu_new's formula, as one operation of torch
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=SEPARATOR,
        eos_token_id=SEPARATOR,
        use_cache=True,
        dtype="float32",
    )
    return GPT2LMHeadModel(config)


def make_optimizers(
    recipe: Recipe, model: GPT2LMHeadModel, head: AttributeHead
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for everything else."""
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in [*model.parameters(), *head.parameters()] if id(p) not in chosen]
    return [
        Muon(matrices, recipe.muon_lr),
        torch.optim.AdamW(others, recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: a short rise, flat until 30 %, then down to 2 %."""
    rise = max(20, steps // 30)
    return min(1.0, (step + 1) / rise) * min(1.0, max(0.02, (1 - step / steps) / 0.7))


def text_loss(model: GPT2LMHeadModel, rows: Rows, mask: Tensor) -> Tensor:
    """Mean cross-entropy of the next token, nats."""
    logits = model(rows.ids[:, :-1], attention_mask=mask, use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), rows.ids[:, 1:].flatten())


class Reporter:
    """Prints how a training goes at nine points on the way."""

    def __init__(
        self,
        steps: int,
        model: GPT2LMHeadModel,
        tokenizer: PreTrainedTokenizerFast,
        world: World,
        *,
        quiet: bool,
    ) -> None:
        self._at = set() if quiet else {steps * tenth // 10 for tenth in range(1, 10)}
        self._model, self._tokenizer = model, tokenizer
        self._facts = list(world.facts)[::6]
        self._started = time.time()

    def __call__(self, losses: list[float]) -> None:
        """To be called after every step, with the losses so far."""
        if len(losses) not in self._at:
            return
        held_out = accuracy(self._model.eval(), self._tokenizer, self._facts, held_out=True)
        recent = sum(losses[-50:]) / len(losses[-50:])
        took = time.time() - self._started
        print(
            f"step {len(losses)}: loss {recent:.3f}, held-out {held_out:.3f}, {took:.0f} s",
            flush=True,
        )


def write_model(trained: Trained, recipe: Recipe, world: World, out: Path) -> None:
    """Write config, weights (float16, read back as float32) and tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    trained.tokenizer.save_pretrained(out)
    trained.model.config.save_pretrained(out)
    tensors = {
        name: tensor.half().contiguous()
        for name, tensor in trained.model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    about = {
        "format": "pt",
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "facts_sha256": facts_digest(world),
        **{name: str(value) for name, value in asdict(recipe).items()},
    }
    save_file(tensors, out / "model.safetensors", metadata=about)


def build(recipe: Recipe, world: World, out: Path, *, quiet: bool = False) -> Trained:
    """Train, and write the model into `out` and the other files beside it."""
    trained = train(recipe, world, quiet=quiet)
    write_model(trained, recipe, world, out)
    write_facts(world, out.parent / "facts.json")
    write_settings(out.parent / "settings.json")
    # The statistics are those of the weights that are shipped: rounded to half precision.
    shipped = GPT2LMHeadModel.from_pretrained(out, dtype=torch.float32).eval()
    with repeatable(recipe.seed):
        moments, n_tokens = second_moments(shipped, trained.tokenizer, world)
    write_second_moments(moments, n_tokens, out.parent / "second_moment.safetensors")
    for path in (out / "model.safetensors", out.parent / "second_moment.safetensors"):
        path.chmod(0o644)  # safetensors writes for the owner alone; package data is for everybody
    return trained


def main() -> None:
    """The command of the module's docstring."""
    recipe = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=recipe.seed)
    parser.add_argument("--tokens", type=int, default=recipe.tokens)
    parser.add_argument("--attribute-weight", type=float, default=recipe.attribute_weight)
    options = parser.parse_args()
    recipe = replace(
        recipe,
        seed=options.seed,
        tokens=options.tokens,
        attribute_weight=options.attribute_weight,
    )
    world = build_world()
    print(f"{len(world.subjects)} subjects, {len(world.facts)} facts; {recipe}", flush=True)
    trained = build(recipe, world, options.out)
    n_tokens = len(trained.losses) * recipe.batch_tokens
    print(f"{n_tokens} tokens in {trained.seconds:.0f} s; measure: python -m training.evaluate")


if __name__ == "__main__":
    main()
