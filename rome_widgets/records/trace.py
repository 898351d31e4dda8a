"""Traces and restorations: frozen records over numpy arrays.

No torch here, so that a recorded trace can be opened, plotted and shown where torch cannot be
imported. Arrays are read-only. How they are written to disk is in `files.trace_file`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from rome_widgets.errors import StateError
from rome_widgets.records.html import Probability, paragraph, plural, quoted, table
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.states import (
    KINDS,
    TITLES,
    Kind,
    State,
    cell_states,
    check_kinds,
    check_states,
)
from rome_widgets.records.trace_metric import LEAST_RANGE, SHORT, Metric, line_of_repr, symbol
from rome_widgets.records.trace_metric import TITLES as METRIC_TITLES

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


class Prediction(NamedTuple):
    """Holds the probabilities of one candidate next token in the three runs.

    Example:
        >>> trace.baseline[0].token
        ' Seattle'
    """

    token: str
    id: int
    clean: float
    corrupted: float
    restored: float


class WholeAnswer(NamedTuple):
    """Holds the probabilities of an answer of several tokens, whole, in the three runs.

    Each is the product over the tokens, each after the right ones before it; of the corrupted and
    the restored run the mean over the samples. Grids follow the first token alone.

    Example:
        >>> whole = rw.trace(lm, prompt, subject, answer="New York").whole
        >>> whole.tokens, whole.clean
    """

    text: str
    """The answer as it was asked for."""
    tokens: tuple[str, ...]
    """Printable text of each of its tokens."""
    clean: float
    """Probability in the clean run, in [0, 1]."""
    corrupted: float
    """The same with the subject corrupted and nothing restored."""
    restored: float | None = None
    """The same with states restored; None of a trace, whose cells restore one place each."""

    def __str__(self) -> str:
        runs = ((run, getattr(self, run)) for run in RUNS)
        said = ", ".join(f"{run} {_small(p)}" for run, p in runs if p is not None)
        return f"{quoted(self.text, 24)}, all {len(self.tokens)} tokens: {said}"


def _small(probability: float) -> str:
    """As other probabilities; a product may be so small that it needs its exponent."""
    return f"{probability:.4f}" if probability >= 0.001 else f"{probability:.2g}"


RUNS = ("clean", "corrupted", "restored")


def prediction_table(rows: Iterable[Prediction], runs: Sequence[str] = RUNS) -> str:
    """Predictions as an HTML table, likely ones shaded."""
    cells = [[row.token, *(Probability(getattr(row, run)) for run in runs)] for row in rows]
    return table(cells, ["next token", *runs])


class ReadOnlyArrays:
    """A record whose arrays cannot be written; nor can those of its copies."""

    def __post_init__(self) -> None:
        for value in vars(self).values():
            _make_read_only(value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)  # the record itself is frozen
        ReadOnlyArrays.__post_init__(self)


class Saved(ReadOnlyArrays):
    """A record that has a file format of its own."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record to one file, whole or not at all.

        Returns:
            The path written.

        Raises:
            SaveFailed: Nothing was written; a file that was there before is unchanged.
        """
        from rome_widgets.files.trace_file import save_record

        return save_record(self, path)


def _make_read_only(value: Any) -> None:
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, Mapping | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            _make_read_only(each)


@dataclass(frozen=True, eq=False, repr=False)
class CausalTrace(Saved):
    """Holds how much restoring each state of a model brings a corrupted fact back.

    Made by `rome_widgets.trace`; nothing in it needs the model any more.

    Example:
        >>> trace.indirect_effect("mlp").shape
        (12, 8)
        >>> trace.save("trace.safetensors").name
        'trace.safetensors'

    Source:
        Meng et al. 2022, section 2.1.
    """

    prompt: str
    """The text that was run."""
    subject: str
    """The entity whose embeddings were corrupted, as it stands in the prompt."""
    tokens: tuple[str, ...]
    """Printable text of each position; a leading space belongs to its token."""
    token_ids: tuple[int, ...]
    subject_span: tuple[int, int]
    """Half-open `[start, stop)` in positions."""
    answer: str
    """The token that is followed, as text; of several tokens the first."""
    answer_id: int
    clean: float
    """The `metric` of the clean run: the probability of the answer, in [0, 1], by default."""
    corrupted: float
    """The same with the subject corrupted and nothing restored, mean over samples."""
    scores: Mapping[Kind, np.ndarray]
    """`[pos, layer]` per kind: the same with that place restored. NaN where not computed."""
    windows: Mapping[Kind, int]
    """How many layers a cell of each kind restores (1 for hidden)."""
    n_layers: int
    samples: int
    """Noise draws averaged over; 1 where another subject stood in."""
    seed: int | None
    """Seed of the draws; None when nothing was drawn."""
    noise: Mapping[str, Any]
    """What was added: `text` for people; `std`, `sigma`, `multiple`, `n_vectors` if known; or
    `subject`, another one that stood in."""
    model: str
    """Name of the model."""
    notes: tuple[str, ...] = ()
    """Sentences a reader of the trace should see."""
    recorded: Mapping[Kind, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Per kind, the top ids `[pos, layer, k]` and their probabilities, when asked for."""
    recorded_tokens: Mapping[int, str] = field(default_factory=dict)
    """Text of every id in `recorded`."""
    baseline: tuple[Prediction, ...] = ()
    """Top tokens of the clean and corrupted runs; `restored` repeats `corrupted`."""
    estimated: bool = False
    """True where the scores are a first-order estimate (`CausalTracer.estimate`), not measured."""
    whole: WholeAnswer | None = None
    """The whole answer where it has several tokens; None of one, of which all else here is."""
    subject_spans: tuple[tuple[int, int], ...] = ()
    """Of every mention that was corrupted, in order; `subject_span` is the last of them."""
    metric: Metric = "probability"
    """What `clean`, `corrupted` and the scores are; logarithms are natural."""
    against: str = ""
    """The second answer, as text, of a difference of logits; empty of other metrics."""
    against_id: int | None = None

    def __post_init__(self) -> None:
        if self.subject_spans[-1:] != (self.subject_span,):
            object.__setattr__(self, "subject_spans", (self.subject_span,))
        shape = (len(self.tokens), self.n_layers)
        for kind, grid in self.scores.items():
            if grid.shape != shape:
                raise StateError(
                    f"The {kind} scores have the shape {grid.shape}.",
                    f"[pos, layer] = {shape} was wanted: {shape[0]} tokens, {shape[1]} layers.",
                )
        super().__post_init__()

    def __repr__(self) -> str:
        return (
            f"CausalTrace({quoted(self.prompt)} → {quoted(self.answer, 24)},\n"
            f"{line_of_repr(self.metric, self.answer, self.against)}"
            f"    clean {self.clean:.4f}, corrupted {self.corrupted:.4f}, "
            f"{len(self.tokens)} tokens × {self.n_layers} layers, "
            f"{', '.join(self.kinds)}{', estimate' if self.estimated else ''}"
            f"{_and_whole(self.whole)})"
        )

    def _repr_html_(self) -> str:
        from rome_widgets.charts.heat_table import trace_table

        return trace_table(self) + "".join(map(paragraph, self.notes))

    @property
    def symbol(self) -> str:
        """What the scores are, as a formula, such as `p(Seattle)`."""
        return symbol(self.metric, self.answer, self.against)

    @property
    def answer_text(self) -> str:
        """The answer as it reads after the prompt: whole, without the space before it."""
        return self.answer.strip() if self.whole is None else self.whole.text

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that were traced, in the order of `KINDS`."""
        return tuple(kind for kind in KINDS if kind in self.scores)

    @property
    def total_effect(self) -> float:
        """`clean - corrupted`: what the corruption took away; of probabilities in [-1, 1]."""
        return self.clean - self.corrupted

    @property
    def colour_ends(self) -> tuple[float, float]:
        """Between which scores the colours of a figure run: from corrupted to the best run.

        They span `LEAST_RANGE` of the metric at least, so that a weak trace does not look strong.
        """
        known = [float(np.nanmax(g)) for g in self.scores.values() if not np.isnan(g).all()]
        return self.corrupted, max(self.clean, self.corrupted + LEAST_RANGE[self.metric], *known)

    @property
    def why_pale(self) -> str:
        """Where little was taken away, why the figure is pale; else empty."""
        if not self.total_effect < LEAST_RANGE[self.metric]:
            return ""
        stronger = "Another subject" if "subject" in self.noise else "More noise"
        return (
            f"The total effect is {self.total_effect:.3f}: its colours are pale, because they span "
            f"{LEAST_RANGE[self.metric]} of {METRIC_TITLES[self.metric]} at least. {stronger} may "
            "take more away."
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and `why_pale`."""
        return (*self.notes, *filter(None, [self.why_pale]))

    @property
    def complete(self) -> bool:
        """False when the trace was cancelled and some places were never restored."""
        return not any(np.isnan(grid).any() for grid in self.scores.values())

    @property
    def subject_positions(self) -> list[int]:
        """The positions that were corrupted, in order."""
        return sorted({pos for span in self.subject_spans for pos in range(*span)})

    def indirect_effect(self, kind: Kind) -> np.ndarray:
        """Rise of the metric, by default the answer's probability, from restoring each place.

        Zero before the subject, because nothing there differs between the runs.

        Returns:
            `[pos, layer]`; of probabilities in [-1, 1].

        Raises:
            StateError: That kind was not traced.

        Source:
            Meng et al. 2022, section 2.1; the published figure starts its scale at `corrupted`.
        """
        return self._traced(kind) - self.corrupted

    def _traced(self, kind: Kind) -> np.ndarray:
        """The scores of a kind, or a `StateError` where there are none."""
        (kind,) = check_kinds(kind)
        if kind not in self.scores:
            raise StateError(
                f"This trace has no {kind!r} scores.",
                f"It has {', '.join(map(repr, self.kinds))}.",
                f"Trace again with kinds={(*self.kinds, kind)!r}.",
            )
        return self.scores[kind]

    def cell(self, pos: int, layer: int, kind: Kind) -> list[State]:
        """The states that this cell of the grid restored."""
        ((pos, layer, kind),) = check_states([(pos, layer, kind)], len(self.tokens), self.n_layers)
        return cell_states(pos, layer, kind, self.windows.get(kind, 1), self.n_layers)

    def strongest(self, kind: Kind) -> tuple[int, int, float] | None:
        """Position, layer and score of the best state among the subject's tokens.

        None where nothing was computed there.

        Raises:
            StateError: That kind was not traced.

        Example:
            >>> pos, layer, score = trace.strongest("mlp")
        """
        positions = self.subject_positions
        part = self._traced(kind)[positions]
        if np.isnan(part).all():
            return None
        row, layer = np.unravel_index(int(np.nanargmax(part)), part.shape)
        return positions[row], int(layer), float(part[row, layer])

    def to_frame(self) -> pd.DataFrame:
        """One row per kind, position and layer.

        Returns:
            Columns kind, pos, token, in_subject, layer, score (the metric) and indirect_effect.
        """
        import pandas as pd

        positions = set(self.subject_positions)
        rows = [
            (kind, pos, token, pos in positions, layer, score, score - self.corrupted)
            for kind in self.kinds
            for pos, token in enumerate(self.tokens)
            for layer, score in enumerate(self.scores[kind][pos].tolist())
        ]
        return pd.DataFrame(
            rows,
            columns=["kind", "pos", "token", "in_subject", "layer", "score", "indirect_effect"],
        )

    def chart(self) -> alt.HConcatChart:
        """The heat maps of the paper's figure 1 as an Altair chart, one panel per kind."""
        from rome_widgets.charts.trace_charts import trace_chart

        return trace_chart(self)

    def recovery_chart(self) -> alt.LayerChart:
        """The share that restoring each layer brings back, as an Altair chart of lines.

        For each kind, at the subject's last token and at the last token.

        Raises:
            StateError: The corruption took nothing away, so there are no shares.
        """
        from rome_widgets.charts.trace_charts import recovery_chart

        return recovery_chart(self)


def _and_whole(whole: WholeAnswer | None) -> str:
    """A further line of a repr."""
    return "" if whole is None else f",\n    {whole}"


class CancelFlag(Protocol):
    """Anything with `is_set`, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """True once the work should stop."""
        ...


@dataclass(frozen=True, repr=False)
class Progress:
    """Says how far a trace has come."""

    done: int
    """Cells finished."""
    total: int
    """Cells asked for."""
    trace: CausalTrace
    """The trace so far, NaN where not computed yet; or, before the first cell, an estimate."""
    seconds: float | None = None
    """How long the run is expected to take in all, by a plan that is told with an estimate."""

    def __repr__(self) -> str:
        return f"Progress({self.done} of {plural(self.total, 'cell')},\n  {self.trace!r})"

    def _repr_html_(self) -> str:
        words = f"{self.done} of {plural(self.total, 'cell')}"
        return paragraph(words) + self.trace._repr_html_()


@dataclass(frozen=True, eq=False, repr=False)
class Restoration(Saved):
    """Holds the predictions of a model with chosen states restored.

    Made by `CausalTracer.restore`; nothing in it needs the model any more. Probabilities are means
    over the noise samples, read at the last position.

    Example:
        >>> restoration = tracer.restore(tracer.cell(6, 3, "mlp"))
        >>> restoration.top(3)[0].token
        ' Seattle'
        >>> rw.load_restoration(restoration.save("restoration.safetensors")).states[0]
        State(pos=6, layer=2, kind='mlp')
    """

    prompt: str
    """The text that was run."""
    tokens: tuple[str, ...]
    """Printable text of each position."""
    states: tuple[State, ...]
    """The states that were restored."""
    answer: str
    answer_id: int
    distributions: np.ndarray
    """`[3, vocab]`: next-token probabilities of the clean, corrupted and restored runs."""
    token_texts: Mapping[int, str]
    """Text of the answer and of the likeliest tokens of each run, by id."""
    whole: WholeAnswer | None = None
    """The whole answer where it has several tokens; None of one."""
    metric: Metric = "probability"
    """What `clean`, `corrupted`, `score` and `recovery` are of."""
    against: str = ""
    """The second answer, as text, of a difference of logits; empty of other metrics."""
    measured: tuple[float, float, float] | None = None
    """The metric of the clean, corrupted and restored runs, where it is not the probability: a mean
    over the samples is not that of their mean distribution."""

    def __repr__(self) -> str:
        name = SHORT[self.metric]
        if self.metric == "probability":
            name = f"p({quoted(self.answer.strip(), 24)})"
        return (
            f"Restoration({quoted(self.prompt)},\n"
            f"{line_of_repr(self.metric, self.answer, self.against)}"
            f"    {plural(len(self.states), 'state')}: {name} {self.score:.4f}, "
            f"recovery {self.recovery:.0%}{_and_whole(self.whole)})"
        )

    def _repr_html_(self) -> str:
        words = f"{plural(len(self.states), 'state')} restored, recovery {self.recovery:.0%}"
        if self.metric != "probability":
            words += f" of {symbol(self.metric, self.answer, self.against)} {self.score:.4f}"
        return (
            paragraph(f"{self.prompt} → {self.answer.strip()}: {words}")
            + ("" if self.whole is None else paragraph(str(self.whole)))
            + state_table(self.states, self.tokens)
            + prediction_table(self.named(5))
        )

    @property
    def clean(self) -> float:
        """The metric, by default the probability of the answer, in the clean run."""
        return self._of_run(0)

    @property
    def corrupted(self) -> float:
        """The same with nothing restored."""
        return self._of_run(1)

    @property
    def score(self) -> float:
        """The same with the states restored."""
        return self._of_run(2)

    def _of_run(self, run: int) -> float:
        if self.measured is not None:
            return self.measured[run]
        return float(self.distributions[run, self.answer_id])

    @property
    def probability(self) -> float:
        """Probability of the answer with the states restored, whatever the metric."""
        return float(self.distributions[2, self.answer_id])

    @property
    def recovery(self) -> float:
        """Share of the total effect that came back: 0 corrupted, 1 clean; may lie outside.

        NaN when the corruption took nothing away.
        """
        return recovery(self.score, self.clean, self.corrupted)

    def named(self, most: int = 10) -> list[Prediction]:
        """The likeliest next tokens of the restored run whose texts were kept, at most so many."""
        ids = top_ids(self.distributions[2], self.answer_id, whole_number(most, "most", 1))
        return predictions(
            self.distributions, (i for i in ids if i in self.token_texts), self.token_texts
        )

    def top(self, k: int = 10) -> list[Prediction]:
        """The `k` likeliest next tokens of the restored run, and always the answer.

        Returns:
            Rows sorted by restored probability, with all three runs side by side.

        Raises:
            StateError: Not a whole number, or fewer tokens were kept; `CausalTracer.restore` says
                how many are.
        """
        k = whole_number(k, "k", 0)
        ids = top_ids(self.distributions[2], self.answer_id, k)
        if not self.token_texts.keys() >= set(ids):
            raise StateError(
                f"The {k} likeliest tokens were asked for.",
                f"The texts of {len(self.token_texts)} were kept.",
                f"Restore again with tracer.restore(states, top={k}).",
            )
        return predictions(self.distributions, ids, self.token_texts)


def state_table(
    states: Iterable[State],
    tokens: Sequence[str],
    columns: Mapping[str, Sequence[float]] | None = None,
    *,
    shaded: bool = True,
) -> str:
    """States as an HTML table, with columns of numbers beside them: `shaded`, of probabilities."""
    columns, number = columns or {}, Probability if shaded else float
    rows = [
        [tokens[state.pos] if tokens else "", state.pos, TITLES[state.kind], state.layer, *numbers]
        for state, *numbers in zip(
            states, *(map(number, some) for some in columns.values()), strict=True
        )
    ]
    return table(rows, ["token", "position", "kind", "layer", *columns]) if rows else ""


def recovery(score: float, clean: float, corrupted: float) -> float:
    """`(score - corrupted) / (clean - corrupted)`; NaN where nothing was taken away.

    Of any metric: what counts are differences, so the numbers may be negative.
    """
    total_effect = clean - corrupted
    if total_effect < 1e-12:
        return math.nan
    return (score - corrupted) / total_effect


def likeliest(probabilities: np.ndarray, k: int) -> np.ndarray:
    """The ids of the `k` greatest of `[vocab]` probabilities, in order; of equal ones the first."""
    k = min(max(1, k), len(probabilities))
    least = np.partition(probabilities, -k)[-k]  # sorting all of a vocabulary takes much longer
    ids = np.flatnonzero(probabilities >= least)
    return ids[np.argsort(-probabilities[ids], kind="stable")][:k]


def top_ids(probabilities: np.ndarray, answer_id: int, k: int) -> list[int]:
    """The ids of the `k` likeliest tokens, and always the answer, in the place of the last."""
    ids = likeliest(probabilities, k).tolist()
    if answer_id in ids:
        return ids
    return [*(ids[:-1] if len(ids) == k else ids), answer_id]


def predictions(
    distributions: np.ndarray, ids: Iterable[int], texts: Mapping[int, str]
) -> list[Prediction]:
    """One row per token of `[3, vocab]` probabilities: clean, corrupted, restored."""
    return [Prediction(texts[i], i, *map(float, distributions[:, i])) for i in ids]
