"""Explanations of a trace: a restoring path, the flow of a restoration, the logit lens.

Frozen records over numpy arrays, without torch, like `trace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rome_widgets.records.states import Kind, State
from rome_widgets.records.trace import recovery


@dataclass(frozen=True)
class RestoringPath:
    """A small set of states that brings the original prediction back.

    Made by `CausalTracer.find_path`. In the order in which restoring them one after another raises
    the answer's probability the most.

    Source:
        Meng et al. 2022, figure 1d: "some sets of activations cause the output to return".
    """

    states: tuple[State, ...]
    probabilities: tuple[float, ...]
    """Of the answer with the first 1, 2, … states restored; one for each state."""
    answer: str
    clean: float
    corrupted: float
    target: float
    """The share of recovery that was wanted, in (0, 1]."""
    reached: bool
    """Whether the set reaches it; False also for a search that was stopped."""
    n_restored: int
    """Sets of states that were tried."""

    @property
    def recovery(self) -> float:
        """The share that the whole set brings back; NaN where nothing was taken away."""
        last = self.probabilities[-1] if self.probabilities else self.corrupted
        return recovery(last, self.clean, self.corrupted)


@dataclass(frozen=True, eq=False)
class Flow:
    """How far apart the clean, the corrupted and a restored run are, at every state.

    Distances are root mean squares over the noise draws, in units of the length of the clean hidden
    state at the same place: those of one place add up like arrows in `h = h' + attn + mlp`.
    """

    states: tuple[State, ...]
    """What was restored."""
    kinds: tuple[Kind, ...]
    written: Mapping[Kind, np.ndarray]
    """`[pos, layer]`: length of the clean value (1 for hidden states)."""
    corrupted: Mapping[Kind, np.ndarray]
    """`[pos, layer]`: from the clean to the corrupted run."""
    restored: Mapping[Kind, np.ndarray]
    """`[pos, layer]`: from the clean to the restored run: what is still missing."""
    moved: Mapping[Kind, np.ndarray]
    """`[pos, layer]`: from the corrupted to the restored run: what the restoration did."""
    noise: np.ndarray
    """`[pos]`: from the clean to the corrupted embedding, in units of the clean embedding."""


@dataclass(frozen=True)
class LensRun:
    """What each layer of one run would say next, read with the model's own head."""

    name: str
    """"clean", "corrupted", "restored", or "unedited": the clean run as before all edits."""
    probabilities: tuple[float, ...]
    """Of the answer after each layer, at the last token; mean over the noise draws."""
    ranks: tuple[int, ...]
    """Of the answer, 1 is the likeliest."""
    top: tuple[tuple[tuple[str, float], ...], ...]
    """The likeliest tokens after each layer, each with its probability."""


@dataclass(frozen=True)
class Lens:
    """The logit lens at the last token, in several runs of one prompt.

    Source:
        nostalgebraist 2020, "interpreting GPT: the logit lens".
    """

    answer: str
    answer_id: int
    states: tuple[State, ...]
    """What was restored in the run "restored"; none: there is no such run."""
    runs: tuple[LensRun, ...]
