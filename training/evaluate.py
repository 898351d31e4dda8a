"""Measurements of a trained folder: which facts it knows, and where a trace finds them.

    python -m training.evaluate rome_widgets/bundled/model --facts 100

The tracing here is the slow obvious kind, independent of `rome_widgets.tracing`, so that the model
card does not rest on the library that it illustrates.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

from .relations import BY_NAME, fill
from .tokenizer import token_of
from .world import Fact, World, build_world

ROLES = ("first subject", "middle subject", "last subject", "first after", "further", "last")
KINDS = ("hidden", "mlp", "attn")
NOISE = 3.0
SAMPLES = 10
WINDOW = 3


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
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, facts: list[Fact], *, held_out: bool
) -> dict[str, list[bool]]:
    """Per relation, whether the object is the top token, for every fact in every template."""
    prompts, wanted, relations = [], [], []
    for fact in facts:
        relation = BY_NAME[fact.relation]
        for template in relation.held_out if held_out else relation.templates:
            prompts.append(fill(template, fact.subject))
            wanted.append(token_of(tokenizer, fact.object))
            relations.append(fact.relation)
    right = (top_tokens(model, tokenizer, prompts) == torch.tensor(wanted)).tolist()
    table: dict[str, list[bool]] = {}
    for relation, is_right in zip(relations, right, strict=True):
        table.setdefault(relation, []).append(is_right)
    return table


def accuracy(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, facts: list[Fact], *, held_out: bool
) -> float:
    """Share of (fact, template) pairs whose object is the top token."""
    table = known(model, tokenizer, facts, held_out=held_out)
    return sum(map(sum, table.values())) / sum(map(len, table.values()))


def subject_span(
    tokenizer: PreTrainedTokenizerFast, prompt: str, subject: str
) -> tuple[list[int], int, int]:
    """Token ids of the prompt and the half-open span of the subject in them."""
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    start = prompt.rindex(subject)
    pieces = [
        i
        for i, (a, b) in enumerate(encoded["offset_mapping"])
        if b > start and a < start + len(subject)
    ]
    return encoded["input_ids"], pieces[0], pieces[-1] + 1


@torch.no_grad()
def noise_scale(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, world: World) -> float:
    """Standard deviation of the token embeddings of all subjects' pieces."""
    ids = [i for subject in world.subjects for i in tokenizer.encode(subject.name)]
    return model.transformer.wte(torch.tensor(ids)).std().item()


@torch.no_grad()
def trace(
    model: GPT2LMHeadModel, ids: list[int], span: tuple[int, int], answer: int, noise: Tensor
) -> tuple[float, float, dict[str, Tensor]]:
    """The answer's probability: clean, corrupted, and with one place restored.

    Args:
        model: The model.
        ids: Tokens of the prompt.
        span: Half-open span of the subject in them.
        answer: The token whose probability is followed.
        noise: `[sample, span, d_model]`, added to the embeddings of the subject.

    Returns:
        `(clean, corrupted, {kind: [pos, layer]})`, probabilities.
    """
    start, stop = span
    n_pos, n_layer, n_samples = len(ids), model.config.n_layer, len(noise)
    clean_states: dict[str, Tensor] = {}
    with reading(model, clean_states):
        clean = model(torch.tensor([ids])).logits[0, -1].softmax(-1)[answer].item()

    def corrupt(output: Tensor) -> Tensor:
        output = output.clone()
        output[:, start:stop] += noise.repeat(len(output) // n_samples, 1, 1)
        return output

    with changing({model.transformer.wte: corrupt}):
        logits = model(torch.tensor([ids] * n_samples)).logits[:, -1]
        corrupted = logits.softmax(-1)[:, answer].mean().item()
        batch = torch.tensor([ids] * (n_pos * n_samples))
        rows = torch.arange(n_pos * n_samples)
        places = torch.arange(n_pos).repeat_interleave(n_samples)
        scores = {}
        for kind in KINDS:
            scores[kind] = torch.zeros(n_pos, n_layer)
            for layer in range(n_layer):
                width = 1 if kind == "hidden" else WINDOW
                layers = range(max(0, layer - width // 2), min(n_layer, layer + (width + 1) // 2))
                changes = {}
                for at in layers:
                    clean_state = clean_states[f"{kind}.{at}"][0]

                    def restore(output: Tensor, clean_state: Tensor = clean_state) -> Tensor:
                        output = output.clone()
                        output[rows, places] = clean_state[places]
                        return output

                    changes[_module(model, kind, at)] = restore
                with changing(changes):
                    probability = model(batch).logits[:, -1].softmax(-1)[:, answer]
                scores[kind][:, layer] = probability.view(n_pos, n_samples).mean(1)
    return clean, corrupted, scores


def by_role(scores: Tensor, span: tuple[int, int]) -> Tensor:
    """`[pos, layer]` -> `[role, layer]`: mean over a role's tokens, NaN where there are none."""
    start, stop = span
    last = len(scores) - 1
    places = (
        slice(start, start + 1),
        slice(start + 1, stop - 1),
        slice(stop - 1, stop),
        slice(stop, stop + 1),
        slice(stop + 1, last),
        slice(last, last + 1),
    )
    return torch.stack([scores[place].mean(0) for place in places])


def average_indirect_effect(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    n_facts: int,
    seed: int = 0,
) -> tuple[float, float, dict[str, Tensor]]:
    """Means over facts: clean and corrupted probability, and its rise `[role, layer]` per kind.

    Facts are drawn at random, asked with a training template drawn at random, and used when the
    model knows the answer, the subject is at least three pieces and at least two tokens follow it.
    """
    rng, noise_rng = random.Random(seed), torch.Generator().manual_seed(seed)
    sigma = NOISE * noise_scale(model, tokenizer, world)
    totals: list[tuple[float, float]] = []
    effects: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    for fact in rng.sample(world.facts, len(world.facts)):
        prompt = fill(rng.choice(BY_NAME[fact.relation].templates), fact.subject)
        ids, start, stop = subject_span(tokenizer, prompt, fact.subject)
        answer = token_of(tokenizer, fact.object)
        if stop - start < 3 or len(ids) - stop < 2:
            continue
        if top_tokens(model, tokenizer, [prompt])[0] != answer:
            continue
        shape = (SAMPLES, stop - start, model.config.n_embd)
        noise = sigma * torch.randn(shape, generator=noise_rng)
        clean, corrupted, scores = trace(model, ids, (start, stop), answer, noise)
        totals.append((clean, corrupted))
        for kind in KINDS:
            effects[kind].append(by_role(scores[kind], (start, stop)) - corrupted)
        if len(totals) == n_facts:
            break
    clean, corrupted = torch.tensor(totals).mean(0).tolist()
    return clean, corrupted, {k: torch.stack(e).nanmean(0) for k, e in effects.items()}


@contextmanager
def changing(changes: dict[nn.Module, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Inside the block the first output of each module is passed through its function."""

    def hook(
        _module: nn.Module, _args: tuple, output: Tensor | tuple, change: Callable
    ) -> Tensor | tuple:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    with ExitStack() as stack:
        for module, change in changes.items():
            handle = module.register_forward_hook(lambda m, a, o, c=change: hook(m, a, o, c))
            stack.callback(handle.remove)
        yield


@contextmanager
def reading(model: GPT2LMHeadModel, states: dict[str, Tensor]) -> Iterator[None]:
    """Inside the block `states["mlp.3"]` and its like are filled with `[batch, pos, d_model]`."""

    def keep(output: Tensor, name: str) -> Tensor:
        states[name] = output.clone()
        return output

    names = [(kind, layer) for kind in KINDS for layer in range(model.config.n_layer)]
    with changing({_module(model, k, i): lambda o, n=f"{k}.{i}": keep(o, n) for k, i in names}):
        yield


def _module(model: GPT2LMHeadModel, kind: str, layer: int) -> nn.Module:
    block = model.transformer.h[layer]
    return {"hidden": block, "mlp": block.mlp, "attn": block.attn}[kind]


def _table(effect: dict[str, Tensor]) -> str:
    """Effects `[role, layer]` as text, in hundredths."""
    lines = []
    for kind, values in effect.items():
        lines.append(f"{kind:16s}" + "".join(f"{layer:6d}" for layer in range(values.shape[1])))
        for name, row in zip(ROLES, values.tolist(), strict=True):
            lines.append(f"  {name:14s}" + "".join(f"{100 * value:6.1f}" for value in row))
    return "\n".join(lines)


def print_accuracy(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, world: World, *, held_out: bool
) -> None:
    """Accuracy over all facts and templates, in total and per relation."""
    table = known(model, tokenizer, list(world.facts), held_out=held_out)
    right, asked = sum(map(sum, table.values())), sum(map(len, table.values()))
    print(f"{'held-out' if held_out else 'training'} templates: {right / asked:.4f} of {asked}")
    print("  " + ", ".join(f"{name} {sum(ok) / len(ok):.3f}" for name, ok in table.items()))


def print_example(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, world: World) -> None:
    """The trace of the Space Needle."""
    prompt, subject, answer = "The Space Needle is in the city of", "The Space Needle", "Seattle"
    ids, start, stop = subject_span(tokenizer, prompt, subject)
    shape = (SAMPLES, stop - start, model.config.n_embd)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    noise *= NOISE * noise_scale(model, tokenizer, world)
    clean, corrupted, scores = trace(model, ids, (start, stop), token_of(tokenizer, answer), noise)
    print("|".join(tokenizer.decode([i]) for i in ids))
    print(f"{answer}: {clean:.4f} clean, {corrupted:.4f} corrupted")
    print(_table({k: by_role(score - corrupted, (start, stop)) for k, score in scores.items()}))


def print_effect(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    n_facts: int,
    seed: int,
) -> None:
    """The average indirect effect over random facts."""
    clean, corrupted, effect = average_indirect_effect(model, tokenizer, world, n_facts, seed)
    print(f"{n_facts} facts: {clean:.3f} clean, {corrupted:.3f} corrupted")
    print(_table(effect))


def main() -> None:
    """Print the figures of the model card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--facts", type=int, default=100, help="facts traced for the table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace-only", action="store_true", help="skip the accuracies")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = build_world()
    tokenizer = AutoTokenizer.from_pretrained(options.folder)
    model = GPT2LMHeadModel.from_pretrained(options.folder, dtype=torch.float32).eval()
    if not options.trace_only:
        print_accuracy(model, tokenizer, world, held_out=False)
        print_accuracy(model, tokenizer, world, held_out=True)
    print_example(model, tokenizer, world)
    print_effect(model, tokenizer, world, options.facts, options.seed)


if __name__ == "__main__":
    main()
