"""What the pieces of a trace cost on this machine: counted by the waves that would run, and timed.

Source:
    The formula is the engine's own (`waves.work_of`); nothing of it is written a second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.states import Kind, State, cell_states
from rome_widgets.tracing.replayed_waves import most_cells
from rome_widgets.tracing.runs import LOGITS_AT_ONCE
from rome_widgets.tracing.waves import Extent, Work, group_joint_cells, plan_wave, work_of

clock = time.perf_counter
"""Seconds; a benchmark beside other programs takes those of this process."""
MOST_ROWS = 64
"""States whose next token is predicted for the time of one."""


class UnitCosts(NamedTuple):
    """Seconds, each measured once after a warm-up."""

    block_row: float
    """A position in a full call of a block from the middle of the model."""
    pass_row: float
    """A position in a pass of the whole model, by layer: all of it divided by them."""
    head_row: float
    """A state from which the next token is predicted."""
    vocabulary: int
    """Logits of one."""


def measure_unit_costs(lm: LanguageModel, ids: Sequence[int], start: int) -> UnitCosts:
    """Time one pass, one call of a block and one of the head.

    Args:
        lm: The model.
        ids: A typical prompt.
        start: Its first corrupted position.
    """
    return lm.run(partial(_measured, lm, lm.rows([ids, ids]), min(start, len(ids) - 1)))


def _measured(lm: LanguageModel, rows: Tensor, start: int) -> UnitCosts:
    replay = lm.replay
    n_rows, length = rows.shape
    if replay is None:
        logits = lm.next_token_logits(rows)
        seconds = _timed(lm, lambda: lm.next_token_logits(rows)) / (n_rows * length)
        return UnitCosts(seconds / lm.n_layers, seconds / lm.n_layers, 0.0, logits.shape[-1])
    capture = replay.capture(rows)
    whole = _timed(lm, lambda: replay.capture(rows)) / (n_rows * length)
    layer, span = lm.n_layers // 2, length - start
    n = max(1, lm.tokens_per_call // span)
    of = torch.zeros(n, dtype=torch.long, device=capture.states[layer].device)
    hidden = capture.states[layer][:1, start:].expand(n, -1, -1)
    replay.block(capture, layer, hidden[:1], start, of[:1])
    block = _timed(lm, lambda: replay.block(capture, layer, hidden, start, of)) / (n * span)
    vocabulary = capture.logits.shape[-1]
    n = max(1, min(MOST_ROWS, LOGITS_AT_ONCE // vocabulary))
    last = capture.states[-1][:1, -1].expand(n, -1)

    def predict() -> Tensor:
        return replay.logits(last).float().softmax(dim=-1)

    predict()
    return UnitCosts(block, whole / lm.n_layers, _timed(lm, predict) / n, vocabulary)


def _timed(lm: LanguageModel, call: Callable[[], object]) -> float:
    """Seconds of one call, to the end of what it started on a device."""
    began = clock()
    call()
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)
    return clock() - began


class Grids(NamedTuple):
    """What is restored in every prompt."""

    kinds: Sequence[Kind]
    window: int
    samples: int
    severed: Sequence[Kind] = ()


def work_of_prompt(
    lm: LanguageModel, extent: Extent, last: int, grids: Grids, vocabulary: int, *, alone: bool
) -> Work:
    """Rows that restoring all cells of one prompt takes, over all draws.

    Args:
        lm: The model.
        extent: Of the prompt.
        last: The subject's last position.
        grids: What is restored.
        vocabulary: Logits of one state.
        alone: Whether it is traced by itself, not together with others.
    """
    n_layers, n_pos, _ = extent
    cells = [
        cell_states(pos, layer, kind, grids.window, n_layers)
        for kind in grids.kinds
        for pos in range(n_pos)
        for layer in range(n_layers)
    ]
    hidden = [[State(last, layer, "hidden")] for layer in range(n_layers)]
    if lm.replay is None:
        n_cells = len(cells) + len(grids.severed) * len(hidden)
        return Work(n_cells * n_pos * n_layers, n_cells).times(grids.samples)
    most = partial(most_cells, lm, grids.samples, vocabulary, lm.tokens_per_call)
    held = [[State(last, layer, kind) for layer in range(n_layers)] for kind in grids.severed]
    found = _work(cells, extent, [], (lambda _: most(n_pos)) if alone else most)
    for some in held:
        found += _work(hidden, extent, some, (lambda _: 1) if alone else most)
    return found.times(grids.samples)


def _work(
    cells: Sequence[Sequence[State]],
    extent: Extent,
    held: Sequence[State],
    most: Callable[[int], int],
) -> Work:
    _, groups = group_joint_cells([(0, cell) for cell in cells], [extent], most)
    waves = [plan_wave([cells[number] for number in some], extent, held) for some in groups]
    return sum((work_of(wave, extent.n_pos) for wave in waves), Work())
