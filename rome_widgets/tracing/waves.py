"""Plan which blocks to run again, for which states, to restore many cells at once. No torch.

A cell of a grid is a set of patches. Cells whose first patched position is the same form a wave:
nothing before that position can change, so a wave carries only the positions from there on. It
goes up the layers as a trie: cells with the same history of patches are one branch, and a cell
that was not patched yet is still the corrupted run, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rome_widgets.records.states import Kind, State


class Extent(NamedTuple):
    """The size of a grid, and where it begins to matter."""

    n_layers: int
    n_pos: int
    subject_start: int
    """First corrupted position; before it the runs are the same."""


class Patch(NamedTuple):
    """A state to overwrite, and with the value of which run."""

    pos: int
    layer: int
    kind: Kind
    clean: bool
    """True restores the clean value, False holds the corrupted one."""


class Branch(NamedTuple):
    """One distinct history of patches, just after a block."""

    parent: int | None
    """Its index among the branches before the block; None is the corrupted run."""
    patches: tuple[Patch, ...]
    """What is patched in this block."""
    prompt: int = 0
    """Of which prompt it is, where a wave has those of several."""


@dataclass(frozen=True)
class Wave:
    """Cells that are computed together."""

    start: int
    """First position that any of them patches."""
    first: int
    """First layer that any of them patches."""
    steps: tuple[tuple[Branch, ...], ...]
    """The branches after block `first`, `first + 1`, ..., the last."""
    leaves: tuple[tuple[int, ...], ...]
    """For each branch after the last block, the numbers of the cells that it is the result of."""


def group_cells(
    cells: Sequence[Iterable[State]], extent: Extent, most_cells: int | None = None
) -> tuple[list[int], list[list[int]]]:
    """Which cells to compute together: those whose first position that matters is the same.

    Args:
        cells: Per cell, the states to restore in the corrupted run.
        extent: Of the grid.
        most_cells: Most cells in one group.

    Returns:
        The numbers of the cells that restore nothing that can matter, and the groups, in the
        order in which their positions come first.
    """
    most = most_cells or max(1, len(cells))
    return group_joint_cells([(0, cell) for cell in cells], [extent], lambda n_pos: most)


def group_joint_cells(
    cells: Sequence[tuple[int, Iterable[State]]],
    extents: Sequence[Extent],
    most_cells: Callable[[int], int],
) -> tuple[list[int], list[list[int]]]:
    """The same for cells of several prompts, whose last positions are the same one.

    Cells of one prompt stay together where they can: they share branches. So what the cells of a
    prompt cost does not depend on the others.

    Args:
        cells: Per cell, the number of its prompt, and the states to restore.
        extents: By prompt.
        most_cells: Most cells in one group, by the number of positions that it carries.
    """
    unchanged: list[int] = []
    by_start: dict[int, dict[int, list[int]]] = {}
    for number, (prompt, cell) in enumerate(cells):
        start = start_of(cell, extents[prompt])
        if start is None:
            unchanged.append(number)
        else:
            by_start.setdefault(start, {}).setdefault(prompt, []).append(number)
    groups: list[list[int]] = []
    for start, by_prompt in by_start.items():
        most, together = most_cells(extents[0].n_pos - start), len(groups)
        for numbers in by_prompt.values():
            for first in range(0, len(numbers), most):
                some = numbers[first : first + most]
                if len(groups) > together and len(groups[-1]) + len(some) <= most:
                    groups[-1] += some
                else:
                    groups.append(some)
    return unchanged, groups


def start_of(cell: Iterable[State], extent: Extent) -> int | None:
    """The first position that a cell changes; None where it restores nothing that can matter."""
    return min((state.pos for state in _effective(cell, extent)), default=None)


def plan_wave(cells: Sequence[Iterable[State]], extent: Extent, held: Iterable[State] = ()) -> Wave:
    """The wave of some cells, each of which restores something that can matter.

    Args:
        cells: Per cell, the states to restore in the corrupted run.
        extent: Of the grid.
        held: States kept at their corrupted values in every cell, the severed graph; a restored
            state is restored all the same.
    """
    effective = [_effective(cell, extent) for cell in cells]
    start = min(state.pos for states in effective for state in states)
    restored = [_by_layer(Patch(*state, clean=True) for state in states) for states in effective]
    kept = [state for state in _effective(held, extent) if state.pos >= start]
    holds = _by_layer(Patch(*state, clean=False) for state in kept)
    first = min(layer for patches in restored for layer in patches)
    at: list[int | None] = [None] * len(cells)
    steps = []
    for layer in range(first, extent.n_layers):
        branches: dict[Branch, int] = {}
        for number, patches in enumerate(restored):
            branch = Branch(at[number], tuple(sorted(patches.get(layer, ()))))
            branch = _hold(branch, holds.get(layer, ()))
            if branch != Branch(None, ()):
                at[number] = branches.setdefault(branch, len(branches))
        steps.append(tuple(branches))
    leaves: list[list[int]] = [[] for _ in steps[-1]]
    for number, branch_number in enumerate(at):
        assert branch_number is not None, "every cell of a wave restores something"
        leaves[branch_number].append(number)
    return Wave(start, first, tuple(steps), tuple(map(tuple, leaves)))


class BlockCall(NamedTuple):
    """What a block is called on, in as many pieces as memory wants."""

    branches: tuple[int, ...]
    """Numbers of those branches after the block that come out of it."""
    start: int
    stop: int
    """The positions, half-open."""


def block_calls(step: Sequence[Branch], start: int, n_pos: int) -> list[BlockCall]:
    """The calls of a block that give the branches after it.

    What runs on from a branch goes through the block with all its positions. What leaves the
    corrupted run enters it unchanged, so that only positions whose attention or MLP is patched come
    out new; where only hidden states are, there is nothing to call.

    Args:
        step: The branches.
        start: First position of their wave.
        n_pos: Positions of the prompt.
    """
    running = [number for number, branch in enumerate(step) if branch.parent is not None]
    calls = [BlockCall(tuple(running), start, n_pos)] if running else []
    leaving: dict[tuple[int, int], list[int]] = {}
    for number, branch in enumerate(step):
        positions = [patch.pos for patch in branch.patches if patch.kind != "hidden"]
        if branch.parent is None and positions:
            leaving.setdefault((min(positions), max(positions) + 1), []).append(number)
    return calls + [BlockCall(tuple(some), *extent) for extent, some in leaving.items()]


@dataclass(frozen=True)
class Work:
    """What some waves cost, for each draw of the noise."""

    block_rows: int = 0
    """Positions on which blocks are called, over all branches and layers."""
    head_rows: int = 0
    """States from which the next token is predicted."""

    def __add__(self, other: Work) -> Work:
        return Work(self.block_rows + other.block_rows, self.head_rows + other.head_rows)

    def times(self, count: int) -> Work:
        """So often."""
        return Work(count * self.block_rows, count * self.head_rows)


def work_of(wave: Wave, n_pos: int) -> Work:
    """What a wave costs; `block_calls` are what is run."""
    rows = [
        len(call.branches) * (call.stop - call.start)
        for step in wave.steps
        for call in block_calls(step, wave.start, n_pos)
    ]
    return Work(sum(rows), len(wave.steps[-1]))


def join_waves(waves: Sequence[tuple[int, Wave]]) -> Wave:
    """One wave of several prompts' waves that have the same start.

    Args:
        waves: Each with the number of its prompt.

    Returns:
        Its leaves count the cells on from wave to wave.
    """
    ((prompt, alone), *more) = waves
    if not more and prompt == 0:
        return alone
    first, stop = min(w.first for _, w in waves), max(w.first + len(w.steps) for _, w in waves)
    steps, before = [], [0] * len(waves)
    for layer in range(first, stop):
        step: list[Branch] = []
        for number, (prompt, wave) in enumerate(waves):
            own = wave.steps[layer - wave.first] if layer >= wave.first else ()
            offset, before[number] = before[number], len(step)
            step += [
                Branch(None if each.parent is None else each.parent + offset, each.patches, prompt)
                for each in own
            ]
        steps.append(tuple(step))
    leaves: list[tuple[int, ...]] = []
    n_cells = 0
    for _, wave in waves:
        leaves += [tuple(n_cells + cell for cell in some) for some in wave.leaves]
        n_cells += sum(map(len, wave.leaves))
    return Wave(waves[0][1].start, first, tuple(steps), tuple(leaves))


def _effective(cell: Iterable[State], extent: Extent) -> frozenset[State]:
    """The states of a cell whose restoration can change the prediction.

    A restored hidden state overwrites what its own block put in.
    """
    states = {State(*state) for state in cell}
    return frozenset(
        state
        for state in states
        if can_matter(state, extent)
        and (state.kind == "hidden" or State(state.pos, state.layer, "hidden") not in states)
    )


def can_matter(state: State, extent: Extent) -> bool:
    """Whether restoring a state can change the prediction.

    Before the subject the runs agree; in the last block only the last position is read.
    """
    n_layers, n_pos, start = extent
    return state.pos >= start and (state.layer < n_layers - 1 or state.pos == n_pos - 1)


def _by_layer(patches: Iterable[Patch]) -> dict[int, list[Patch]]:
    table: dict[int, list[Patch]] = {}
    for patch in patches:
        table.setdefault(patch.layer, []).append(patch)
    return table


def _hold(branch: Branch, holds: Iterable[Patch]) -> Branch:
    """Also hold these; where a place is restored, or its whole state is, that goes first.

    In the corrupted run the values are what they are. A branch that just leaves it changes, in
    this block, only the positions whose attention or MLP it patches.
    """
    restored = {(patch.pos, patch.kind) for patch in branch.patches}
    changing = {pos for pos, kind in restored if kind != "hidden"}
    also = [
        hold
        for hold in holds
        if (branch.parent is not None or hold.pos in changing)
        and (hold.pos, hold.kind) not in restored
        and (hold.pos, "hidden") not in restored
    ]
    return Branch(branch.parent, (*branch.patches, *also)) if also else branch
