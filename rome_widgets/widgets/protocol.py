"""What the explorer needs of a model: a protocol, so that widgets never import one.

`rome_widgets.session` implements it over a language model; the tests over a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rome_widgets.results import CausalTrace, Progress, Restoration, State


@dataclass(frozen=True)
class TraceSettings:
    """Everything that decides a trace besides the model. Hashable: a key for kept runs."""

    prompt: str
    subject: str
    noise: float = 3.0
    """Multiple of σ."""
    samples: int = 10
    seed: int = 1
    window: int | None = None
    """Layers restored together by an MLP or attention cell; None lets the model's depth decide."""
    answer: str | None = None
    """The word whose probability is followed; None takes the clean run's own."""
    place: tuple[int, int] | None = None
    """Characters of the subject, where that may not be its last occurrence in the prompt."""


class Engine(Protocol):
    """A model that can be traced. Called from one worker thread at a time."""

    @property
    def model_name(self) -> str:
        """What to call the model on screen."""
        ...

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def examples(self) -> Sequence[tuple[str, str]]:
        """(prompt, subject) pairs that work well with this model."""
        ...

    def trace(
        self,
        settings: TraceSettings,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> CausalTrace:
        """The whole trace, telling `progress` now and then.

        The first progress may carry an estimate of every cell (`CausalTrace.estimated`): it stands
        in for the cells that are not computed yet, and goes with the end of the run.

        Raises:
            Cancelled: `cancelled()` turned true; carries what was computed so far.
        """
        ...

    def restore(self, settings: TraceSettings, selection: Sequence[State]) -> Restoration:
        """What the model predicts with the union restored of what the selected cells restored."""
        ...
