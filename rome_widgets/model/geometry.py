"""Where a model keeps its parts: found by structure, proved by a probe pass.

No list of model names. The blocks are the one `ModuleList` as long as the model is deep; a
block's attention is the part that is handed the mask, its MLP the part that makes the paper's
equation 1 come out: h = h' + a + m. What cannot be proved is refused, with what was found.

Source:
    Meng et al. 2022, equation 1; module layouts as transformers 5 builds them.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rome_widgets.errors import (
    NonFinite,
    NotCausal,
    UnsupportedModel,
    WeightsNotLoaded,
    WrappedModel,
)
from rome_widgets.model.hooks import Seen, Visitor, reading, run_hooked
from rome_widgets.results import KINDS, Kind

ULPS = 4
"""Rounding allowed in h = h' + a + m, in units in the last place; the right pair has below 1."""

PROBE_TOKENS = 5
"""Length of the probe prompt: enough for an attention pattern, cheap on any model."""


@dataclass(frozen=True)
class Geometry:
    """Module names of a model's parts, one per block where they repeat."""

    embedding: str
    """The input embedding; its output is what gets corrupted."""
    blocks: tuple[str, ...]
    """The decoder blocks; a block's output is the hidden state after it."""
    attn: tuple[str, ...]
    """Per block, the module whose output is the attention contribution a."""
    mlp: tuple[str, ...]
    """Per block, the module whose output is the MLP contribution m."""
    down: tuple[str | None, ...]
    """Per block, the MLP's last matrix, the one ROME edits; None where there is no single one."""
    d_model: int
    """Width of the hidden state."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of state that can be traced."""
        return KINDS

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Module names, by layer, whose outputs are the states of `kind`."""
        return {"hidden": self.blocks, "attn": self.attn, "mlp": self.mlp}[kind]


# --------------------------------------------------------------------------- finding


def find_geometry(model: nn.Module) -> Geometry:
    """Find the parts of a causal language model and prove them with a probe pass.

    The model must be in eval mode and have passed `check_kind_of_model`.

    Raises:
        UnsupportedModel: A part was not found, or the probe disproved it; the message says which.
        NonFinite: NaN or infinity in the weights or activations.
    """
    embedding = _embedding_name(model)
    blocks = _block_names(model)
    probe = probe_ids(model)
    _prove_sound(model, probe)
    inputs, outputs, parts, embedded = _watch_blocks(model, embedding, blocks, probe)
    a, m = _contributions(model, inputs, outputs, parts)
    attn = tuple(f"{block}.{a}" for block in blocks)
    mlp = tuple(f"{block}.{m}" for block in blocks)
    down = _down_projections(model, mlp, probe)
    geometry = Geometry(embedding, blocks, attn, mlp, down, d_model=embedded.shape[-1])
    _prove_effective(model, geometry, probe)
    return geometry


def check_kind_of_model(model: Any) -> None:
    """Refuse what is not a loaded causal language model.

    Raises:
        WrappedModel, NotCausal, WeightsNotLoaded, UnsupportedModel: With the reason.
    """
    name = type(model).__name__
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "get_output_embeddings"):
        inner = [
            f".{key}" for key, child in _children(model) if hasattr(child, "get_input_embeddings")
        ]
        if inner:
            raise WrappedModel(
                f"{name} wraps a model in {', '.join(inner)}.",
                "The transformers model itself was wanted.",
                f"Pass model{inner[0]}.",
            )
        raise UnsupportedModel(
            f"{name} is not a transformers model.",
            "A causal language model of transformers was wanted.",
            "Load one with rome_widgets.load(...) or AutoModelForCausalLM.",
        )
    if getattr(config, "is_encoder_decoder", False):
        raise NotCausal(
            f"{name} is an encoder-decoder model.",
            "A decoder-only model that predicts the next token was wanted.",
        )
    if model.get_output_embeddings() is None:
        raise NotCausal(
            f"{name} has no language-model head.",
            "A model that predicts the next token was wanted.",
            "Load it with AutoModelForCausalLM, if it was trained for that.",
        )
    meta = [key for key, weight in model.named_parameters() if weight.device.type == "meta"]
    if meta and not hasattr(model, "hf_device_map"):
        raise WeightsNotLoaded(
            f"{len(meta)} weights of {name} are on the meta device, {meta[0]} among them.",
            "Weights with values were wanted.",
            "Load the checkpoint before attaching.",
        )


def _children(model: Any) -> Iterable[tuple[str, nn.Module]]:
    return model.named_children() if isinstance(model, nn.Module) else ()


def _embedding_name(model: Any) -> str:
    embedding = model.get_input_embeddings()
    for name, module in model.named_modules():
        if module is embedding:
            return name
    raise UnsupportedModel(
        f"{type(model).__name__}: the input embedding is not one of its modules.",
        "get_input_embeddings() was wanted to return a module of the model.",
    )


def _block_names(model: Any) -> tuple[str, ...]:
    depth = model.config.get_text_config().num_hidden_layers
    lists = {
        name: [f"{name}.{child}" for child, _ in module.named_children()]
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    if len(lists) != 1:
        found = f"{len(lists)} ({', '.join(lists)})" if lists else "none"
        raise UnsupportedModel(
            f"{type(model).__name__}: found {found}.",
            f"Exactly one list of {depth} blocks was wanted.",
            "Please report this model family.",
        )
    return tuple(next(iter(lists.values())))


def probe_ids(model: Any) -> Tensor:
    """`[1, PROBE_TOKENS]` ids, distinct where the vocabulary allows."""
    embedding = model.get_input_embeddings()
    step = max(1, embedding.num_embeddings // (PROBE_TOKENS + 1))
    ids = torch.arange(1, PROBE_TOKENS + 1) * step % embedding.num_embeddings
    return ids[None].to(embedding.weight.device)


def run(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits `[batch, pos, vocab]` of a plain forward pass, with mask and without cache."""
    mask = torch.ones_like(ids)
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def _watch_blocks(
    model: nn.Module, embedding: str, blocks: tuple[str, ...], ids: Tensor
) -> tuple[list[Tensor], list[Tensor], list[dict[str, tuple[Tensor, bool]]], Tensor]:
    """One pass that notes what enters and leaves each block and each of its parts."""
    store: dict[Any, Tensor] = {}
    masked: set[tuple[int, str]] = set()
    visitors: list[tuple[nn.Module, Visitor]] = [
        (model.get_submodule(embedding), reading(store, "embedding"))
    ]
    for layer, name in enumerate(blocks):
        block = model.get_submodule(name)
        visitors.append((block, _reading_both(store, layer)))
        for child, module in block.named_children():
            if next(module.parameters(), None) is None:
                continue  # dropout and the like: what it passes on is another part's output
            visitors.append((module, _reading_part(store, masked, layer, child)))
    run_hooked(lambda: run(model, ids), visitors)
    try:
        inputs = [store["in", layer] for layer in range(len(blocks))]
        outputs = [store["out", layer] for layer in range(len(blocks))]
        embedded = store["embedding"]
    except KeyError:
        raise UnsupportedModel(
            f"{type(model).__name__}: not every block ran in a forward pass.",
            "Blocks that take and return the hidden state were wanted.",
        ) from None
    parts = [
        {
            key[2]: (value, key[1:] in masked)
            for key, value in store.items()
            if isinstance(key, tuple) and key[0] == "part" and key[1] == layer
        }
        for layer in range(len(blocks))
    ]
    return inputs, outputs, parts, embedded


def _reading_both(store: dict[Any, Tensor], layer: int) -> Visitor:
    def visit(seen: Seen) -> None:
        entering = seen.args[0] if seen.args else seen.kwargs.get("hidden_states")
        if isinstance(entering, Tensor):
            store["in", layer] = entering.detach().clone()
            store["out", layer] = seen.output.detach().clone()

    return visit


def _reading_part(
    store: dict[Any, Tensor], masked: set[tuple[int, str]], layer: int, name: str
) -> Visitor:
    def visit(seen: Seen) -> None:
        store["part", layer, name] = seen.output.detach().clone()
        if "attention_mask" in seen.kwargs:
            masked.add((layer, name))

    return visit


def _contributions(
    model: nn.Module,
    entering: list[Tensor],
    leaving: list[Tensor],
    parts: list[dict[str, tuple[Tensor, bool]]],
) -> tuple[str, str]:
    """Names, within a block, of the attention and the MLP: the pair with h = h' + a + m.

    One pair must hold in every block, and be clearly better than the next: in half precision a
    part that adds almost nothing in one block can pass for another there.
    """
    names = [name for name in parts[0] if all(name in part for part in parts)]
    same_shape = [name for name in names if parts[0][name][0].shape == leaving[0].shape]
    errors = {
        (a, m): [
            _error_in_ulps(entering[layer], part[a][0], part[m][0], leaving[layer])
            for layer, part in enumerate(parts)
        ]
        for a in same_shape
        if parts[0][a][1]
        for m in same_shape
        if m != a
    }
    ranked = sorted(errors, key=lambda pair: statistics.median(errors[pair]))
    typical = [statistics.median(errors[pair]) for pair in ranked]
    clear = len(ranked) == 1 or (len(ranked) > 1 and typical[1] > 2 * typical[0] + 1)
    if clear and max(errors[ranked[0]]) <= ULPS:
        return ranked[0]
    raise UnsupportedModel(
        f"{type(model).__name__}: found no attention and MLP among {same_shape} that add up to "
        f"what a block adds (closest: {ranked[0] if ranked else 'none'}, off by up to "
        f"{max(errors[ranked[0]]) if ranked else float('nan'):.1e} units in the last place).",
        f"One pair with h = h' + a + m in all {len(parts)} blocks was wanted.",
        "GPT-2, GPT-J, GPT-NeoX and Llama layouts are supported so far; try float32.",
    )


def _error_in_ulps(entering: Tensor, a: Tensor, m: Tensor, leaving: Tensor) -> float:
    """How far h' + a + m is from h, in units in the last place of the largest term.

    Each element is measured by its own size: trained models have a few huge activations, beside
    which any two parts would seem to add up. The 90th percentile, because where the terms cancel
    a single element can be off by more.
    """
    wide = torch.stack([tensor.double() for tensor in (entering, a, m, leaving)])
    ulp = wide.abs().amax(0) * torch.finfo(leaving.dtype).eps
    error = (wide[0] + wide[1] + wide[2] - wide[3]).abs() / ulp.clamp_min(1e-300)
    return float(error.flatten().quantile(0.9))


def tolerance(dtype: torch.dtype) -> float:
    """How exactly logits in `dtype` can be expected to repeat, relative to their size."""
    return 64 * torch.finfo(dtype).eps


def _down_projections(
    model: nn.Module, mlp: tuple[str, ...], ids: Tensor
) -> tuple[str | None, ...]:
    """Per block, the matrix whose output is the MLP's output."""
    store: dict[Any, Tensor] = {}
    visitors = []
    for name in mlp:
        for inner, module in model.get_submodule(name).named_modules():
            if inner == "" or getattr(module, "weight", torch.empty(0)).ndim == 2:
                full = f"{name}.{inner}" if inner else name
                visitors.append((module, reading(store, full)))
    run_hooked(lambda: run(model, ids), visitors)
    found = []
    for name in mlp:
        same = [
            other
            for other, value in store.items()
            if other.startswith(f"{name}.") and torch.equal(value, store[name])
        ]
        found.append(same[0] if len(same) == 1 else None)
    return tuple(found)


# --------------------------------------------------------------------------- proving


def _prove_sound(model: nn.Module, ids: Tensor) -> None:
    """Finite logits, and none that looks ahead: changing the last token moves no earlier one.

    Raises:
        NonFinite, NotCausal: With the module or the size of the leak.
    """
    plain = _try_run(model, ids)
    if not torch.isfinite(plain).all():
        raise non_finite(model, lambda: run(model, ids))
    other = ids.clone()
    other[0, -1] = ids[0, 0]
    ahead = (run(model, other)[0, :-1].float() - plain[0, :-1].float()).abs().max()
    if ahead > tolerance(plain.dtype) * plain.float().abs().max():
        raise NotCausal(
            f"{type(model).__name__}: changing the last token moved earlier predictions by "
            f"{float(ahead):.2g}.",
            "A causal model, in which earlier predictions do not see later tokens, was wanted.",
        )


def _try_run(model: nn.Module, ids: Tensor) -> Tensor:
    try:
        return run(model, ids)
    except Exception as error:
        raise UnsupportedModel(
            f"{type(model).__name__}: a forward pass over {ids.shape[1]} tokens failed with "
            f"{type(error).__name__}: {error}",
            "A plain forward pass with input_ids and attention_mask was wanted.",
        ) from error


def _prove_effective(model: nn.Module, geometry: Geometry, ids: Tensor) -> None:
    """Patches act, and only as told.

    Putting a site's own output back must not change a bit; halving it must change the
    prediction. A patch that cannot act would otherwise look like a state that does not matter.

    Raises:
        UnsupportedModel: With the site that failed.
    """
    name = type(model).__name__
    store: dict[Any, Tensor] = {}
    middle = geometry.n_layers // 2
    sites = {kind: model.get_submodule(geometry.names(kind)[middle]) for kind in KINDS}
    sites |= {"embedding": model.get_submodule(geometry.embedding)}
    plain = run_hooked(
        lambda: run(model, ids), [(module, reading(store, kind)) for kind, module in sites.items()]
    )
    for kind, module in sites.items():
        same = run_hooked(lambda: run(model, ids), [(module, _replacing(store[kind]))])
        if not torch.equal(same, plain):
            raise UnsupportedModel(
                f"{name}: putting the {kind} output back changed the prediction.",
                "Putting back what was there must change nothing.",
                "Does the model draw random numbers in eval mode?",
            )
        halved = run_hooked(lambda: run(model, ids), [(module, _replacing(store[kind] * 0.5))])
        if torch.equal(halved, plain):
            raise UnsupportedModel(
                f"{name}: halving the {kind} output changed nothing.",
                "A place where a patch acts was wanted.",
            )


def _replacing(value: Tensor) -> Visitor:
    return lambda seen: value


def non_finite(
    model: nn.Module, call: Callable[[], Any], visitors: Iterable[tuple[nn.Module, Visitor]] = ()
) -> NonFinite:
    """The error for logits that are not finite, naming the first module that makes them so.

    Args:
        model: The model.
        call: The forward pass that failed; it is repeated.
        visitors: What acted in that pass.
    """
    first: list[str] = []

    def watching(name: str) -> Visitor:
        def visit(seen: Seen) -> None:
            if not first and not torch.isfinite(seen.output).all():
                first.append(name)

        return visit

    leaves = [
        (module, watching(name))
        for name, module in model.named_modules()
        if not list(module.children()) and _returns_tensor(module)
    ]
    run_hooked(call, [*visitors, *leaves])
    where = first[0] if first else "the logits"
    return NonFinite(
        f"{type(model).__name__} produces NaN or infinity, first in {where}.",
        "Finite activations were wanted.",
        "Check that module's weights and the size of the noise, or load the model in float32.",
    )


def _returns_tensor(module: nn.Module) -> bool:
    """False for modules such as rotary embeddings, whose output is not one hidden state."""
    return "rotary" not in type(module).__name__.lower()


def accepts(model: nn.Module, keyword: str) -> bool:
    """Whether the model's forward takes `keyword`."""
    return keyword in inspect.signature(model.forward).parameters
