"""Run waves of restorations up the layers of captured runs: of one prompt, or of several at once.

What enters a block is a row per branch of a wave and draw, whichever prompt it is of, so that one
call of the block serves all prompts of a batch. `replayed_runs` has one prompt, `joint_runs`
several; which blocks have to run again for which states, `waves` plans.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from rome_widgets.errors import NonFinite
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.memory import Lacking, attempt, out_of_memory
from rome_widgets.model.replay import Capture, Replay
from rome_widgets.records.states import Kind, State
from rome_widgets.tracing.metric import Means, Measure, added
from rome_widgets.tracing.runs import LOGITS_AT_ONCE, Check, Held, Placed, Predicted, placed
from rome_widgets.tracing.waves import (
    Branch,
    Extent,
    Patch,
    Wave,
    block_calls,
    join_waves,
    plan_wave,
)

PREDICTED = 128_000_000
"""Probabilities kept at once."""
CALLS_PER_WAVE = 64
"""A wave may hold this many calls' worth of states."""
WIDTHS_PER_WAVE = 16
"""Numbers of d_model width for which a wave has room per token: it keeps states before and after a
block, and copies of them on the way, and leaves half of the memory to the call of the block."""


class Captured(NamedTuple):
    """The runs of some prompts that waves start from; all have as many draws.

    Each prompt has a clean row and then a row per draw. The last positions of all stand in the last
    column: positions here are columns.
    """

    capture: Capture
    samples: int
    clean: Mapping[tuple[Kind, int], Tensor]
    """`[prompt, column, d_model]` by kind and layer."""


class Restored(NamedTuple):
    """What is to be restored, and what is asked of it."""

    cells: Sequence[tuple[int, Sequence[State]]]
    """The prompt's number and the states, per cell."""
    extents: Sequence[Extent]
    """By prompt."""
    measures: Mapping[int, Measure]
    """By prompt."""
    held: Mapping[int, Held]
    """By prompt: states kept at corrupted values meanwhile."""
    tokens_per_call: Callable[[], int]
    """Tokens in one call of a block; it becomes less where memory runs out."""
    check: Check


class ReplayedWaves:
    """Predicts with states restored in captured runs, by calls of the model's blocks.

    Args:
        lm: The model.
        replay: Its blocks.
        captured: The runs.
    """

    def __init__(self, lm: LanguageModel, replay: Replay, captured: Captured) -> None:
        self._lm, self._replay, self._captured = lm, replay, captured
        self._asked = 0

    @property
    def samples(self) -> int:
        """Draws of each prompt."""
        return self._captured.samples

    def most_cells(self, tokens_per_call: int, length: int) -> int:
        """See `most_cells`."""
        vocabulary = self._captured.capture.logits.shape[-1]
        return most_cells(self._lm, self.samples, vocabulary, tokens_per_call, length)

    def predict(self, groups: Iterable[Sequence[int]], asked: Restored) -> Iterator[Predicted]:
        """What is predicted, of the cells of these numbers, group after group.

        Args:
            groups: Numbers of cells whose first patched column is the same; those of one prompt
                follow each other. A group for which memory does not do is halved.
            asked: See there.

        Raises:
            OutOfMemory: No room for a single row.
        """
        waiting = deque(groups)
        while waiting:
            numbers = waiting.popleft()
            found = attempt(partial(self._lm.run, partial(self._all_of, numbers, asked)))
            if isinstance(found, Lacking):
                self._shrink(len(numbers), found, asked.tokens_per_call())
                half = (len(numbers) + 1) // 2
                waiting.extendleft(filter(len, (numbers[half:], numbers[:half])))
                continue
            for some, means in found:
                yield [numbers[number] for number in some], means

    def _all_of(self, numbers: Sequence[int], asked: Restored) -> list[Predicted]:
        return list(self._run(_joint_wave(numbers, asked), asked))

    def _shrink(self, n_cells: int, found: Lacking, tokens_per_call: int) -> None:
        """Smaller calls from now on, if it was a call that did not fit; else only fewer cells."""
        asked, self._asked = self._asked, 0
        if n_cells == 1 and (not asked or tokens_per_call <= 1):
            self._lm.forget_memory()  # what did not fit now may fit another time
            raise out_of_memory("replay one row", found)
        if asked:
            self._lm.use_less_memory(asked)

    # ------------------------------------------------------------------------- one wave

    def _run(self, wave: Wave, asked: Restored) -> Iterator[Predicted]:
        branches = torch.empty(0, device="cpu")
        for layer, step in enumerate(wave.steps, start=wave.first):
            branches = self._after_block(layer, step, branches, wave.start, asked)
        prompts = [branch.prompt for branch in wave.steps[-1]]
        yield from self._unembed(branches[:, :, -1], prompts, wave.leaves, asked)

    def _after_block(
        self, layer: int, step: Sequence[Branch], before: Tensor, start: int, asked: Restored
    ) -> Tensor:
        """`[branch, sample, column, d_model]` after a block, from the branches before it.

        After the last block, only the last column.
        """
        length = self._captured.capture.length
        first = start if layer < self._lm.n_layers - 1 else length - 1
        after: Tensor | None = None
        for call in block_calls(step, start, length):
            some = [step[number] for number in call.branches]
            if some[0].parent is None:
                entering = self._corrupted(layer, some, call.start, call.stop)
            else:
                parents = [branch.parent for branch in some]
                entering = before if parents == [*range(len(before))] else before[parents]
            out = self._through(layer, entering, call.start, some, asked)
            if len(some) == len(step) and out.shape[2] == length - first:
                after = out
                continue
            after = self._corrupted(layer + 1, step, first, None) if after is None else after
            low = max(call.start, first)
            after[[*call.branches], :, low - first : call.stop - first] = out
        if after is None:
            after = self._corrupted(layer + 1, step, first, None)
        if hidden := _of_kind("hidden", step):
            self._place(hidden, step, asked.held, start=first).put(after.flatten(0, 1))
        return after

    def _corrupted(
        self, layer: int, branches: Sequence[Branch], start: int, stop: int | None
    ) -> Tensor:
        """`[branch, sample, column, d_model]`: what enters `layer` in the corrupted runs."""
        states = self._captured.capture.states[layer][:, start:stop]
        prompts = [branch.prompt for branch in branches]
        return states.unflatten(0, (-1, 1 + self.samples))[:, 1:][prompts]

    def _through(
        self,
        layer: int,
        entering: Tensor,
        start: int,
        branches: Sequence[Branch],
        asked: Restored,
    ) -> Tensor:
        """`[branch, sample, column, d_model]`: through a block, attention and MLP patched.

        In pieces of `tokens_per_call`; the last block gives its last position only.
        """
        rows = entering.flatten(0, 1)
        stop = start + rows.shape[1]
        last = layer == self._lm.n_layers - 1 and stop == self._captured.capture.length
        wanted = 1 if last else None
        out_start = stop - 1 if last else start
        places = [
            (self._lm.sites(kind)[layer], self._place(where, branches, asked.held, start=out_start))
            for kind in ("attn", "mlp")
            if (where := _of_kind(kind, branches))
        ]
        origins = self._origins(branches).to(rows.device)
        n_rows = max(1, asked.tokens_per_call() // rows.shape[1])
        pieces = []
        for first in range(0, len(rows), n_rows):
            asked.check()
            some = rows[first : first + n_rows]
            visitors = self._lm.named(
                (site, inside.visitor(stop - out_start))
                for site, each in places
                if len((inside := each.between(first, first + len(some))).rows)
            )
            self._asked = some.shape[0] * some.shape[1]
            origin = origins[first : first + n_rows]
            pieces.append(
                self._replay.block(
                    self._captured.capture, layer, some, start, origin, visitors, wanted
                )
            )
            self._asked = 0
        out = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return out.unflatten(0, (len(branches), self.samples))

    def _origins(self, branches: Sequence[Branch]) -> Tensor:
        """`[branch * sample]`: the rows of the capture that they go on from."""
        prompts = torch.tensor([branch.prompt for branch in branches], device="cpu")
        corrupted = torch.arange(1, 1 + self.samples, device="cpu")
        return (prompts[:, None] * (1 + self.samples) + corrupted).flatten()

    def _place(
        self,
        where: Sequence[tuple[int, Patch]],
        branches: Sequence[Branch],
        held: Mapping[int, Held],
        *,
        start: int,
    ) -> Placed:
        """Patches of one kind and layer, by number of the branch, as rows and values."""
        kind, layer = where[0][1].kind, where[0][1].layer
        prompts = [branches[number].prompt for number, _ in where]
        clean = self._captured.clean[kind, layer][prompts, [patch.pos for _, patch in where]]
        kept = [
            None if patch.clean else held[prompt][State(*patch[:3])]
            for prompt, (_, patch) in zip(prompts, where, strict=True)
        ]
        return placed(where, clean, kept, self.samples, start)

    def _unembed(
        self,
        hidden: Tensor,
        prompts: Sequence[int],
        leaves: Sequence[Sequence[int]],
        asked: Restored,
    ) -> Iterator[Predicted]:
        """What follows `[branch, sample, d_model]` states, a piece at a time."""
        n_rows = max(1, LOGITS_AT_ONCE // self._captured.capture.logits.shape[-1])
        n_branches = max(1, n_rows // self.samples)
        for first in range(0, len(hidden), n_branches):
            some = hidden[first : first + n_branches]
            owners = prompts[first : first + n_branches]
            measures = [asked.measures[prompt] for prompt in owners]
            totals = []
            for samples in some.split(max(1, n_rows // len(some)), dim=1):
                asked.check()
                logits = self._replay.logits(samples.flatten(0, 1))
                totals.append(_totals(logits.unflatten(0, samples.shape[:2]), measures))
            cells = leaves[first : first + n_branches]
            branch_of = [branch for branch, some in enumerate(cells) for _ in some]
            means = Means(*((total / self.samples)[branch_of] for total in added(totals)))
            yield [cell for some in cells for cell in some], means


def most_cells(
    lm: LanguageModel, samples: int, vocabulary: int, tokens_per_call: int, length: int
) -> int:
    """Cells that a wave may have, each of them over `length` positions."""
    most = lm.tokens_in_memory(WIDTHS_PER_WAVE, CALLS_PER_WAVE * tokens_per_call)
    return max(1, min(most // (samples * length), PREDICTED // vocabulary))


def numbers_not_finite(numbers: Sequence[int], means: Means) -> list[int]:
    """Those of cells that NaN or infinity is predicted of."""
    finite = torch.isfinite(means.probabilities).all(dim=1)
    finite &= (means.scores < math.inf).to(finite.device)  # -∞ is a logit that is masked
    return [] if finite.all() else [numbers[int(finite.long().argmin())]]


def not_finite() -> NonFinite:
    """The error for NaN or infinity that whole passes do not have."""
    return NonFinite(
        "Replaying a restored state gives NaN or infinity.",
        "Finite activations were wanted, as a whole pass has.",
        "Load the model in float32.",
    )


def _joint_wave(numbers: Sequence[int], asked: Restored) -> Wave:
    """The wave of the cells of these numbers; its leaves count along `numbers`."""
    waves = []
    for prompt, some in groupby(numbers, key=lambda number: asked.cells[number][0]):
        cells = [asked.cells[number][1] for number in some]
        waves.append((prompt, plan_wave(cells, asked.extents[prompt], asked.held[prompt])))
    return join_waves(waves)


def _totals(logits: Tensor, measures: Sequence[Measure]) -> Means:
    """Of `[branch, sample, vocab]` logits the sums over samples, each by its branch's measure."""
    found, first = [], 0
    for measure, some in groupby(measures):
        stop = first + len(list(some))
        found.append(measure.totals(logits[first:stop]))
        first = stop
    return found[0] if len(found) == 1 else Means(*map(torch.cat, zip(*found, strict=True)))


def _of_kind(kind: Kind, branches: Iterable[Branch]) -> list[tuple[int, Patch]]:
    """Patches of one kind, with the numbers of their branches."""
    return [
        (number, patch)
        for number, branch in enumerate(branches)
        for patch in branch.patches
        if patch.kind == kind
    ]
