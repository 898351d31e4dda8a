"""Traces of many facts, and their averages by the role of a token: figures 1 to 3 of the paper.

No torch here. How a sweep is made is in `evaluation.sweep`, its file in `files.sweep_file`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from rome_widgets.errors import StateError, said
from rome_widgets.records.html import paragraph, plural, quoted, table
from rome_widgets.records.metrics import Mean
from rome_widgets.records.states import KINDS, Kind, check_kinds
from rome_widgets.records.swept_fact import (
    ROLES,
    STATUSES,
    Peak,
    Role,
    Status,
    SweptFact,
    check_role,
)
from rome_widgets.records.trace import ReadOnlyArrays
from rome_widgets.records.trace_metric import LEAST_RANGE, TITLES, Metric

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MOST_REASONS = 5
"""Facts that were not traced, listed in a notebook."""


class Averages(NamedTuple):
    """Means of effects with 95 % confidence intervals."""

    mean: np.ndarray
    """`[..., layer]`; NaN where there is nothing to average."""
    interval: np.ndarray
    """`[..., layer]`: half its width, 1.96 standard deviations over √n; NaN of fewer than two."""
    n: np.ndarray
    """`[...]`: how many effects each mean is of."""

    @classmethod
    def of(cls, effects: Iterable[np.ndarray], n_layers: int) -> Averages:
        """Row by row, of `[n, layer]` effects.

        Example:
            >>> Averages.of([np.array([[0.1], [0.3]])], 1).mean
            array([[0.2]])
        """
        rows = [some.reshape(-1, n_layers) for some in effects]
        none = np.full(n_layers, np.nan)
        return cls(
            np.stack([some.mean(axis=0) if len(some) else none for some in rows]),
            np.stack([_half_width(some) for some in rows]),
            np.array([len(some) for some in rows]),
        )

    def at(self, row: int, layer: int) -> Mean:
        """One of them, as a number with its interval."""
        mean, interval = float(self.mean[row, layer]), float(self.interval[row, layer])
        return Mean(mean, interval, int(self.n[row]))


def _half_width(effects: np.ndarray) -> np.ndarray:
    if len(effects) < 2:
        return np.full(effects.shape[1], np.nan)
    return 1.96 * effects.std(axis=0) / np.sqrt(len(effects))


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(ReadOnlyArrays):
    """Holds the traces of many facts, and averages them.

    Made by `rome_widgets.sweep`; nothing in it needs the model any more.

    Example:
        >>> sweep.effects("mlp").mean.shape            # by role and layer
        (6, 8)
        >>> role, layer, effect = sweep.strongest("mlp")
        >>> sweep.save("sweep.safetensors").name
        'sweep.safetensors'

    Source:
        Meng et al. 2022, section 2 and figures 1 to 3.
    """

    facts: tuple[SweptFact, ...]
    """Every fact that was given, in that order."""
    model: str
    """Name of the model."""
    kinds: tuple[Kind, ...]
    """The kinds that were traced."""
    windows: Mapping[Kind, int]
    """How many layers a cell of each kind restores (1 for hidden)."""
    n_layers: int
    samples: int
    """Noise draws averaged over."""
    seed: int | None
    """Seed of the draws; None where nothing was drawn."""
    noise: Mapping[str, Any]
    """What was added, as `CausalTrace.noise` says it."""
    metric: Metric = "probability"
    """What clean, corrupted and scores are."""
    notes: tuple[str, ...] = ()
    """Sentences a reader should see."""

    def __repr__(self) -> str:
        lines = [f"{plural(len(self.facts), 'fact')} on {quoted(self.model, 40)}: {self._counts}"]
        if self.traced:
            lines.append(f"total effect {self.total_effect:.3f} of {TITLES[self.metric]}")
            lines += [self._line(kind) for kind in self.kinds]
        return f"Sweep({(',' + chr(10) + '    ').join(lines)})"

    def _repr_html_(self) -> str:
        head = f"{plural(len(self.facts), 'fact')} on {self.model}: {self._counts}."
        shown = [paragraph(head)]
        if self.traced:
            title = f"Average indirect effect at each role's best layer, of {TITLES[self.metric]}"
            names = ["kind", "role", "tokens", "layer", "effect ± 95 %"]
            total = f"Average total effect {self.total_effect:.3f}."
            shown += [table(self._rows(), names, title), paragraph(total)]
        rows = [[each.prompt, each.status, each.reason] for each in self._left_out[:MOST_REASONS]]
        if rows:
            more = len(self._left_out) - len(rows)
            caption = (
                f"Not traced{f', the first {len(rows)} of {len(rows) + more}' if more else ''}"
            )
            shown.append(table(rows, ["prompt", "", "why"], caption))
        return "".join([*shown, *map(paragraph, self.notes)])

    # ------------------------------------------------------------------------------ facts

    @property
    def traced(self) -> tuple[SweptFact, ...]:
        """The facts that were traced; all averages are of these."""
        return self._of("traced")

    @property
    def unknown(self) -> tuple[SweptFact, ...]:
        """The facts that were left out, as the model says something else."""
        return self._of("unknown")

    @property
    def failed(self) -> tuple[SweptFact, ...]:
        """The facts that could not be traced, each with its reason."""
        return self._of("failed")

    def _of(self, status: Status) -> tuple[SweptFact, ...]:
        return tuple(fact for fact in self.facts if fact.status == status)

    @property
    def _left_out(self) -> tuple[SweptFact, ...]:
        return (*self.failed, *self.unknown)

    @property
    def _counts(self) -> str:
        counts = ((status, len(self._of(status))) for status in STATUSES)
        return ", ".join(f"{n} {status}" for status, n in counts if n or status == "traced")

    # --------------------------------------------------------------------------- averages

    @property
    def total_effect(self) -> Mean:
        """Average total effect: what the corruption took away, over the facts."""
        return Mean.of(fact.total_effect for fact in self.traced)

    def effects(self, kind: Kind) -> Averages:
        """Average indirect effect `[role, layer]`, by the roles of `ROLES`.

        "Middle subject" and "further" average over all their tokens, so that a long subject weighs
        more, and their n counts tokens; in the others each fact has one token at most. Every effect
        is the score less the `corrupted` of its own fact. (The published code takes the mean
        `corrupted` off the mean score, which in these two rows weighs facts otherwise.)

        Raises:
            StateError: That kind was not traced.
        """
        kind = self._traced_kind(kind)
        by_fact = [(fact.positions, fact.indirect_effect(kind)) for fact in self.traced]
        nothing = np.empty((0, self.n_layers))
        pooled = (
            np.concatenate([nothing, *(effects[places[role]] for places, effects in by_fact)])
            for role in ROLES
        )
        return Averages.of(pooled, self.n_layers)

    def strongest(self, kind: Kind) -> tuple[Role, int, Mean] | None:
        """Role and layer of the greatest average effect, and that; None where nothing was traced.

        Raises:
            StateError: That kind was not traced.
        """
        effects = self.effects(kind)
        if not effects.n.any():
            return None
        row, layer = np.unravel_index(int(np.nanargmax(effects.mean)), effects.mean.shape)
        return ROLES[row], int(layer), effects.at(int(row), int(layer))

    @property
    def colour_ends(self) -> tuple[float, float]:
        """Where the colours of the averages begin and end: 0, and the greatest of all kinds.

        As in the paper all kinds share one scale, and what is below 0 looks like 0.
        """
        most = [self.strongest(kind) for kind in self.kinds]
        found = [best[2].value for best in most if best is not None]
        return 0.0, max([*found, LEAST_RANGE[self.metric]])

    def peaks(self, kind: Kind) -> np.ndarray:
        """`[role, layer]`: of how many facts the greatest effect lies there.

        A token of two roles counts as the subject's last, or the prompt's last.

        Raises:
            StateError: That kind was not traced.
        """
        kind = self._traced_kind(kind)
        counts = np.zeros((len(ROLES), self.n_layers), int)
        for fact in self.traced:
            peak = fact.peak(kind)
            counts[ROLES.index(peak.role), peak.layer] += 1
        return counts

    def best_layers(self, kind: Kind, role: Role = "last subject") -> np.ndarray:
        """`[layer]`: of how many facts the effect at this role is greatest there.

        `peaks` looks for the best place of a whole fact; this for the best layer of one role, which
        a stronger site elsewhere cannot hide.

        Raises:
            StateError: That kind was not traced, or there is no such role.
        """
        kind, row = self._traced_kind(kind), ROLES.index(check_role(role))
        counts = np.zeros(self.n_layers, int)
        for fact in self.traced:
            effects = fact.by_role(kind)[row]
            if not np.isnan(effects).all():  # A subject of two tokens has no middle.
                counts[int(effects.argmax())] += 1
        return counts

    def mean_peak(self, kind: Kind) -> Mean:
        """The greatest effect of each fact, wherever it lies, over the facts.

        Raises:
            StateError: That kind was not traced.
        """
        kind = self._traced_kind(kind)
        return Mean.of(fact.peak(kind).effect for fact in self.traced)

    @property
    def severed(self) -> tuple[Kind, ...]:
        """The kinds whose outputs were severed: see `severed_effects`."""
        some = self.traced[0].severed if self.traced else ()
        return tuple(kind for kind in KINDS if kind in some)

    def severed_effects(self) -> dict[Kind | None, Averages]:
        """Average effect `[1, layer]` of the hidden state at the subject's last token: figure 3.

        By what is severed at that token: None nothing, "mlp" or "attn" its outputs of that kind,
        which then stay as the corruption left them.

        Raises:
            StateError: Nothing was severed in this sweep.
        """
        if not self.severed:
            raise StateError(
                "Nothing was severed in this sweep.",
                "One that was made with severed=True was wanted.",
            )
        rows: dict[Kind | None, list[np.ndarray]] = {
            None: [fact.by_role("hidden")[ROLES.index("last subject")] for fact in self.traced]
        }
        for kind in self.severed:
            rows[kind] = [fact.severed[kind] - fact.corrupted for fact in self.traced]
        return {kind: Averages.of([np.stack(some)], self.n_layers) for kind, some in rows.items()}

    def _traced_kind(self, kind: Kind) -> Kind:
        (kind,) = check_kinds(kind)
        if kind not in self.kinds:
            raise StateError(
                f"This sweep has no {said(kind)} scores.",
                f"It has {', '.join(map(repr, self.kinds))}.",
                f"Sweep again with kinds={(*self.kinds, kind)!r}.",
            )
        return kind

    # ---------------------------------------------------------------------------- figures

    def chart(
        self,
        figure: Literal["effects", "severed", "curves", "peaks"] = "effects",
        role: Role = "last subject",
    ) -> alt.HConcatChart | alt.VConcatChart:
        """A figure of the paper as an Altair chart, which needs no network to be drawn.

        Args:
            figure: "effects", average indirect effects by role and layer (figure 2); "severed",
                with modules severed (figure 3); "curves", the averages of each role with bands of
                95 % (appendix B); "peaks", where single facts peak, beside the averages.
            role: Whose best layers "peaks" counts.

        Raises:
            StateError: There is no such figure or role, nothing was traced, or nothing severed.

        Example:
            >>> sweep.chart("peaks").save("peaks.svg")

        Source:
            Meng et al. 2022. That averages hide how far facts differ: Hase et al. 2023.
        """
        from rome_widgets.charts.sweep_charts import sweep_chart

        return sweep_chart(self, figure, role)

    # ----------------------------------------------------------------------------- tables

    def to_frame(self) -> pd.DataFrame:
        """One row per fact that was traced, kind, role and layer.

        Returns:
            Columns fact (its number), kind, role, n_tokens (of that role in this fact), layer,
            score and indirect_effect (means over these tokens).
        """
        import pandas as pd

        parts = [_rows_of(fact, kind) for fact in self.traced for kind in self.kinds]
        names = ["fact", "kind", "role", "n_tokens", "layer", "score", "indirect_effect"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)

    def facts_to_frame(self) -> pd.DataFrame:
        """One row per fact, whether it was traced or not, with its peaks.

        Returns:
            Columns fact, prompt, subject, target, answer, status, reason, clean, corrupted,
            total_effect; and per kind its peak's role, layer and effect, such as mlp_role.
        """
        import pandas as pd

        return pd.DataFrame([self._about(fact) for fact in self.facts])

    def _about(self, fact: SweptFact) -> dict[str, Any]:
        names = ("prompt", "subject", "target", "answer", "status", "reason", "clean", "corrupted")
        row: dict[str, Any] = {"fact": fact.number, **{name: getattr(fact, name) for name in names}}
        row["total_effect"] = fact.total_effect
        for kind in self.kinds:
            peak: Peak | None = fact.peak(kind) if fact.status == "traced" else None
            for name in ("role", "layer", "effect"):
                row[f"{kind}_{name}"] = getattr(peak, name, None)
        return row

    def _rows(self) -> list[list[str]]:
        rows = []
        for kind in self.kinds:
            effects = self.effects(kind)
            for row, role in enumerate(ROLES):
                if effects.n[row]:
                    best = int(effects.mean[row].argmax())
                    n, mean = str(effects.n[row]), f"{effects.at(row, best):.3f}"
                    rows.append([kind, role, n, str(best), mean])
        return rows

    def _line(self, kind: Kind) -> str:
        role, layer, mean = self.strongest(kind) or ("", 0, Mean.of(()))
        return f"{kind}: {role}, layer {layer}, {mean:.3f}"

    # ------------------------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sweep to one file, whole or not at all; `rome_widgets.load_sweep` reads it.

        Raises:
            SaveFailed: Nothing was written; a file that was there before is unchanged.
        """
        from rome_widgets.files.sweep_file import save_sweep

        return save_sweep(self, path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write `to_frame()` as parquet, whole or not at all.

        Raises:
            MissingExtra: pyarrow is not installed.
            SaveFailed: Nothing was written; a file that was there before is unchanged.
        """
        from rome_widgets.files.parquet import save_frame

        return save_frame(self.to_frame(), path, "sweep.save(path)")


def _rows_of(fact: SweptFact, kind: Kind) -> pd.DataFrame:
    """Of one fact and kind, a row per role that it has and layer."""
    import pandas as pd

    effects = fact.by_role(kind)
    layers = np.arange(effects.shape[1])
    has: list[tuple[int, Role]] = [
        (row, role) for row, role in enumerate(ROLES) if fact.positions[role]
    ]
    n_tokens = [len(fact.positions[role]) for _, role in has]
    flat = np.concatenate([effects[row] for row, _ in has])
    return pd.DataFrame(
        {
            "fact": fact.number,
            "kind": kind,
            "role": np.repeat([role for _, role in has], len(layers)),
            "n_tokens": np.repeat(n_tokens, len(layers)),
            "layer": np.tile(layers, len(has)),
            "score": flat + fact.corrupted,
            "indirect_effect": flat,
        }
    )
