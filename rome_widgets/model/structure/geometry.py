"""Find the parts of a model by structure, and prove them by a probe pass.

No list of model names. The blocks are the one `ModuleList` as long as the model is deep that
runs; a block's attention and MLP are the two parts that make the paper's equation 1 come out:
h = h' + a + m (`residual_branches`). What cannot be proved is refused, with what was found.

Source:
    Meng et al. 2022, equation 1; module layouts as transformers 5 builds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from rome_widgets.errors import (
    NonFinite,
    NotCausal,
    UnsupportedModel,
)
from rome_widgets.model.eval_mode import device_of, in_eval_mode
from rome_widgets.model.hooks import Seen, Visitor, reading, run_hooked, run_until
from rome_widgets.model.memory import is_shortage
from rome_widgets.model.stand_in import standing_in
from rome_widgets.model.structure.edited_matrix import find_edited_matrices
from rome_widgets.model.structure.residual_branches import (
    Block,
    Part,
    fill_in_parts,
    find_branches,
    watching_block,
    watching_parts,
)
from rome_widgets.records.states import KINDS, Kind

PROBE_TOKENS = 5
"""Length of the probe prompt: enough for an attention pattern, cheap on any model."""


@dataclass(frozen=True, repr=False)
class Geometry:
    """Names the modules that are a model's parts, one per block where they repeat."""

    embedding: str
    """The input embedding; its output is what gets corrupted."""
    blocks: tuple[str, ...]
    """The decoder blocks; a block's output is the hidden state after it."""
    attn: tuple[str, ...]
    """Per block, the module whose output is the attention contribution a, up to `branch_scale`:
    `[batch, pos, d_model]`, or with batch and pos in one axis. Empty where blocks have none."""
    mlp: tuple[str, ...]
    """Per block, the module whose output is the MLP contribution m, as `attn`. What reaches the
    residual stream: after a post-norm, before a residual that is added inside."""
    edited_matrices: tuple[str | None, ...]
    """Per block, the MLP's last matrix, the one ROME edits; its output is the MLP's own, before
    any post-norm. None where there is no single one; `edit_refusal` says why."""
    d_model: int
    """Width of the hidden state."""
    branch_scale: float = 1.0
    """Constant s of h = h' + s (a + m); 1 in most families."""
    equation: str = "h = h' + a + m"
    """How the branches were proved to add up, as text; several where blocks are built
    differently."""
    edit_refusal: tuple[str | None, ...] = ()
    """Per block, why no edit is defined there, a clause; None where `edited_matrices` has one."""

    def __repr__(self) -> str:
        return (
            f"Geometry({self.n_layers} blocks, d_model {self.d_model}, {self.equation};\n"
            f"    {self.blocks[0]}, {', '.join(self.kinds)})"
        )

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of state this model has; "hidden" always."""
        return tuple(kind for kind in KINDS if self.names(kind))

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Module names, by layer, whose outputs are the states of `kind`; empty for none."""
        return {"hidden": self.blocks, "attn": self.attn, "mlp": self.mlp}[kind]


# --------------------------------------------------------------------------- finding

CHECKS = 4
"""Of `find_geometry`, about as long as each other."""


@in_eval_mode
def find_geometry(model: nn.Module, checked: Callable[[], None] = lambda: None) -> Geometry:
    """Find the parts of a causal language model and prove them with a probe pass.

    The model must have passed `language_model.check_kind_of_model`. `checked` is called after each
    of `CHECKS` checks.

    Raises:
        UnsupportedModel: A part was not found, or the probe disproved it; the message says which.
        NonFinite: NaN or infinity in the weights or activations.
    """
    embedding = _embedding_name(model)
    probe = probe_ids(model)
    logits = _prove_sound(model, probe)
    checked()
    blocks = _watch_blocks(model, probe)
    checked()
    branches = find_branches(model, blocks, lambda ids: run_to_head(model, ids), probe)
    checked()
    matrices, refusal = find_edited_matrices(model, blocks, branches.mlp)
    geometry = Geometry(
        embedding,
        blocks=tuple(block.name for block in blocks),
        attn=branches.attn,
        mlp=branches.mlp,
        edited_matrices=matrices,
        d_model=blocks[0].leaving.shape[-1],
        branch_scale=branches.branch_scale,
        equation=branches.equation,
        edit_refusal=refusal,
    )
    _prove_effective(model, geometry, probe, logits)
    checked()
    return geometry


def _embedding_name(model: Any) -> str:
    embedding = model.get_input_embeddings()
    for name, module in model.named_modules():
        if module is embedding:
            return name
    raise UnsupportedModel(
        f"{type(model).__name__}: the input embedding is not one of its modules.",
        "get_input_embeddings() was wanted to return a module of the model.",
    )


def _block_lists(model: Any, depth: int | None) -> dict[str, list[str]]:
    """Lists of modules of this length, or of any, outermost ones only, by name.

    A vision tower may have one too; a block may have as many experts as there are blocks.
    """
    lists: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{member}.") for each in lists.values() for member in each)
        if inside or not isinstance(module, nn.ModuleList) or not len(module):
            continue
        if depth in (None, len(module)):
            lists[name] = [f"{name}.{child}" for child, _ in module.named_children()]
    return lists


def probe_ids(model: Any) -> Tensor:
    """`[1, PROBE_TOKENS]` ids, distinct where the vocabulary allows."""
    embedding = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    step = max(1, rows // (PROBE_TOKENS + 1))
    ids = torch.arange(1, PROBE_TOKENS + 1, device="cpu") * step % rows
    return ids[None].to(device_of(embedding))


def all_logits(model: nn.Module, ids: Tensor, **options: Any) -> Tensor:
    """Logits `[batch, pos, vocab]` of a forward pass, with mask and, unless asked, no cache."""
    return own_logits(standing_in(model), ids, **options)


def own_logits(model: nn.Module, ids: Tensor, **options: Any) -> Tensor:
    """The same of the module itself, whatever it is, with its own hooks and in its own mode."""
    options = {"use_cache": False} | options
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), **options).logits


def run_to_head(
    model: Any, ids: Tensor, visitors: Iterable[tuple[nn.Module, Visitor]] = (), **options: Any
) -> Tensor:
    """What the head is given in a pass, which ends there; else the logits.

    The head's matrix is more than half of the work where the vocabulary is large. Code of somebody
    else may wait for the end of a pass: with any in place, passes are whole.
    """
    head = model.get_output_embeddings()

    def call() -> Tensor:
        return all_logits(model, ids, **options)

    inside = any(module is head for module in model.modules())
    if not inside or _has_global_hooks() or any(map(_has_hooks, model.modules())):
        return run_hooked(call, visitors)
    return run_until(head, call, visitors)


def _has_global_hooks() -> bool:
    return bool(torch_modules._global_forward_hooks or torch_modules._global_forward_pre_hooks)


def _has_hooks(module: nn.Module) -> bool:
    held = vars(module)
    return any(held.get(key) for key in ("_forward_hooks", "_forward_pre_hooks", *_REPLACED))


_REPLACED = ("forward", "_hf_hook", "_compiled_call_impl")


def _watch_blocks(model: Any, ids: Tensor) -> list[Block]:
    """What enters and leaves each block and each module in it, in one pass.

    A list as long as the configuration says the model is deep, else, of a configuration that was
    not told of layers taken out, whichever runs.

    Raises:
        UnsupportedModel: Not exactly one list of blocks ran, or what passes from block to block
            is not one hidden state.
    """
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = _block_lists(model, depth) if depth else {}
    seen, calls = _watch(model, lists, ids)
    ran = {name: names for name, names in lists.items() if all(n in seen for n in names)}
    if not ran:
        lists = lists | _block_lists(model, None)
        seen, calls = _watch(model, lists, ids)
        ran = {
            name: running
            for name, names in lists.items()
            if len(running := [n for n in names if n in seen]) in {len(names), depth} - {0}
        }
    name = _the_one_list(model, lists, ran)
    blocks = [seen[block] for block in ran[name]]
    for first, *again in blocks:
        _check_stream(model, first, again, ids)
        fill_in_parts(first, calls[first.name])
    return [first for first, *_ in blocks]


def _watch(
    model: nn.Module, lists: Mapping[str, Sequence[str]], ids: Tensor
) -> tuple[dict[str, list[Block]], dict[str, dict[str, list[Part]]]]:
    """What a pass shows of each block of these lists, and of the parts in it."""
    seen: dict[str, list[Block]] = {}
    calls: dict[str, dict[str, list[Part]]] = {}
    parts: list[tuple[nn.Module, Visitor]] = []
    whole: list[tuple[nn.Module, Visitor]] = []
    for name in (name for names in lists.values() for name in names):
        block = model.get_submodule(name)
        whole.append((block, watching_block(block, name, seen)))
        parts += watching_parts(block, calls.setdefault(name, {}))
    # What a block adds is what it puts out itself, before a hook of somebody else's.
    run_hooked(lambda: all_logits(model, ids), parts, first=whole)
    return seen, calls


def _the_one_list(model: Any, lists: dict[str, list[str]], ran: dict[str, list[str]]) -> str:
    if len(ran) == 1:
        return next(iter(ran))
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", "any number of")
    found = f"{len(ran)} ({', '.join(ran)})" if ran else "none"
    idle = [name for name in lists if name not in ran]
    more = f", and {', '.join(idle)} of which not every block ran in a forward pass" if idle else ""
    raise UnsupportedModel(
        f"{type(model).__name__}: found {found}{more}.",
        f"Exactly one list of {depth} blocks that take and return the hidden state was wanted.",
        "Please report this model family.",
    )


def _check_stream(model: Any, block: Block, again: list[Block], ids: Tensor) -> None:
    """One hidden state per position passes through each block, once."""
    shapes = [tuple(state.shape) for state in (block.entering, block.leaving)]
    if shapes[0] != shapes[1] or shapes[0][:-1] != tuple(ids.shape):
        raise UnsupportedModel(
            f"{type(model).__name__}: {block.name} takes {list(shapes[0])} and returns "
            f"{list(shapes[1])} for a prompt of {ids.shape[1]} tokens.",
            f"One hidden state per position, [1, {ids.shape[1]}, d_model], was wanted; "
            "with several streams side by side no single state can be restored.",
        )
    if again:
        raise UnsupportedModel(
            f"{type(model).__name__}: {block.name} ran {1 + len(again)} times in one pass.",
            "Blocks that run once were wanted: a layer would stand for several states.",
        )


def tolerance(dtype: torch.dtype) -> float:
    """How exactly logits in `dtype` can be expected to repeat, relative to their size."""
    return 64 * torch.finfo(dtype).eps


# --------------------------------------------------------------------------- proving


def _prove_sound(model: nn.Module, ids: Tensor) -> Tensor:
    """Finite logits, and none that looks ahead: changing the last token moves no earlier one.

    Returns:
        `[1, pos, vocab]`, of `ids`.

    Raises:
        NonFinite, NotCausal: With the module or the size of the leak.
    """
    try:
        plain = all_logits(model, ids)
    except Exception as error:
        if is_shortage(error):
            raise
        raise UnsupportedModel(
            f"{type(model).__name__}: a forward pass over {ids.shape[1]} tokens failed with "
            f"{type(error).__name__}: {error}",
            "A plain forward pass with input_ids and attention_mask was wanted.",
        ) from error
    if not torch.isfinite(plain).all():
        raise non_finite_error(model, lambda: all_logits(model, ids))
    other = ids.clone()
    other[0, -1] = ids[0, 0]
    ahead = (all_logits(model, other)[0, :-1].float() - plain[0, :-1].float()).abs().max()
    if ahead > tolerance(plain.dtype) * plain.float().abs().max():
        if not torch.equal(all_logits(model, ids), plain):
            raise UnsupportedModel(
                f"{type(model).__name__}: two passes over the same prompt give other logits.",
                "A model that repeats itself was wanted.",
                "Does it draw random numbers in eval mode?",
            )
        raise NotCausal(
            f"{type(model).__name__}: changing the last token moved earlier predictions by "
            f"{float(ahead):.2g}.",
            "A causal model, in which earlier predictions do not see later tokens, was wanted.",
        )
    return plain


def _prove_effective(model: nn.Module, geometry: Geometry, ids: Tensor, logits: Tensor) -> None:
    """Patches act, and only as told.

    Putting a site's own output back must not change a bit; exchanging its elements must change
    the prediction. A patch that cannot act would otherwise look like a state that does not matter.

    Args:
        model: The model.
        geometry: Its parts.
        ids: `[1, pos]`.
        logits: `[1, pos, vocab]`, what it gives for them.

    Raises:
        UnsupportedModel: With the site that failed.
    """
    name = type(model).__name__
    store: dict[Any, Tensor] = {}
    sites = {kind: geometry.names(kind) for kind in geometry.kinds}
    sites |= {"embedding": (geometry.embedding,)}
    reads = [
        (model.get_submodule(site), reading(store, site))
        for names in sites.values()
        for site in names
    ]
    plain = run_to_head(model, ids, reads)

    def unchanged(values: dict[str, Tensor]) -> bool:
        put = [(model.get_submodule(site), _putting(value)) for site, value in values.items()]
        return torch.equal(run_to_head(model, ids, put), plain)

    alike: list[bool] = []
    back = [(model.get_submodule(site), _putting(value, alike)) for site, value in store.items()]
    # All kinds in one pass: where each site is about to put out what is put in its place, none of
    # them makes up for another. Else kind by kind, to say which it is.
    at_once = torch.equal(run_to_head(model, ids, back), plain) and all(alike)
    for kind, names in sites.items():
        if not at_once and not unchanged({site: store[site] for site in names}):
            raise UnsupportedModel(
                f"{name}: putting the {kind} output back changed the prediction.",
                "Putting back what was there must change nothing.",
                "Does the model draw random numbers in eval mode?",
            )
        for site in _one_of_each(names, geometry.blocks):
            # Turned, not scaled: a norm that follows, as in BLOOM, would take a factor out again.
            if unchanged({site: store[site].roll(1, dims=-1)}):
                raise _without_effect(name, kind, site)
    # The head itself takes notice.
    turned = [
        (
            model.get_submodule(geometry.blocks[-1]),
            _putting(store[geometry.blocks[-1]].roll(1, dims=-1)),
        )
    ]
    if torch.equal(run_hooked(lambda: all_logits(model, ids), turned), logits):
        raise _without_effect(name, "hidden", geometry.blocks[-1])


def _putting(value: Tensor, alike: list[bool] | None = None) -> Visitor:
    """Puts a copy of a value in place of an output: Falcon adds to what it is given, in place.

    Args:
        value: As the output.
        alike: Is told whether the output was the value.
    """

    def visit(seen: Seen) -> Tensor:
        if alike is not None:
            alike.append(torch.equal(seen.output, value))
        return value.clone()

    return visit


def _without_effect(model: str, kind: str, site: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{model}: exchanging the elements of the {kind} output, of {site}, changed nothing.",
        "A place where a patch acts was wanted.",
    )


def _one_of_each(names: tuple[str, ...], blocks: tuple[str, ...]) -> list[str]:
    """One site of each name within a block, near the middle of the model."""
    if len(names) != len(blocks):
        return list(names)
    middle = len(blocks) // 2
    by_distance = sorted(range(len(blocks)), key=lambda layer: -abs(layer - middle))
    kinds = {names[i].removeprefix(blocks[i]): names[i] for i in by_distance}
    return list(kinds.values())


def non_finite_error(
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
        # A rotary embedding's output is not one hidden state.
        if not list(module.children()) and "rotary" not in type(module).__name__.lower()
    ]
    run_hooked(call, [*visitors, *leaves])
    where = first[0] if first else "the logits"
    remedy = "Check that module's weights and the size of the noise, or load the model in float32."
    weights = list(model.get_submodule(first[0]).parameters()) if first else []
    halves = any(weight.dtype == torch.float16 for weight in model.parameters())
    if halves and all(torch.isfinite(weight).all() for weight in weights):
        remedy = (
            'Numbers of float16 end at 65,504: load the model with dtype="bfloat16", which has '
            'the range of float32, or with dtype="float32".'
        )
    return NonFinite(
        f"{type(model).__name__} produces NaN or infinity, first in {where}.",
        "Finite activations were wanted.",
        remedy,
    )
