"""Report a training, and tell whether another one came out the same."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from rome_widgets.model.language_model import LanguageModel
from training.knowledge import known, share, shares
from training.model_files import facts_digest
from training.recipe import Recipe
from training.relations import held_out_digest
from training.world import World

LOSS = "loss after each tenth, mean of 20 steps"
BOUNDS = {LOSS: 0.05, "known": 0.01, "known per relation": 0.06}
"""How far two runs of one seed may differ where processor or library round differently."""


@dataclass(frozen=True)
class Trained:
    """A model and how it came about."""

    model: GPT2LMHeadModel
    tokenizer: PreTrainedTokenizerFast
    losses: list[float]
    """Cross-entropy of the text per step, nats."""
    text_digest: str
    """SHA-256 of the token ids of the whole text."""
    seconds: float
    """Of this process; less than the whole where it was resumed."""


def environment() -> dict[str, str]:
    """Processor and torch, on which the bits of the weights depend besides recipe and text."""
    return {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _processor() -> str:
    """Vendor and family, where Linux tells: libraries choose their products by it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {name.strip(): value.strip() for name, value in said.items()}
    return f"{found.get('vendor_id', '')} {found.get('cpu family', '')}".strip()


def tensors_digest(path: Path) -> str:
    """SHA-256 of the tensors in a safetensors file: names, types, shapes and bits.

    Not of the file, whose header names them in an order that changes from one writing to the next.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def report_of(
    trained: Trained, recipe: Recipe, world: World, shipped: GPT2LMHeadModel, folder: Path
) -> dict[str, Any]:
    """What went in, what came out and how to recognise both.

    What is known is measured on the model as it is read back, rounded to half precision.
    """
    table = {
        kind: known(LanguageModel(shipped, trained.tokenizer), world.facts, held_out=held_out)
        for kind, held_out in (("training sentences", False), ("new sentences", True))
    }
    tenths = [max(1, len(trained.losses) * part // 10) for part in range(1, 11)]
    tokenizer = trained.tokenizer.backend_tokenizer.to_str()
    return {
        "recipe": asdict(recipe),
        "environment": environment(),
        "subjects": len(world.subjects),
        "facts": len(world.facts),
        "tokens": recipe.n_steps * recipe.batch_tokens,
        "seconds": round(trained.seconds),
        "sha256": {
            "facts": facts_digest(world),
            "held-out sentences": held_out_digest(),
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "token ids": trained.text_digest,
            "weights": tensors_digest(folder / "model" / "model.safetensors"),
            "second moment": tensors_digest(folder / "second_moment.safetensors"),
        },
        LOSS: [round(fmean(trained.losses[max(0, at - 20) : at]), 4) for at in tenths],
        "known": {kind: round(share(each), 4) for kind, each in table.items()},
        "known per relation": {
            kind: {name: round(value, 4) for name, value in shares(each).items()}
            for kind, each in table.items()
        },
    }


def differences(report: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """How a second run of a recipe differs by more than it may, a sentence each.

    Facts, sentences, tokenizer and text must be the same everywhere; the weights on the same kind
    of processor with the same torch; loss and knowledge within `BOUNDS`.
    """
    if report["recipe"] != earlier["recipe"]:
        return [f"The recipes are two: {report['recipe']} and {earlier['recipe']}."]
    same = ["facts", "held-out sentences", "tokenizer", "token ids"]
    if report["environment"] == earlier["environment"]:
        same += ["weights", "second moment"]
    found = [
        f"{name}: {report['sha256'][name]} and {earlier['sha256'][name]} are not the same."
        for name in same
        if report["sha256"][name] != earlier["sha256"][name]
    ]
    if report["sha256"]["facts"] != earlier["sha256"]["facts"]:
        return found
    pairs = [(LOSS, a, b) for a, b in zip(report[LOSS], earlier[LOSS], strict=True)]
    for kind, share_now in report["known"].items():
        pairs.append(("known", share_now, earlier["known"][kind]))
        pairs += [
            ("known per relation", value, earlier["known per relation"][kind][relation])
            for relation, value in report["known per relation"][kind].items()
        ]
    return found + [
        f"{name}: {a} and {b} differ by more than {BOUNDS[name]}."
        for name, a, b in pairs
        if not abs(a - b) <= BOUNDS[name]  # so that NaN differs
    ]
