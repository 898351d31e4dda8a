"""The runs of a prompt, replaying only the blocks and positions that can have changed.

Both runs are one captured pass. The cells of a grid go up the layers in waves, as `waves` plans.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from rome_widgets.errors import NonFinite
from rome_widgets.model.hooks import Visitor
from rome_widgets.model.language_model import LanguageModel, probabilities_of, upcast
from rome_widgets.model.memory import Lacking, attempt, out_of_memory
from rome_widgets.model.replay import CannotReplay, Capture, Replay
from rome_widgets.records.states import Kind, State
from rome_widgets.tracing.metric import Means, Measure, added
from rome_widgets.tracing.runs import (
    LOGITS_AT_ONCE,
    Check,
    Held,
    Predicted,
    Runs,
)
from rome_widgets.tracing.waves import Branch, Patch, Wave, group_cells, plan_wave

PREDICTED = 128_000_000
"""Probabilities kept at once."""
CALLS_PER_WAVE = 64
"""A wave may hold this many calls' worth of states."""
WIDTHS_PER_WAVE = 16
"""Numbers of d_model width for which a wave has room per token: it keeps states before and after a
block, and copies of them on the way, and leaves half of the memory to the call of the block."""


class ReplayedRuns(Runs):
    """The same runs and predictions, replaying only the blocks and positions that can change.

    Both runs are one captured pass. A wave of cells then goes up the layers as `waves` plans, from
    its first patched layer and position; what is before comes from the capture.

    Raises:
        CannotReplay: Replay gives other numbers for this prompt.

    Source:
        No published one: the published code runs whole passes. Equality is tested cell by cell.
    """

    def __init__(
        self,
        lm: LanguageModel,
        replay: Replay,
        ids: Sequence[int],
        positions: Sequence[int],
        noise: Tensor,
        other_ids: Sequence[int] | None = None,
    ) -> None:
        self._replay = replay
        self._asked = 0
        super().__init__(lm, ids, positions, noise, other_ids)

    def _run_both(self) -> None:
        contributions = [
            (name, self._keep_first_row(kind, layer))
            for kind in self.lm.kinds
            if kind != "hidden"
            for layer, name in enumerate(self.lm.sites(kind))
        ]
        rows = self.clean_and_corrupted(self.samples)
        visitors = self.lm.named([self.corrupting(self.noise, after=1), *contributions])
        self._capture = self.lm.run(lambda: self._checked_capture(rows, visitors))
        probabilities = probabilities_of(self._capture.logits)
        self.clean, self.corrupted = probabilities[0], probabilities[1:].mean(dim=0)
        self._clean_logits = upcast(self._capture.logits[:1])
        for layer in range(self.lm.n_layers):
            self.states["hidden", layer] = self._capture.states[layer + 1][0]

    def _corrupted(self, measure: Measure) -> Means:
        totals = measure.totals(self._capture.logits[None, 1:])
        return Means(*(total / self.samples for total in totals))

    def _checked_capture(
        self, rows: Tensor, visitors: list[tuple[torch.nn.Module, Visitor]]
    ) -> Capture:
        capture = self._replay.capture(rows, visitors)
        if not torch.isfinite(capture.logits).all():
            raise CannotReplay("its captured pass has NaN or infinity")
        self._replay.check(capture)
        return capture

    @property
    def tokens_per_call(self) -> int:
        """Tokens in one call of a block."""
        return self.lm.tokens_per_call

    def _predict(
        self, cells: Sequence[Sequence[State]], measure: Measure, held: Held, check: Check
    ) -> Iterator[Predicted]:
        """Cells come out by the order of their first patched positions."""
        most = self.lm.tokens_in_memory(WIDTHS_PER_WAVE, CALLS_PER_WAVE * self.tokens_per_call)
        most //= self.samples * self.length
        most = max(1, min(most, PREDICTED // self._capture.logits.shape[-1]))
        unchanged, groups = group_cells(cells, self.extent, most)
        if unchanged:
            scores = self.clean.new_full((len(unchanged),), self.measure(measure)[1])
            kept = self.corrupted[:0] if measure.alone else self.corrupted
            yield unchanged, Means(kept.expand(len(unchanged), -1), scores)
        waiting = deque(groups)
        while waiting:
            numbers = waiting.popleft()
            predicted = self._within_memory([cells[n] for n in numbers], measure, held, check)
            if predicted is None:  # too much at once: what is done stays, this is halved
                half = (len(numbers) + 1) // 2
                waiting.extendleft(filter(None, (numbers[half:], numbers[:half])))
                continue
            for some, means in predicted:
                yield [numbers[number] for number in some], means

    def _within_memory(
        self, cells: Sequence[Sequence[State]], measure: Measure, held: Held, check: Check
    ) -> list[Predicted] | None:
        """The predictions of a few cells, or None where memory did not do for as many.

        Raises:
            OutOfMemory: It does not do for a single row.
        """
        wave = plan_wave(cells, self.extent, held)
        run = self._run
        predicted = attempt(lambda: self.lm.run(lambda: list(run(wave, measure, held, check))))
        if not isinstance(predicted, Lacking):
            return self._finite(predicted, cells, measure, held)
        self._shrink(len(cells), predicted)
        return None

    def _shrink(self, n_cells: int, found: Lacking) -> None:
        """Smaller calls from now on, if it was a call that did not fit; else only fewer cells."""
        asked, self._asked = self._asked, 0
        if n_cells == 1 and (not asked or self.tokens_per_call <= 1):
            self.lm.forget_memory()  # what did not fit now may fit another time
            raise out_of_memory("replay one row", found)
        if asked:
            self.lm.use_less_memory(asked)

    def _finite(
        self,
        predicted: list[Predicted],
        cells: Sequence[Sequence[State]],
        measure: Measure,
        held: Held,
    ) -> list[Predicted]:
        for numbers, means in predicted:
            finite = torch.isfinite(means.probabilities).all(dim=1)
            finite &= (means.scores < math.inf).to(finite.device)  # -∞ is a logit that is masked
            if not finite.all():
                cell = cells[numbers[int(finite.long().argmin())]]
                self._pass([cell], measure, held)  # names the module
                raise NonFinite(
                    "Replaying a restored state gives NaN or infinity.",
                    "Finite activations were wanted, as a whole pass has.",
                    "Load the model in float32.",
                )
        return predicted

    # ------------------------------------------------------------------------- one wave

    def _run(self, wave: Wave, measure: Measure, held: Held, check: Check) -> Iterator[Predicted]:
        branches = torch.empty(0, device="cpu")
        for layer, step in enumerate(wave.steps, start=wave.first):
            branches = self._after_block(layer, step, branches, wave.start, held, check)
        yield from self._unembed(branches[:, :, -1], wave.leaves, measure, check)

    def _after_block(
        self,
        layer: int,
        step: Sequence[Branch],
        before: Tensor,
        start: int,
        held: Held,
        check: Check,
    ) -> Tensor:
        """`[branch, sample, pos, d_model]` after a block, from the branches before it.

        After the last block, only the last position.
        """
        first = start if layer < self.lm.n_layers - 1 else self.length - 1
        corrupted = self._capture.states[layer + 1][1:, first:]
        after = corrupted.expand(len(step), -1, -1, -1).clone()
        running = [number for number, branch in enumerate(step) if branch.parent is not None]
        leaving = [
            number
            for number, branch in enumerate(step)
            if branch.parent is None and any(patch.kind != "hidden" for patch in branch.patches)
        ]
        if running:
            parents = [step[number].parent for number in running]
            entering = before if parents == [*range(len(before))] else before[parents]
            patches = [step[number].patches for number in running]
            after[running] = self._through(layer, entering, start, patches, held, check)
        for (low, high), numbers in _by_extent(step, leaving).items():
            # Of what enters the block nothing changed yet, so only patched positions come out new.
            unchanged = self._capture.states[layer][1:, low:high]
            entering = unchanged.expand(len(numbers), -1, -1, -1)
            patches = [step[number].patches for number in numbers]
            new = self._through(layer, entering, low, patches, held, check)
            after[numbers, :, low - first : high - first] = new
        if hidden := _of_kind("hidden", [branch.patches for branch in step]):
            self._place(hidden, held, start=first).put(after.flatten(0, 1))
        return after

    def _through(
        self,
        layer: int,
        entering: Tensor,
        start: int,
        patches: Sequence[Sequence[Patch]],
        held: Held,
        check: Check,
    ) -> Tensor:
        """`[branch, sample, pos, d_model]`: `entering` through a block, attention and MLP patched.

        In pieces of `tokens_per_call`; the last block gives its last position only.
        """
        rows = entering.flatten(0, 1)
        stop = start + rows.shape[1]
        last = layer == self.lm.n_layers - 1 and stop == self.length
        wanted = 1 if last else None
        out_start = stop - 1 if last else start
        placed = [
            (self.lm.sites(kind)[layer], self._place(where, held, start=out_start))
            for kind in ("attn", "mlp")
            if (where := _of_kind(kind, patches))
        ]
        n_rows = max(1, self.tokens_per_call // rows.shape[1])
        pieces = []
        for first in range(0, len(rows), n_rows):
            check()
            some = rows[first : first + n_rows]
            numbers = torch.arange(first, first + len(some), device=rows.device)
            visitors = self.lm.named(
                (site, inside.visitor(stop - out_start))
                for site, each in placed
                if len((inside := each.between(first, first + len(some))).rows)
            )
            origin = 1 + numbers % self.samples  # the capture's first row is clean
            self._asked = some.shape[0] * some.shape[1]
            pieces.append(
                self._replay.block(self._capture, layer, some, start, origin, visitors, wanted)
            )
            self._asked = 0
        out = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return out.unflatten(0, (len(patches), self.samples))

    def _unembed(
        self,
        hidden: Tensor,
        leaves: Sequence[Sequence[int]],
        measure: Measure,
        check: Check,
    ) -> Iterator[Predicted]:
        """What follows `[branch, sample, d_model]` states, a piece at a time."""
        n_rows = max(1, LOGITS_AT_ONCE // self._capture.logits.shape[-1])
        n_branches = max(1, n_rows // self.samples)
        for first in range(0, len(hidden), n_branches):
            some = hidden[first : first + n_branches]
            totals = []
            for samples in some.split(max(1, n_rows // len(some)), dim=1):
                check()
                logits = self._replay.logits(samples.flatten(0, 1))
                totals.append(measure.totals(logits.unflatten(0, samples.shape[:2])))
            cells = leaves[first : first + n_branches]
            branch_of = [branch for branch, some in enumerate(cells) for _ in some]
            means = Means(*((total / self.samples)[branch_of] for total in added(totals)))
            yield [cell for some in cells for cell in some], means


def _of_kind(kind: Kind, patches: Iterable[Sequence[Patch]]) -> list[tuple[int, Patch]]:
    """Patches of one kind, with the numbers of their branches."""
    return [
        (number, patch)
        for number, some in enumerate(patches)
        for patch in some
        if patch.kind == kind
    ]


def _by_extent(step: Sequence[Branch], numbers: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """Branches by the half-open extent of the positions that their outputs are patched at."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number in numbers:
        positions = [patch.pos for patch in step[number].patches if patch.kind != "hidden"]
        groups.setdefault((min(positions), max(positions) + 1), []).append(number)
    return groups
