"""What is asked for inside of a trace and takes a while: a path, the heads of an attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from rome_widgets.errors import Cancelled, StateError
from rome_widgets.records.explanations import Heads, RestoringPath
from rome_widgets.records.html import plural
from rome_widgets.records.states import State
from rome_widgets.widgets.live.engine import Stop, Tell
from rome_widgets.widgets.live.traits import encodable, fields_of
from rome_widgets.widgets.trace.engine import TraceEngine
from rome_widgets.widgets.trace.trace_run import Basis

Found = TypeVar("Found")


@dataclass(eq=False)
class Lasting(Generic[Found]):
    """One that was asked for, and what became of it, for whoever waits."""

    name: ClassVar[str]
    """Of its job, of the trait that holds it, and of the cause of its errors."""
    stopped: ClassVar[str]
    """What is said when somebody stops it."""
    basis: Basis
    found: Found
    """The last that was told; an empty one at first."""
    running: bool = True
    error: BaseException | None = field(
        default_factory=lambda: Cancelled("Another one, or another trace, was asked for meanwhile.")
    )
    """Why it did not end; None when it did."""

    def compute(self, engine: TraceEngine, progress: Tell[Found], stop: Stop) -> Found:
        """Ask the engine."""
        raise NotImplementedError

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is found yet."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """How the page is told of it."""
        raise NotImplementedError


class AskedPath(Lasting[RestoringPath]):
    """A search for a path."""

    name, stopped = "path", "The search for a path was stopped."

    def compute(
        self, engine: TraceEngine, progress: Tell[RestoringPath], stop: Stop
    ) -> RestoringPath:
        """The path, whose sets on the way are told."""
        return engine.find_path(self.basis.settings, self.found.target, progress, stop)

    @property
    def is_empty(self) -> bool:
        """Whether it has no state yet."""
        return not self.found.states

    def describe(self) -> dict[str, Any]:
        """The `_path` trait."""
        return {**fields_of(self.found, "tokens"), "running": self.running}


class AskedHeads(Lasting[Heads]):
    """Heads of one layer's attention, to be restored one by one."""

    name, stopped = "heads", "Restoring the heads was stopped."

    def compute(self, engine: TraceEngine, progress: Tell[Heads], stop: Stop) -> Heads:
        """All of them, those so far being told."""
        layer, positions = self.found.layer, self.found.positions
        return engine.heads(self.basis.settings, layer, positions, progress, stop)

    @property
    def is_empty(self) -> bool:
        """Whether no head has a number yet."""
        return bool(np.isnan(self.found.scores).all())

    def describe(self) -> dict[str, Any]:
        """The `_heads` trait: float32 `[position, head]`, NaN where not computed yet."""
        return {
            "layer": self.found.layer,
            "positions": encodable(self.found.positions),
            "scores": self.found.scores.astype("<f4").tobytes(),
            "running": self.running,
        }


def look_inside(
    engine: TraceEngine, asked: Lasting[Found], progress: Tell[Found], stop: Stop
) -> Found:
    """Compute what was asked for, of the model that its trace was made on."""

    def told(found: Found) -> None:
        asked.found = found
        progress(found)

    asked.basis.check(engine)
    found = asked.compute(engine, told, stop)
    asked.basis.check(engine)
    return found


def no_path(trace: Mapping[str, Any], target: float) -> RestoringPath:
    """Where a search starts, in a trace as the page is told of it."""
    return RestoringPath(
        (), (), *_ends(trace), target, False, 0, metric=trace["metric"], against=trace["against"]
    )


def no_heads(trace: Mapping[str, Any], cells: Iterable[State]) -> Heads:
    """None yet of those that are selected with these cells.

    Raises:
        StateError: There is no attention among them, or that of several layers.
    """
    attention = [cell for cell in cells if cell.kind == "attn"]
    layers = {cell.layer for cell in attention}
    if len(layers) != 1:
        raise StateError(
            f"Attention of {plural(len(layers), 'layer')} is selected."
            if layers
            else "No attention is selected.",
            "Attention cells of one layer, at one token or several, were wanted.",
            'Select them, as with select(layers=4, kind="attn").',
        )
    positions = tuple(cell.pos for cell in attention)
    return Heads(
        layers.pop(),
        positions,
        np.empty((len(positions), 0)),
        *_ends(trace),
        tuple(trace["tokens"]),
        trace["metric"],
        trace["against"],
    )


def _ends(trace: Mapping[str, Any]) -> tuple[str, float, float]:
    """The answer, and its scores in the clean and in the corrupted run."""
    clean, corrupted = (
        np.nan if trace[name] is None else trace[name] for name in ("clean", "corrupted")
    )
    return trace["answer"], clean, corrupted
