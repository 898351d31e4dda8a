"""The clean and corrupted runs of several prompts, and scores with states restored, together.

A call of a block costs much the same for few rows as for many, on a GPU above all, so the prompts
of a batch share them. Prompts of one length are captured in one pass; captures of several lengths
are moved until their last positions stand in one column, behind zeros that nothing looks at (see
`model.batching`). Waves over as many positions then are one wave, whichever prompts they are of.
Every prompt's numbers are those of `ReplayedRuns`, but for the rounding of another shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rome_widgets.model.batching import batch_captures
from rome_widgets.model.hooks import Seen, Visitor
from rome_widgets.model.language_model import LanguageModel, probabilities_of, to_numpy
from rome_widgets.model.replay import CannotReplay, Capture, Replay, check_same_logits
from rome_widgets.records.states import Kind, State
from rome_widgets.tracing.metric import Measure
from rome_widgets.tracing.replayed_waves import (
    Captured,
    ReplayedWaves,
    Restored,
    not_finite,
    numbers_not_finite,
)
from rome_widgets.tracing.runs import Check, Held
from rome_widgets.tracing.waves import Extent, group_joint_cells

Scored = tuple[Sequence[int], np.ndarray]
"""Numbers of cells, and their scores."""
Cell = tuple[int, Sequence[State]]
"""The number of a prompt, and the states to restore in it."""


class CorruptedPrompt(NamedTuple):
    """One prompt, and how its subject is corrupted."""

    ids: Sequence[int]
    positions: Sequence[int]
    """Those of the corrupted tokens, in order."""
    noise: Tensor
    """`[sample, corrupted token, d_model]`, in the embedding's dtype and on its device."""
    other_ids: Sequence[int] | None = None
    """What the corrupted runs read, where that is another subject's tokens."""


class _Outputs(NamedTuple):
    """What one module put out in a captured pass over prompts of one length."""

    clean: Tensor
    """`[prompt, pos, d_model]`"""
    corrupted: Tensor
    """`[prompt, sample, d_model]`, at the last of each prompt's corrupted tokens."""


_Place = tuple[Kind, int]


class JointRuns:
    """Runs of several prompts, by one captured pass for each length.

    Args:
        lm: The model.
        replay: Its blocks.
        prompts: The shorter first; with as many samples each.

    Attributes:
        clean: `[prompt, vocab]` probabilities after each prompt.

    Raises:
        CannotReplay: Replay gives other numbers for one of them, or they cannot share calls.
        OutOfMemory, RuntimeError: No room for the captured passes.
    """

    def __init__(
        self, lm: LanguageModel, replay: Replay, prompts: Sequence[CorruptedPrompt]
    ) -> None:
        self._lm, self._replay, self._prompts = lm, replay, prompts
        self.samples = len(prompts[0].noise)
        lengths = [len(prompt.ids) for prompt in prompts]
        assert lengths == sorted(lengths), "the shorter come first"
        same = [[*some] for _, some in groupby(prompts, key=lambda prompt: len(prompt.ids))]
        passes = [lm.run(lambda some=some: self._capture_pass(some)) for some in same]
        captures = [capture for capture, _ in passes]
        joint, _ = batch_captures(captures, [capture.length - 1 for capture in captures])
        outputs = _joined([of_pass for _, of_pass in passes], joint.length)
        self._corrupted = {place: each.corrupted for place, each in outputs.items()}
        clean = {place: each.clean for place, each in outputs.items()}
        for layer in range(lm.n_layers):
            clean["hidden", layer] = joint.states[layer + 1][:: 1 + self.samples]
        self._logits = joint.logits.unflatten(0, (-1, 1 + self.samples))
        self.clean = probabilities_of(self._logits[:, 0])
        self._shifts = [joint.length - length for length in lengths]
        self._check(joint)
        self._waves = ReplayedWaves(lm, replay, Captured(joint, self.samples, clean))
        self._length = joint.length

    # -------------------------------------------------------------------------- capturing

    def _capture_pass(
        self, prompts: Sequence[CorruptedPrompt]
    ) -> tuple[Capture, dict[_Place, _Outputs]]:
        """One pass over prompts of one length: of each a clean row, and a row per draw."""
        kept: dict[_Place, _Outputs] = {}
        visitors = [
            (name, self._keeping(kept, (kind, layer), prompts))
            for kind in self._lm.kinds
            if kind != "hidden"
            for layer, name in enumerate(self._lm.sites(kind))
        ]
        visitors.insert(0, (self._lm.geometry.embedding, self._corrupting(prompts)))
        ids = [
            row
            for prompt in prompts
            for row in (prompt.ids, *[prompt.other_ids or prompt.ids] * self.samples)
        ]
        return self._replay.capture(self._lm.rows(ids), self._lm.named(visitors)), kept

    def _corrupting(self, prompts: Sequence[CorruptedPrompt]) -> Visitor:
        def visit(seen: Seen) -> Tensor:
            corrupted = seen.output.detach().clone()
            for rows, prompt in zip(self._by_prompt(corrupted), prompts, strict=True):
                rows[1:, [*prompt.positions]] += prompt.noise.to(corrupted.device)
            return corrupted

        return visit

    def _keeping(
        self, kept: dict[_Place, _Outputs], place: _Place, prompts: Sequence[CorruptedPrompt]
    ) -> Visitor:
        at = [prompt.positions[-1] for prompt in prompts]
        n_rows = len(prompts) * (1 + self.samples)

        def visit(seen: Seen) -> None:
            rows = self._by_prompt(seen.output.view(n_rows, -1, seen.output.shape[-1]))
            corrupted = rows[range(len(at)), 1:, at]
            kept[place] = _Outputs(rows[:, 0].clone(), corrupted)

        return visit

    def _by_prompt(self, rows: Tensor) -> Tensor:
        """`[row, ...]` -> `[prompt, 1 + sample, ...]`."""
        return rows.unflatten(0, (-1, 1 + self.samples))

    def _check(self, joint: Capture) -> None:
        """Replay one draw of every prompt, from the middle of the batch, through every block.

        Raises:
            CannotReplay: It does not give the captured logits of one of them.
        """
        if not torch.isfinite(joint.logits).all():
            raise CannotReplay("its captured pass has NaN or infinity")
        start = joint.length // 2
        rows = torch.arange(len(self._prompts), device=joint.states[0].device)
        rows = rows * (1 + self.samples) + self.samples
        hidden, onward = joint.states[0][rows, start:], self._replay.onward

        def last_logits() -> Tensor:
            return self._replay.logits(onward(joint, 0, hidden, start, rows)[:, -1])

        for again, logits in zip(self._lm.run(last_logits), self._logits, strict=True):
            check_same_logits(again, logits[-1], logits[0], "the states of a batch of prompts")

    # ---------------------------------------------------------------------------- scoring

    def measure(self, number: int, measure: Measure) -> tuple[float, float]:
        """The metric of a prompt's clean run, and of its corrupted one, mean over the samples."""
        clean = measure.totals(self._logits[number, None, :1]).scores[0]
        corrupted = measure.totals(self._logits[number, None, 1:]).scores[0]
        return float(clean), float(corrupted / self.samples)

    def severed(self, number: int, kind: Kind) -> Held:
        """A prompt's outputs of a kind at its last corrupted token, as the corruption left them."""
        pos = self._prompts[number].positions[-1]
        layers = range(self._lm.n_layers)
        return {State(pos, layer, kind): self._corrupted[kind, layer][number] for layer in layers}

    def scores(
        self,
        cells: Sequence[Cell],
        measures: Mapping[int, Measure],
        held: Mapping[int, Held] | None = None,
        check: Check = lambda: None,
    ) -> Iterator[Scored]:
        """The metric with each cell's states restored, some cells at a time.

        Args:
            cells: Those of one prompt follow each other.
            measures: By number of the prompt.
            held: By number of the prompt, states that are kept at corrupted values meanwhile.
            check: See `runs.Check`.

        Raises:
            NonFinite: A restoration brings NaN or infinity.
            OutOfMemory: No room for even a single row.
        """
        kept = held or {}
        moved = [(number, self._moved(number, states)) for number, states in cells]
        asked = Restored(
            moved,
            [self._extent(number) for number in range(len(self._prompts))],
            measures,
            {number: self._moved_held(number, kept.get(number, {})) for number in measures},
            lambda: self._lm.tokens_per_call,
            check,
        )
        most = partial(self._waves.most_cells, asked.tokens_per_call())
        unchanged, groups = group_joint_cells(moved, asked.extents, most)
        corrupted = {number: self.measure(number, each)[1] for number, each in measures.items()}
        if unchanged:
            yield unchanged, np.array([corrupted[cells[cell][0]] for cell in unchanged])
        for numbers, means in self._waves.predict(groups, asked):
            if numbers_not_finite(numbers, means):
                raise not_finite()
            yield numbers, to_numpy(means.scores)

    def _extent(self, number: int) -> Extent:
        start = min(self._prompts[number].positions) + self._shifts[number]
        return Extent(self._lm.n_layers, self._length, start)

    def _moved(self, number: int, states: Iterable[State]) -> list[State]:
        """From positions of a prompt to columns."""
        shift = self._shifts[number]
        return [State(pos + shift, layer, kind) for pos, layer, kind in states]

    def _moved_held(self, number: int, held: Held) -> Held:
        return dict(zip(self._moved(number, held), held.values(), strict=True))


def _joined(passes: Sequence[Mapping[_Place, _Outputs]], length: int) -> dict[_Place, _Outputs]:
    """The outputs of all prompts, the clean ones moved until the last positions agree."""

    def moved(clean: Tensor) -> Tensor:
        return nn.functional.pad(clean, (0, 0, length - clean.shape[1], 0))

    return {
        place: _Outputs(
            torch.cat([moved(each[place].clean) for each in passes]),
            torch.cat([each[place].corrupted for each in passes]),
        )
        for place in passes[0]
    }
