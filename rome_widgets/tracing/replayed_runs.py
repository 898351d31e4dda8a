"""The runs of a prompt, replaying only the blocks and positions that can have changed.

Both runs are one captured pass. The cells of a grid go up the layers in waves, as `waves` plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rome_widgets.model.hooks import Visitor
from rome_widgets.model.language_model import LanguageModel, probabilities_of, upcast
from rome_widgets.model.replay import CannotReplay, Capture, Replay
from rome_widgets.records.states import State
from rome_widgets.tracing.metric import Means, Measure
from rome_widgets.tracing.replayed_waves import (
    Captured,
    ReplayedWaves,
    Restored,
    not_finite,
    numbers_not_finite,
)
from rome_widgets.tracing.runs import Check, Held, Predicted, Runs
from rome_widgets.tracing.waves import group_cells


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
        clean = {place: states[None] for place, states in self.states.items()}
        captured = Captured(self._capture, self.samples, clean)
        self._waves = ReplayedWaves(self.lm, self._replay, captured)

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
        most = self._waves.most_cells(self.tokens_per_call, self.length)
        unchanged, groups = group_cells(cells, self.extent, most)
        if unchanged:
            scores = self.clean.new_full((len(unchanged),), self.measure(measure)[1])
            kept = self.corrupted[:0] if measure.alone else self.corrupted
            yield unchanged, Means(kept.expand(len(unchanged), -1), scores)
        asked = Restored(
            [(0, cell) for cell in cells],
            [self.extent],
            {0: measure},
            {0: held},
            lambda: self.tokens_per_call,
            check,
        )
        for numbers, means in self._waves.predict(groups, asked):
            for number in numbers_not_finite(numbers, means):
                self._pass([cells[number]], measure, held)  # names the module
                raise not_finite()
            yield numbers, means
