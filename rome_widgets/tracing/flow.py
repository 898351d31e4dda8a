"""Measure how far noise and restorations spread: distances between the runs at every state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rome_widgets.model.language_model import to_numpy
from rome_widgets.model.progress_bar import NO_STEPS, Steps
from rome_widgets.records.explanations import Flow
from rome_widgets.records.states import Kind, State
from rome_widgets.tracing.runs import Held, Runs, ThreeRuns


def measure_flow(
    runs: Runs,
    states: Sequence[State],
    held: Held,
    tokens: tuple[str, ...],
    steps: Steps = NO_STEPS,
) -> Flow:
    """The distances between clean, corrupted and restored run, at every state; see `Flow`.

    Nothing as large as an activation is kept: distances are taken while the runs pass by.

    Args:
        runs: Of the prompt.
        states: What to restore.
        held: States kept at corrupted values meanwhile.
        tokens: Of the prompt, as text.
        steps: See `Runs.run_side_by_side`.
    """
    lm = runs.lm
    embedding = _Distances()
    sites: dict[Kind, list[tuple[str, _Distances]]] = {
        kind: [(name, _Distances()) for name in lm.sites(kind)] for kind in lm.kinds
    }
    watching = [(lm.geometry.embedding, embedding), *itertools.chain(*sites.values())]
    runs.run_side_by_side(states, watching, held, steps)
    # [run, pos, layer], the clean hidden states' lengths being the unit of everything.
    grids: dict[Kind, np.ndarray] = {
        kind: np.stack([distances.table() for _, distances in some], axis=-1)
        for kind, some in sites.items()
    }
    unit, scale = grids["hidden"][0], lm.geometry.branch_scale
    shares: dict[Kind, np.ndarray] = {
        kind: grid / unit * (1.0 if kind == "hidden" else scale) for kind, grid in grids.items()
    }
    length, noise, _, _ = embedding.table()
    return Flow(
        states=tuple(states),
        kinds=lm.kinds,
        written={kind: share[0] for kind, share in shares.items()},
        corrupted={kind: share[1] for kind, share in shares.items()},
        restored={kind: share[2] for kind, share in shares.items()},
        moved={kind: share[3] for kind, share in shares.items()},
        noise=noise / length,
        tokens=tokens,
    )


class _Distances:
    """Adds up, over the draws, how far apart one module's outputs are in the three runs."""

    def __init__(self) -> None:
        self._squares: list[Tensor] = []
        self._samples = 0
        self._clean = torch.empty(0, device="cpu")

    def __call__(self, together: ThreeRuns) -> Callable[[], None]:
        """See `runs.Watcher`."""
        clean, corrupted, restored = map(_wide, together)
        pairs = (corrupted, clean), (restored, clean), (restored, corrupted)
        length, samples = clean.square().sum(-1), len(corrupted)
        squares = torch.stack([(one - other).square().sum(dim=(0, -1)) for one, other in pairs])

        def keep() -> None:
            self._clean = length
            self._squares.append(squares)
            self._samples += samples

        return keep

    def table(self) -> np.ndarray:
        """`[4, pos]`: the clean value's length, then three distances.

        From clean to corrupted, from clean to restored, from corrupted to restored.
        """
        squares = np.sum([to_numpy(part) for part in self._squares], axis=0) / self._samples
        return np.sqrt(np.concatenate([to_numpy(self._clean)[None], squares]))


def _wide(state: Tensor) -> Tensor:
    """In float32 or wider: squares of half-precision numbers overflow, and round to nothing."""
    return state.to(torch.promote_types(state.dtype, torch.float32))
