"""Find the two modules of each block whose outputs are added to the residual stream.

By the numbers of one probe pass: the paper's equation 1, h = h' + a + m, must come out for
the outputs of two modules of every block. No names of modules or models are known here. Used by
`geometry`; look there for the other parts of a model.

Source:
    Meng et al. 2022, equation 1; what families add to it is read off transformers 5.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.hooks import Seen, Visitor, run_hooked

ULPS = 4
"""Rounding allowed in h = h' + a + m, in units in the last place; the right pair has below 1."""

Parts = tuple[str, ...]
"""Names of modules within a block whose outputs are tried together."""
Error = Callable[[Parts, int], float]
"""How far some parts are from adding up in the block of a layer, in such units."""

_SHORTLIST = 8
"""Sets of parts that are followed through all blocks, after a look at one block."""


class Part(NamedTuple):
    """One module inside a block, as a probe pass saw it."""

    value: Tensor
    """What it put out, `[1, pos, d_model]`."""
    entering: Tensor | None
    """Its first input in the same shape; None where that is something else."""
    is_norm: bool
    """Has weights, but no matrix."""


@dataclass
class Block:
    """What a probe pass saw of one block."""

    name: str
    entering: Tensor
    """The hidden state before it, `[1, pos, d_model]`."""
    leaving: Tensor
    """The hidden state after it, `[1, pos, d_model]`."""
    modules: frozenset[str]
    """Names of all modules in it; blocks with the same names are built alike."""
    factors: dict[str, float]
    """Numbers that the block itself holds, by name: the constants it may scale a branch with."""
    parts: dict[str, Part] = field(default_factory=dict)
    """By name within the block, in the order in which they finished."""


class Branches(NamedTuple):
    """The branches of all blocks, by module name.

    Both are empty where a block has one branch only, `mlp` where its MLP is two modules side by
    side, neither of which is the contribution.
    """

    attn: tuple[str, ...]
    mlp: tuple[str, ...]
    branch_scale: float
    """Constant that equation 1 multiplies both with; 1 where the model states none."""
    equation: str
    """What was proved, as text; several where blocks are built differently."""


class Sum(NamedTuple):
    """How the parts of a block make up what it puts out."""

    parts: tuple[str, ...]
    """Names of the branches within a block, in the order in which they finished."""
    equation: str
    """What was proved, as text."""
    branch_scale: float = 1.0
    """Constant that the branches are multiplied with before they are added."""


def find_branches(
    model: nn.Module, blocks: Sequence[Block], run: Callable[[Tensor], Any], ids: Tensor
) -> Branches:
    """The attention and the MLP contribution of every block.

    Args:
        model: The model.
        blocks: What a pass over `ids` saw.
        run: Runs the model on ids.
        ids: `[1, pos]`.

    Raises:
        UnsupportedModel: Nothing adds up in some block, or attention and MLP cannot be told apart.
    """
    alike: dict[frozenset[str], list[Block]] = {}
    for block in blocks:
        alike.setdefault(block.modules, []).append(block)
    sums = {kind: _find_sum(type(model).__name__, same) for kind, same in alike.items()}
    equation = "; ".join(dict.fromkeys(each.equation for each in sums.values()))
    if any(len(each.parts) == 1 for each in sums.values()):
        return Branches((), (), 1.0, equation)
    scales = sorted({each.branch_scale for each in sums.values()})
    if len(scales) != 1:
        raise UnsupportedModel(
            f"{type(model).__name__}: blocks scale their branches differently: {scales}.",
            "One constant for all blocks was wanted.",
            "Please report this model family.",
        )
    found = [
        {f"{block.name}.{part}": block.parts[part].value for part in sums[block.modules].parts}
        for block in blocks
    ]
    attn, mlp = _tell_apart(model, found, run, ids)
    if any(len(each.parts) == 3 for each in sums.values()) and _side_by_side(
        model, found, mlp, run, ids
    ):
        return Branches(attn, (), scales[0], equation)
    return Branches(attn, mlp, scales[0], equation)


# ------------------------------------------------------------------------------ watching


def watching_block(block: nn.Module, name: str, seen_blocks: dict[str, list[Block]]) -> Visitor:
    """A visitor that notes what enters and leaves a block, under the block's name."""
    modules = frozenset(inner for inner, _ in block.named_modules())
    factors = dict(_factors(block))

    def visit(seen: Seen) -> None:
        entering = first_input(seen)
        if entering is not None:
            noted = Block(name, _kept(entering), _kept(seen.output), modules, factors)
            seen_blocks.setdefault(name, []).append(noted)

    return visit


def _kept(tensor: Tensor) -> Tensor:
    """A copy on the CPU: blocks may lie on several devices, and not every device has float64."""
    return tensor.detach().to("cpu", copy=True)


def first_input(seen: Seen) -> Tensor | None:
    """The first tensor a module was called with."""
    given = [*seen.args, *seen.kwargs.values()]
    return next((value for value in given if isinstance(value, Tensor)), None)


def _factors(block: nn.Module) -> Iterator[tuple[str, float]]:
    """Numbers held by the block itself: attributes (Granite) and one-element buffers (Gemma 4)."""
    for key, value in vars(block).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key, float(value)
    for key, value in [*block.named_buffers(recurse=False), *block.named_parameters(recurse=False)]:
        if value.numel() == 1:
            yield key, float(value)


def watching_parts(
    block: nn.Module, calls: dict[str, list[Part]]
) -> list[tuple[nn.Module, Visitor]]:
    """Visitors that note what each module inside a block puts out.

    Modules without weights are left out: what dropout passes on is another part's output.
    """

    def watching(name: str, *, is_norm: bool) -> Visitor:
        def visit(seen: Seen) -> None:
            entering = first_input(seen)
            kept = None if entering is None else _kept(entering)
            calls.setdefault(name, []).append(Part(_kept(seen.output), kept, is_norm))

        return visit

    return [
        (module, watching(name, is_norm=all(weight.ndim <= 1 for weight in weights)))
        for name, module in block.named_modules()
        if name and (weights := list(module.parameters()))
    ]


def fill_in_parts(block: Block, calls: Mapping[str, list[Part]]) -> None:
    """Fill in `block.parts`: modules that ran once and put out something like a hidden state."""
    shape = block.leaving.shape
    for name, (part, *again) in calls.items():
        if not again and is_like(part.value, shape):
            entering = part.entering
            same = entering is not None and is_like(entering, shape)
            kept = entering.view(shape) if entering is not None and same else None
            block.parts[name] = Part(part.value.reshape(shape), kept, part.is_norm)


def is_like(value: Tensor, shape: torch.Size) -> bool:
    """Whether `value` is a hidden state of `shape`, perhaps with batch and pos in one axis."""
    return value.numel() == shape.numel() and value.shape[-1:] == shape[-1:]


# ------------------------------------------------------------------------------- adding up


class Equation(NamedTuple):
    """One way in which branches may add up: equation 1, or a relative of it."""

    text: str
    n_branches: int
    factor: str | None = None
    """Name of the constant of the block in it; None for no constant."""
    on_stream: bool = False
    """Whether the constant multiplies the whole sum, or the branches only."""

    def terms(self, block: Block, branches: Sequence[Tensor]) -> list[Tensor]:
        """Float64 terms whose sum should be what leaves the block."""
        factor = block.factors[self.factor] if self.factor else 1.0
        stream = block.entering.double() * (factor if self.on_stream else 1.0)
        return [stream, *(branch.double() * factor for branch in branches)]


def _equations(constants: Sequence[str]) -> Iterator[Equation]:
    """The plainest first: what holds in a plain form must not be explained by a richer one."""
    for n, branches in ((2, "a + m"), (3, "a + m + e")):
        yield Equation(f"h = h' + {branches}", n)
        for key in constants:
            yield Equation(f"h = h' + {key} ({branches})", n, key)
            yield Equation(f"h = {key} (h' + {branches})", n, key, on_stream=True)


def _find_sum(model: str, blocks: list[Block]) -> Sum:
    """The branches of blocks that are built alike.

    Raises:
        UnsupportedModel: No equation holds.
    """
    names = _distinct_parts(blocks)
    constants = _constants(blocks)
    for equation in _equations(constants):
        if found := _solve(equation, blocks, names):
            return found
    if found := (
        _normed_stream(blocks, names, constants) or _solve(Equation("h = h' + c", 1), blocks, names)
    ):
        return found
    sets, error = _candidates(Equation("", 2), blocks, names)
    closest, errors = next(iter(_ranked(sets, len(blocks), error).items()), ((), [float("nan")]))
    raise UnsupportedModel(
        f"{model}: found no attention and MLP among {names} in {blocks[0].name} that add up to "
        f"what a block adds (closest: {' and '.join(closest) or 'none'}, off by up to "
        f"{max(errors):.1e} units in the last place).",
        f"One pair with h = h' + a + m in all {len(blocks)} blocks that are built alike was "
        "wanted, or with a constant that the block holds.",
        "Try float32; if it fails there too, please report this model family.",
    )


def _constants(blocks: Sequence[Block]) -> list[str]:
    """Numbers that every block holds and that change something in one of them."""
    shared = set.intersection(*(set(block.factors) for block in blocks))
    values = {key: [block.factors[key] for block in blocks] for key in sorted(shared)}
    return [key for key, held in values.items() if all(held) and any(v != 1 for v in held)]


def _distinct_parts(blocks: Sequence[Block]) -> list[str]:
    """Names of parts that put out different things; of those that do not, the outermost.

    An attention module and its last matrix put out the same: reading the outer one is reading
    what the block reads. So where a hook on the outer one makes them differ in some blocks.
    """
    order = [name for name in blocks[0].parts if all(name in block.parts for block in blocks)]
    kept: list[str] = []
    for name in sorted(order, key=lambda name: name.count(".")):
        if not any(_puts_out_the_same(blocks, name, other) for other in kept):
            kept.append(name)
    return [name for name in order if name in kept]


def _puts_out_the_same(blocks: Sequence[Block], name: str, other: str) -> bool:
    same = (torch.equal(block.parts[name].value, block.parts[other].value) for block in blocks)
    return any(same) if name.startswith(f"{other}.") else all(same)


def _solve(equation: Equation, blocks: Sequence[Block], names: Sequence[str]) -> Sum | None:
    """The set of parts with which the equation holds in every block, if there is one.

    It must be clearly better than the next: in half precision a part that adds almost nothing in
    one block can pass for another there.
    """
    winner = _clear_winner(len(blocks), *_candidates(equation, blocks, names))
    if winner is None:
        return None
    scale = 1.0
    if equation.factor and not equation.on_stream:
        values = {block.factors[equation.factor] for block in blocks}
        if len(values) > 1:
            return None
        scale = values.pop()
    return Sum(winner, equation.text, scale)


def _candidates(
    equation: Equation, blocks: Sequence[Block], names: Sequence[str]
) -> tuple[list[Parts], Error]:
    """The most likely sets of parts, and how far the equation is off with one in one block."""

    def error(parts: Parts, layer: int) -> float:
        block = blocks[layer]
        terms = equation.terms(block, [block.parts[part].value for part in parts])
        return error_in_ulps(terms, block.leaving)

    return _shortlist(equation, blocks[len(blocks) // 2], names), error


def _ranked(sets: Sequence[Parts], n_blocks: int, error: Error) -> dict[Parts, list[float]]:
    """Errors per block, the best set first."""
    errors = {parts: [error(parts, layer) for layer in range(n_blocks)] for parts in sets}
    return dict(sorted(errors.items(), key=lambda item: statistics.median(item[1])))


def _clear_winner(n_blocks: int, sets: Sequence[Parts], error: Error) -> Parts | None:
    """The set with which every block comes out, if it is clearly better than the next."""
    if all(error(parts, n_blocks // 2) > ULPS for parts in sets):
        return None  # seen at once in one block; the rest would only cost time
    ranked = _ranked(sets, n_blocks, error)
    typical = [statistics.median(errors) for errors in ranked.values()]
    if len(typical) > 1 and typical[1] <= 2 * typical[0] + 1:
        return None
    best = next(iter(ranked))
    return best if max(ranked[best]) <= ULPS else None


def error_in_ulps(terms: Sequence[Tensor], total: Tensor) -> float:
    """How far the terms' sum is from `total`, in units in the last place of the largest term.

    Each element is measured by its own size: trained models have a few huge activations, beside
    which any two parts would seem to add up. The 90th percentile, because where the terms cancel
    a single element can be off by more.
    """
    wide = torch.stack([tensor.double() for tensor in (*terms, total)])
    ulp = wide.abs().amax(0) * torch.finfo(total.dtype).eps
    error = (wide[:-1].sum(0) - wide[-1]).abs() / ulp.clamp_min(1e-300)
    return float(error.flatten().quantile(0.9))


def _shortlist(equation: Equation, block: Block, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets of parts that come closest in one block, by the square of the relative error.

    All sets are looked at, so each costs a few sums only: |t - Σc|² from the scalar products.
    """
    if len(names) < equation.n_branches:
        return []
    stream, *branches = equation.terms(block, [block.parts[name].value for name in names])
    size = torch.maximum(block.leaving.double().abs(), stream.abs())
    weight = 1 / size.clamp_min(1e-3 * float(size.median()) + 1e-300)
    rows = torch.stack([block.leaving.double() - stream, *(-branch for branch in branches)])
    rows = (rows * weight).flatten(1)
    products = (rows @ rows.T).tolist()

    def distance(chosen: tuple[int, ...]) -> float:
        together = (0, *chosen)
        return sum(products[i][j] for i in together for j in together)

    sets = itertools.combinations(range(1, len(names) + 1), equation.n_branches)
    best = sorted(sets, key=distance)[:_SHORTLIST]
    return [tuple(names[i - 1] for i in chosen) for chosen in best]


# ------------------------------------------------------------------- norms on the stream


def _normed_stream(
    blocks: Sequence[Block], names: Sequence[str], constants: Sequence[str]
) -> Sum | None:
    """Branches of a block that norms the stream itself, as before pre-norm became usual.

    h' → (norm) → + a → norm → + m → (norm) → h, each addition perhaps with the block's own
    constants. OPT-350m, MiniMax-01 and BLOOM with its residual after the norm are built so.
    """
    norms = [
        name
        for name in names
        if all(b.parts[name].is_norm and b.parts[name].entering is not None for b in blocks)
    ]
    first = [n for n in norms if all(_equal(b.parts[n].entering, b.entering) for b in blocks)]
    last = [n for n in norms if all(_equal(b.parts[n].value, b.leaving) for b in blocks)]
    for start, middle, end in itertools.product([None, *first], norms, [None, *last]):
        if middle in (start, end):
            continue
        into = [(b.parts[start].value if start else b.entering) for b in blocks]
        between = [(b.parts[middle].entering, b.parts[middle].value) for b in blocks]
        out = [(b.parts[end].entering if end else b.leaving) for b in blocks]
        first_step = _one_step(blocks, names, constants, into, [x for x, _ in between], "a")
        if not first_step:
            continue
        second_step = _one_step(blocks, names, constants, [y for _, y in between], out, "m")
        if second_step and second_step.parts != first_step.parts:
            stream = "norm(h')" if start else "h'"
            normed = f"norm({first_step.equation.format(stream)})"
            whole = second_step.equation.format(normed)
            return Sum(
                first_step.parts + second_step.parts,
                f"h = norm({whole})" if end else f"h = {whole}",
            )
    return None


def _equal(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and torch.equal(one, other)


def _one_step(
    blocks: Sequence[Block],
    names: Sequence[str],
    constants: Sequence[str],
    before: Sequence[Tensor | None],
    after: Sequence[Tensor | None],
    letter: str,
) -> Sum | None:
    """The part c with y = α x + β c in every block, α and β being 1 or constants of the block.

    Its equation has a `{}` where x belongs.
    """
    for keys in itertools.product([None, *constants], repeat=2):

        def error(parts: Parts, layer: int, keys: Sequence[str | None] = keys) -> float:
            block, x, y = blocks[layer], before[layer], after[layer]
            if x is None or y is None:
                return float("inf")
            alpha, beta = (block.factors[key] if key else 1.0 for key in keys)
            c = block.parts[parts[0]].value
            return error_in_ulps([alpha * x.double(), beta * c.double()], y)

        if winner := _clear_winner(len(blocks), [(name,) for name in names], error):
            alpha, beta = (f"{key} " if key else "" for key in keys)
            return Sum(winner, f"{alpha}{{}} + {beta}{letter}")
    return None


# ---------------------------------------------------------------- attention, or the MLP


def _tell_apart(
    model: nn.Module, found: Sequence[dict[str, Tensor]], run: Callable[[Tensor], Any], ids: Tensor
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which branch is attention: the one that looks at other positions.

    The first token is changed while every branch of every block is held at what it put out
    before. So nothing but attention can notice at the other positions.

    Raises:
        UnsupportedModel: Both branches look at other positions, or none.
    """
    moved: dict[str, float] = {}

    def holding(name: str, value: Tensor) -> Visitor:
        def visit(seen: Seen) -> Tensor:
            now = seen.output.detach().cpu().reshape(value.shape)
            change = (now[:, 1:].double() - value[:, 1:].double()).abs().max()
            moved[name] = float(change / value.double().abs().max().clamp_min(1e-300))
            return value.to(seen.output.device, copy=True).view(seen.output.shape)

        return visit

    changed = ids.clone()
    changed[0, 0] = ids[0, -1]
    visitors = [
        (model.get_submodule(name), holding(name, value))
        for branches in found
        for name, value in branches.items()
    ]
    run_hooked(lambda: run(changed), visitors)
    attn, mlp = [], []
    for layer, branches in enumerate(found):
        mixing, *still = sorted(branches, key=lambda name: -moved[name])
        if not moved[mixing] or 4 * max(moved[name] for name in still) > moved[mixing]:
            raise UnsupportedModel(
                f"{type(model).__name__}: block {layer} adds {' and '.join(branches)}, which "
                "cannot be told apart: changing the first token moved them at later positions by "
                f"{', '.join(f'{moved[name]:.1e}' for name in branches)} of their size.",
                "One branch that looks at other positions, the attention, was wanted.",
                "Please report this model family.",
            )
        attn.append(mixing)
        # Of two that do not, the first is the MLP: what Gemma 4 adds per layer comes after it.
        mlp.append(next(name for name in branches if name != mixing))
    return tuple(attn), tuple(mlp)


def _side_by_side(
    model: nn.Module,
    found: Sequence[dict[str, Tensor]],
    mlp: Sequence[str],
    run: Callable[[Tensor], Any],
    ids: Tensor,
) -> bool:
    """Whether the third branch does not see what the MLP puts out.

    Then it is a part of the MLP, as the shared experts of Granite are, and not something that
    comes after it, as the inputs per layer of Gemma 4.
    """
    layer = next(layer for layer, branches in enumerate(found) if len(branches) == 3)
    third = list(found[layer])[-1]
    changed: list[bool] = []

    def turn(seen: Seen) -> Tensor:
        return seen.output.roll(1, dims=-1)

    def compare(seen: Seen) -> None:
        before = found[layer][third]
        changed.append(not torch.equal(seen.output.detach().cpu().reshape(before.shape), before))

    visitors = [(mlp[layer], turn), (third, compare)]
    run_hooked(lambda: run(ids), [(model.get_submodule(name), visit) for name, visit in visitors])
    return not changed[0]
