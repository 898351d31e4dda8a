"""What the pieces of a trace cost on this machine: counted by the waves that would run, and timed.

Source:
    The formula is the engine's own (`waves.work_of`); nothing of it is written a second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.states import Kind, State, cell_states
from rome_widgets.tracing.replayed_waves import most_cells
from rome_widgets.tracing.runs import LOGITS_AT_ONCE
from rome_widgets.tracing.waves import Extent, Work, group_joint_cells, plan_wave, work_of

T = TypeVar("T")

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


def measure_unit_costs(
    lm: LanguageModel, ids: Sequence[int], start: int, n_rows: int = 1
) -> UnitCosts:
    """Time one pass, one call of a block and one of the head.

    Args:
        lm: The model.
        ids: A typical prompt.
        start: Its first corrupted position.
        n_rows: How many of them go through one pass, if a call has room for them.
    """
    rows = lm.rows([ids] * max(1, min(n_rows, lm.tokens_per_call // len(ids))))
    return lm.run(partial(_measured, lm, rows, min(start, len(ids) - 1)))


def _measured(lm: LanguageModel, rows: Tensor, start: int) -> UnitCosts:
    replay = lm.replay
    n_rows, length = rows.shape
    if replay is None:
        seconds, logits = _timed(lm, lambda: lm.next_token_logits(rows))
        seconds /= n_rows * length * lm.n_layers
        return UnitCosts(seconds, seconds, 0.0, logits.shape[-1])
    whole, capture = _timed(lm, lambda: replay.capture(rows))
    layer, span = lm.n_layers // 2, length - start
    n = max(1, lm.tokens_per_call // span)
    of = torch.zeros(n, dtype=torch.long, device=capture.states[layer].device)
    # Repeated, not expanded: a foreign block may look at its input by another shape.
    hidden = capture.states[layer][:1, start:].repeat(n, 1, 1)
    block, _ = _timed(lm, lambda: replay.block(capture, layer, hidden, start, of))
    vocabulary = capture.logits.shape[-1]
    n_states = max(1, min(MOST_ROWS, LOGITS_AT_ONCE // vocabulary))
    last = capture.states[-1][:1, -1].repeat(n_states, 1)
    head, _ = _timed(lm, lambda: replay.logits(last).float().softmax(dim=-1))
    per_pass = n_rows * length * lm.n_layers
    return UnitCosts(block / (n * span), whole / per_pass, head / n_states, vocabulary)


def _timed(lm: LanguageModel, call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of one call after a warm-up by the same, and what that gave.

    From the end of what was started on a device before, to the end of what the call starts there.
    """
    found = call()
    _finish(lm)
    began = clock()
    call()
    _finish(lm)
    return clock() - began, found


def _finish(lm: LanguageModel) -> None:
    """Wait for what was started on a GPU."""
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)


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
