"""Explanations of a trace: a restoring path, the flow of a restoration, the logit lens.

Frozen records over numpy arrays, without torch, like `trace`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rome_widgets.records.html import Cell, Probability, paragraph, plural, quoted, table
from rome_widgets.records.states import TITLES, Kind, State
from rome_widgets.records.trace import ReadOnlyArrays, recovery, state_table
from rome_widgets.records.trace_metric import SHORT, Metric, symbol

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


@dataclass(frozen=True, repr=False)
class RestoringPath:
    """Names a small set of states that brings the original prediction back.

    Made by `CausalTracer.find_path`. In the order in which restoring them one after another raises
    the answer's probability the most.

    Example:
        >>> path = tracer.find_path(0.9)
        >>> path.recovery >= 0.9
        True

    Source:
        Meng et al. 2022, figure 1d: "some sets of activations cause the output to return".
    """

    states: tuple[State, ...]
    scores: tuple[float, ...]
    """The metric, by default the probability of the answer, with the first 1, 2, … states
    restored."""
    answer: str
    clean: float
    corrupted: float
    target: float
    """The share of recovery that was wanted, in (0, 1]."""
    reached: bool
    """Whether the set reaches it; False also for a search that was stopped."""
    n_restored: int
    """Sets of states that were tried."""
    tokens: tuple[str, ...] = ()
    """Printable text of each position."""
    metric: Metric = "probability"
    """What the scores are, and what `recovery` is a share of."""
    against: str = ""
    """The second answer of a difference of logits."""

    def __repr__(self) -> str:
        answers = (quoted(each.strip(), 24) for each in (self.answer, self.against))
        return f"RestoringPath({self._words(*answers)})"

    def _repr_html_(self) -> str:
        together = {f"{SHORT[self.metric]} with those so far": self.scores}
        return paragraph(self._words(self.answer, self.against)) + state_table(
            self.states, self.tokens, together, shaded=self.metric == "probability"
        )

    def _words(self, answer: str, against: str) -> str:
        rest = " " if self.metric == "probability" else "\n    "
        return (
            f"{plural(len(self.states), 'state')}, recovery {self.recovery:.0%} of{rest}"
            f"{symbol(self.metric, answer, against)}{rest}{self.corrupted:.4f} → {self.clean:.4f}; "
            f"{self.target:.0%} was wanted"
        )

    @property
    def score(self) -> float:
        """Of the answer with the whole set restored."""
        return self.scores[-1] if self.scores else self.corrupted

    @property
    def recovery(self) -> float:
        """The share that the whole set brings back, of whatever the metric is.

        `(score - corrupted) / (clean - corrupted)`, which needs no number to be positive; NaN where
        nothing was taken away.
        """
        return recovery(self.score, self.clean, self.corrupted)


@dataclass(frozen=True, eq=False, repr=False)
class Flow(ReadOnlyArrays):
    """Holds how far apart the clean, the corrupted and a restored run are, at every state.

    Distances are root mean squares over the noise draws, in units of the length of the clean hidden
    state at the same place: those of one place add up like arrows in `h = h' + attn + mlp`.

    Example:
        >>> flow = tracer.flow([(3, 5, "hidden")])
        >>> flow.moved["hidden"].shape
        (12, 8)
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
    tokens: tuple[str, ...] = ()
    """Printable text of each position."""

    def to_frame(self) -> pd.DataFrame:
        """One row per state.

        Returns:
            Columns kind, pos, token, layer, written, corrupted, restored and moved, all four in
            lengths of the clean hidden state.
        """
        import pandas as pd

        grids = (self.written, self.corrupted, self.restored, self.moved)
        tokens = self.tokens or [str(pos) for pos in range(len(self.noise))]
        rows = [
            (kind, pos, tokens[pos], layer, *(float(grid[kind][pos, layer]) for grid in grids))
            for kind in self.kinds
            for pos, layer in np.ndindex(self.written[kind].shape)
        ]
        names = ["written", "corrupted", "restored", "moved"]
        return pd.DataFrame(rows, columns=["kind", "pos", "token", "layer", *names])

    def chart(self, run: Literal["clean", "corrupted", "restored"] | None = None) -> alt.LayerChart:
        """The nodes of a run as an Altair chart, as the explorer's page draws them.

        Args:
            run: Which; None: the restored one where something was restored, else the corrupted.

        Raises:
            StateError: No such run.
        """
        from rome_widgets.charts.explanation_charts import flow_chart

        return flow_chart(self, run)

    def __repr__(self) -> str:
        n_pos, n_layers = self.written[self.kinds[0]].shape
        return (
            f"Flow({plural(len(self.states), 'state')} restored, {n_pos} tokens × {n_layers} "
            f"layers, {', '.join(self.kinds)})"
        )

    def _repr_html_(self) -> str:
        from rome_widgets.charts.heat_table import heat_map

        shown = self.moved if self.states else self.corrupted
        what = "from the corrupted to the restored" if self.states else "from clean to corrupted"
        most = max(float(grid.max()) for grid in shown.values())
        return state_table(self.states, self.tokens) + "".join(
            heat_map(
                f"{TITLES[kind]} · distance {what}",
                self.tokens or [str(pos) for pos in range(len(grid))],
                grid,
                (kind, 0.0, most),
                [[f"layer {at}: {x:.3f}" for at, x in enumerate(row)] for row in grid.tolist()],
            )
            for kind, grid in shown.items()
        )


@dataclass(frozen=True, repr=False)
class LensRun:
    """Holds what each layer of one run would say next, read with the model's own head."""

    name: str
    """"clean", "corrupted", "restored", or "unedited": the clean run as before all edits."""
    probabilities: tuple[float, ...]
    """Of the answer after each layer, at the last token; mean over the noise draws."""
    ranks: tuple[int, ...]
    """Of the answer, 1 is the likeliest."""
    top: tuple[tuple[tuple[str, float], ...], ...]
    """The likeliest tokens after each layer, each with its probability."""
    scores: tuple[float, ...] = ()
    """The tracer's metric after each layer, mean over the noise draws; of the probability the
    probabilities."""

    def __repr__(self) -> str:
        last = ", ".join(f"{quoted(token, 20)} {p:.4f}" for token, p in self.top[-1][:3])
        return f"LensRun({self.name}: {len(self.top)} layers,\n    the last says {last})"

    def _repr_html_(self) -> str:
        return _lens_table([self])


@dataclass(frozen=True, repr=False)
class Lens:
    """Holds the logit lens at the last token, in several runs of one prompt.

    Whatever the metric is, it shows the answer's probability; the metric itself is in the `scores`
    of the runs and in `to_frame()`.

    Example:
        >>> lens = tracer.lens()
        >>> [run.name for run in lens.runs]
        ['clean', 'corrupted']
        >>> lens.runs[0].ranks[-1]                    # of the answer, after the last layer
        1

    Source:
        nostalgebraist 2020, "interpreting GPT: the logit lens".
    """

    answer: str
    answer_id: int
    states: tuple[State, ...]
    """What was restored in the run "restored"; none: there is no such run."""
    runs: tuple[LensRun, ...]
    metric: Metric = "probability"
    """What the scores of the runs are."""

    def to_frame(self) -> pd.DataFrame:
        """One row per run and layer.

        Returns:
            Columns run, layer, token (the likeliest), p_token, p (of the answer), rank, and score
            (the metric).
        """
        import pandas as pd

        rows = [
            (run.name, layer, *top[0], p, rank, score)
            for run in self.runs
            for layer, (top, p, rank, score) in enumerate(
                zip(
                    run.top,
                    run.probabilities,
                    run.ranks,
                    run.scores or run.probabilities,
                    strict=True,
                )
            )
        ]
        names = ["run", "layer", "token", "p_token", "p", "rank", "score"]
        return pd.DataFrame(rows, columns=names)

    def chart(self) -> alt.VConcatChart:
        """Tokens, probability and rank of the answer by layer as an Altair chart."""
        from rome_widgets.charts.explanation_charts import lens_chart

        return lens_chart(self)

    def __repr__(self) -> str:
        runs = ", ".join(f"{run.name} {run.probabilities[-1]:.4f}" for run in self.runs)
        return (
            f"Lens(p({quoted(self.answer.strip(), 24)}) after {len(self.runs[0].top)} layers:\n"
            f"    {runs})"
        )

    def _repr_html_(self) -> str:
        return paragraph(f"The likeliest token, and p({self.answer.strip()}), after each layer") + (
            _lens_table(self.runs)
        )


def _lens_table(runs: Sequence[LensRun]) -> str:
    columns = [name for run in runs for name in (run.name, "p(answer)", "rank")]
    rows: list[list[Cell]] = [[layer] for layer in range(len(runs[0].top))]
    for run in runs:
        for row, top, p, rank in zip(rows, run.top, run.probabilities, run.ranks, strict=True):
            row += [top[0][0], Probability(p), rank]
    return table(rows, ["layer", *columns])


@dataclass(frozen=True, eq=False, repr=False)
class Heads(ReadOnlyArrays):
    """Holds how much what single attention heads of one layer write brings back.

    Made by `CausalTracer.heads`. A cell restores one head at one token, and no window of layers.

    Example:
        >>> heads = tracer.heads(5)
        >>> heads.scores.shape                        # tokens, heads
        (12, 4)

    Source:
        Head patching, as in Wang et al. 2022, "Interpretability in the wild".
    """

    layer: int
    positions: tuple[int, ...]
    """Of the rows."""
    scores: np.ndarray
    """`[position, head]`: the metric with what that head writes there restored; NaN where that is
    not computed yet."""
    answer: str
    clean: float
    corrupted: float
    tokens: tuple[str, ...] = ()
    """Printable text of each position of the prompt."""
    metric: Metric = "probability"
    against: str = ""

    @property
    def indirect_effect(self) -> np.ndarray:
        """`[position, head]`: the rise over the corrupted run."""
        return self.scores - self.corrupted

    def strongest(self) -> tuple[int, int, float]:
        """Position, head and score of the strongest head."""
        known = np.nan_to_num(self.scores, nan=-np.inf)
        row, head = np.unravel_index(int(known.argmax()), known.shape)
        return self.positions[row], int(head), float(self.scores[row, head])

    def to_frame(self) -> pd.DataFrame:
        """One row per token and head.

        Returns:
            Columns layer, pos, token, head, score (the metric) and indirect_effect.
        """
        import pandas as pd

        rows = [
            (self.layer, pos, self.tokens[pos], head, score, score - self.corrupted)
            for pos, row in zip(self.positions, self.scores.tolist(), strict=True)
            for head, score in enumerate(row)
        ]
        names = ["layer", "pos", "token", "head", "score", "indirect_effect"]
        return pd.DataFrame(rows, columns=names)

    def __repr__(self) -> str:
        pos, head, score = self.strongest()
        n_rows, n_heads = self.scores.shape
        return (
            f"Heads(layer {self.layer}, {plural(n_rows, 'token')} × {plural(n_heads, 'head')},\n"
            f"    strongest: head {head} at {quoted(self.tokens[pos], 24)}, "
            f"{SHORT[self.metric]} {score:.4f} of {self.corrupted:.4f} → {self.clean:.4f})"
        )

    def _repr_html_(self) -> str:
        heads = range(self.scores.shape[1])
        rows = [
            [self.tokens[pos], *(float(score) for score in row)]
            for pos, row in zip(self.positions, self.scores.tolist(), strict=True)
        ]
        name = symbol(self.metric, self.answer, self.against)
        return paragraph(f"{name} with one head of layer {self.layer} restored") + table(
            rows, ["token", *(f"head {head}" for head in heads)]
        )
