"""Train the bundled model and write everything the package ships with it.

    python -m training.train --out folder

One thread, fixed seed: on one machine two runs are equal bit for bit. The folder gets the
`model` (an ordinary `GPT2LMHeadModel` with half-precision weights), `facts.json`, `settings.json`,
`second_moment.safetensors` and `report.json`. A command that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from rome_widgets.model.language_model import LanguageModel
from training.checkpoint import Checkpoint
from training.command import run
from training.corpus import Narrator
from training.knowledge import share_known
from training.model_files import check_files, facts_digest, read_json, write_facts, write_settings
from training.muon import Muon
from training.recipe import RECIPES, Recipe
from training.report import Trained, differences, environment, report_of
from training.rows import SEPARATOR, Rows, pack
from training.second_moment import second_moments, write_second_moments
from training.steering import AttributeHead, LateReading, LayerDrops, key_mask
from training.tokenizer import train_tokenizer
from training.world import World, WorldError, build_world

WIDE = 128
"""From this `d_model` on bfloat16 pays."""


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Inside the block one thread, deterministic algorithms, a seeded generator."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns_only)


def train(
    recipe: Recipe,
    world: World,
    *,
    narrator: type[Narrator] = Narrator,
    resume: Path | None = None,
    quiet: bool = False,
) -> Trained:
    """Train from scratch; the same recipe gives the same weights on the same machine.

    `resume` is the file that an interrupted training of the same recipe is kept in.
    """
    started = time.time()
    with repeatable(recipe.seed):
        tokenizer = train_tokenizer(world, recipe.vocab, recipe.positions)
        batches = text_batches(recipe, narrator(world, recipe.seed), world, tokenizer)
        model = new_model(recipe, len(tokenizer))
        progress = TrainingProgress(recipe.n_steps, model, tokenizer, world)
        report = (lambda losses: None) if quiet else progress
        losses = fit(recipe, world, model, batches, report, resume)
    seconds = time.time() - started
    return Trained(model.eval(), tokenizer, losses, digest_of(batches), seconds)


def fit(
    recipe: Recipe,
    world: World,
    model: GPT2LMHeadModel,
    batches: list[Rows],
    report: Callable[[list[float]], None],
    resume: Path | None = None,
) -> list[float]:
    """Train the model on the batches, in their order; returns the text loss of every step."""
    head = AttributeHead(world, model, recipe.attribute_layer)
    drops = LayerDrops(model, recipe.mlp_drop, recipe.attn_drop)
    late = LateReading(model, recipe.read_from, recipe.key_mask)
    optimizers = make_optimizers(recipe, model, head)
    key = f"{recipe} {digest_of(batches)} {environment()}"
    checkpoint = Checkpoint(resume, key, [model, head.linear], optimizers)
    losses = checkpoint.load()
    for rows in batches[len(losses) :]:
        model.train()
        set_rates(recipe, optimizers, len(losses), len(batches))
        drops.draw(len(rows))
        late.see(rows)
        loss = total = text_loss(model, rows, key_mask(rows, recipe.key_mask))
        if recipe.attribute_weight:
            total = loss + recipe.attribute_weight * head.loss(rows.subject)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        report(losses)
        checkpoint.save(losses)
    for steering in (drops, late, head):
        steering.remove()
    return losses


def text_batches(
    recipe: Recipe, narrator: Narrator, world: World, tokenizer: PreTrainedTokenizerFast
) -> list[Rows]:
    """The whole training text, one `Rows` per step."""
    names = [subject.name for subject in world.subjects]
    lengths = [recipe.row_length(step) for step in range(recipe.n_steps)]
    return [
        pack(narrator, tokenizer, names, recipe.batch_tokens // length, length)
        for length in lengths
    ]


def digest_of(batches: list[Rows]) -> str:
    """SHA-256 of the token ids of a whole text."""
    return hashlib.sha256(b"".join(rows.ids.numpy().tobytes() for rows in batches)).hexdigest()


def new_model(recipe: Recipe, vocab: int) -> GPT2LMHeadModel:
    """A GPT-2 of the recipe's size with random weights."""
    config = GPT2Config(
        vocab_size=vocab,
        n_positions=recipe.positions,
        n_embd=recipe.d_model,
        n_inner=recipe.d_mlp,
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


def set_rates(
    recipe: Recipe, optimizers: list[torch.optim.Optimizer], step: int, steps: int
) -> None:
    """Set both learning rates: a short rise, flat until 30 %, then down to 2 % of their peaks."""
    rise = min(1.0, (step + 1) / max(20, steps // 30))
    share = rise * min(1.0, max(0.02, (1 - step / steps) / 0.7))
    for optimizer, peak in zip(optimizers, (recipe.muon_lr, recipe.adam_lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * share


def text_loss(model: GPT2LMHeadModel, rows: Rows, mask: Tensor) -> Tensor:
    """Mean cross-entropy of the next token, nats.

    The products are of bfloat16, which takes two thirds of the time; weights, their averages and
    the loss are float32. In a narrow model the conversions would take longer than they save.
    """
    wide = model.config.n_embd >= WIDE
    with torch.autocast("cpu", torch.bfloat16, enabled=wide):
        logits = model(rows.ids[:, :-1], attention_mask=mask, use_cache=False).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), rows.ids[:, 1:].flatten())


@dataclass
class TrainingProgress:
    """Prints how a training goes, nineteen times on the way."""

    steps: int
    model: GPT2LMHeadModel
    tokenizer: PreTrainedTokenizerFast
    world: World
    started: float = field(default_factory=time.time)
    first: int = 0

    def __call__(self, losses: list[float]) -> None:
        """To be called after every step, with the losses so far."""
        done = len(losses)
        self.first = self.first or done
        if done not in {self.steps * part // 20 for part in range(1, 20)}:
            return
        with torch.random.fork_rng(devices=[]):
            copied = GPT2LMHeadModel(self.model.config)  # without what steers the model itself
        copied.load_state_dict(self.model.state_dict())
        held_out = share_known(LanguageModel(copied.eval(), self.tokenizer), self.world.facts[::12])
        per_step = (time.time() - self.started) / (done - self.first + 1)
        print(
            f"step {done} of {self.steps}: loss {fmean(losses[-50:]):.3f}, new sentences "
            f"{held_out:.3f}, {per_step * (self.steps - done) / 60:.0f} min left",
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
    about = {"format": "pt", **environment(), "facts_sha256": facts_digest(world)}
    about |= {name: str(value) for name, value in asdict(recipe).items()}
    save_file(tensors, out / "model.safetensors", metadata=about)


def build(recipe: Recipe, world: World, out: Path, *, quiet: bool = False) -> Trained:
    """Train, and write the model and everything beside it into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "unfinished.safetensors"
    trained = train(recipe, world, resume=kept, quiet=quiet)
    weights = out / "model" / "model.safetensors"
    write_model(trained, recipe, world, weights.parent)
    write_facts(world, out / "facts.json")
    write_settings(recipe, out / "settings.json")
    # Statistics and figures are those of the weights that are shipped: rounded to half precision.
    shipped = GPT2LMHeadModel.from_pretrained(weights.parent, dtype=torch.float32).eval()
    moments_file = out / "second_moment.safetensors"
    with repeatable(recipe.seed):
        moments, n_tokens = second_moments(shipped, trained.tokenizer, world)
    write_second_moments(moments, n_tokens, moments_file)
    report = report_of(trained, recipe, world, shipped, out)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for path in (weights, moments_file):
        path.chmod(0o644)  # safetensors writes for the owner alone; package data is for everybody
    kept.unlink(missing_ok=True)
    return trained


def earlier_report(folder: Path, recipe: Recipe, world: World) -> dict[str, Any]:
    """The report of an earlier training.

    Raises:
        WorldError: There is none, it is damaged, or of another recipe or other facts.
    """
    check_files(folder, ["report.json"])
    earlier = read_json(folder / "report.json")
    found = {"recipe": earlier["recipe"], "table of facts": earlier["sha256"]["facts"]}
    about = (json.loads(json.dumps(asdict(recipe))), facts_digest(world))
    for (name, made_with), wanted in zip(found.items(), about, strict=True):
        if made_with != wanted:
            raise WorldError(
                f"{folder} was made with another {name}: {made_with}.",
                f"That of {wanted} was wanted.",
                "Give the same --recipe, --seed and --subjects, or leave --like out.",
            )
    return earlier


def main() -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--recipe", choices=RECIPES, default="bundled")
    parser.add_argument("--seed", type=int, help="the recipe's own by default")
    parser.add_argument("--subjects", type=int, help="only so many, evenly spaced over the tables")
    parser.add_argument("--like", type=Path, help="folder of an earlier run to compare with")
    run(parser, make)


def make(options: argparse.Namespace) -> bool:
    """Train as the options say; whether it came out other than what it is compared with.

    Raises:
        WorldError: A file where the folder should be, no world of so few subjects, an earlier run
            that cannot be compared, or an unfinished training of something else in the folder.
    """
    if options.out.is_file():
        raise WorldError(f"{options.out} is a file.", "A folder was wanted.", "Give another --out.")
    recipe = RECIPES[options.recipe]
    if options.seed is not None:
        recipe = replace(recipe, seed=options.seed)
    world = build_world()
    if options.subjects is not None:
        world = world.only(options.subjects)
    earlier = options.like and earlier_report(options.like, recipe, world)
    print(f"{len(world.subjects)} subjects, {len(world.facts)} facts; {recipe}", flush=True)
    trained = build(recipe, world, options.out)
    print(f"{recipe.n_steps * recipe.batch_tokens} tokens, {trained.seconds:.0f} s")
    if not earlier:
        print(f"measure it: python -m training.evaluate {options.out}")
        return False
    report = read_json(options.out / "report.json")
    found = differences(report, earlier)
    print(*(found or ["The reports are the same within their bounds."]), sep="\n")
    return bool(found)


if __name__ == "__main__":
    main()
