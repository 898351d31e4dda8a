"""The protocol of a model that can be traced, so that the trace widgets never import one.

`rome_widgets.session` fulfils it over a language model; the tests over a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol

from rome_widgets.records.explanations import Flow, Heads, Lens, RestoringPath
from rome_widgets.records.states import State
from rome_widgets.records.subject import Occurrence
from rome_widgets.records.trace import CausalTrace, Progress, Restoration
from rome_widgets.widgets.live.engine import Engine, Stop, Tell
from rome_widgets.widgets.trace.trace_settings import TraceSettings


class TraceEngine(Engine, Protocol):
    """A model that can be traced. What computes is called from one worker thread at a time.

    What takes `cancelled` raises `Cancelled` once that turned true.
    """

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def default_samples(self) -> int:
        """Noise draws to average over where nobody says how many."""
        ...

    @property
    def examples(self) -> Sequence[tuple[str, str]]:
        """(prompt, subject) pairs that work well with this model."""
        ...

    @property
    def n_subjects(self) -> int:
        """How many subjects σ, which the noise is a multiple of, is measured on."""
        ...

    def token_text(self, token_id: int) -> str:
        """Printable text of a token, even of an id that there is none of; quick."""
        ...

    @property
    def load_code(self) -> str:
        """Python that loads this model, such as `rw.load("gpt2-xl")`."""
        ...

    @property
    def identity(self) -> Hashable:
        """One value for all that decides what the model computes now; another after a change."""
        ...

    def read_prompt(
        self, prompt: Any, subject: str, occurrence: Occurrence | None = None
    ) -> TraceSettings:
        """Settings with prompt, ids, subject and place of whatever states a fact.

        Raises:
            RomeWidgetsError: It states none.
        """
        ...

    def subject_places(
        self, prompt: str, subject: str, said: Iterable[tuple[int, int]] | None = None
    ) -> Sequence[tuple[int, int]]:
        """The characters of every mention of a subject that may be meant; quick."""
        ...

    def likely_subject(self, prompt: str) -> str:
        """What a prompt is most likely about; "" where nobody knows; quick."""
        ...

    def trace(
        self,
        settings: TraceSettings,
        progress: Tell[Progress],
        cancelled: Stop,
        resume: CausalTrace | None = None,
    ) -> CausalTrace:
        """The whole trace, telling `progress` now and then.

        The first progress may carry an estimate of every cell (`CausalTrace.estimated`): it stands
        in for the cells that are not computed yet, and goes with the end of the run. `cancelled` is
        asked between batches; the `Cancelled` then raised carries what was computed so far. What
        `resume`, a cancelled trace with these settings, has is not computed again: then no estimate
        is told.
        """
        ...

    def restore(
        self, settings: TraceSettings, selection: Sequence[State], single: bool
    ) -> Restoration:
        """What the model predicts with the union restored of what the selected cells restored.

        Where they are `single`, of the selected states alone: so in `flow` and `lens`, too.
        """
        ...

    def subject_at(
        self, settings: TraceSettings, start: int, stop: int
    ) -> tuple[str, tuple[int, int]]:
        """The words at the positions `[start, stop)` of a prompt, and which characters they are.

        Raises:
            RomeWidgetsError: No such positions, or no visible text at them.
        """
        ...

    def find_path(
        self,
        settings: TraceSettings,
        recovery: float,
        progress: Tell[RestoringPath],
        cancelled: Stop,
    ) -> RestoringPath:
        """A small set of states that brings back this share, telling the sets on the way."""
        ...

    def heads(
        self,
        settings: TraceSettings,
        layer: int,
        positions: Sequence[int],
        progress: Tell[Heads],
        cancelled: Stop,
    ) -> Heads:
        """What each head of a layer brings back alone at these tokens, telling those so far."""
        ...

    def flow(self, settings: TraceSettings, selection: Sequence[State], single: bool) -> Flow:
        """How far apart the runs are, with what the selected cells restore restored."""
        ...

    def lens(self, settings: TraceSettings, selection: Sequence[State], single: bool) -> Lens:
        """What each layer of each run would say; of an edited model also without its edits."""
        ...
