"""What edits did to a model, record by record and in total, with what each figure means.

No torch here. How it is measured is in `evaluation.evaluate`, its file in `files.evaluation_file`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any, Literal

from rome_widgets.errors import ArgumentError, said
from rome_widgets.records.figures import TABLE_4, definition_of, in_order, shown_value
from rome_widgets.records.html import paragraph, plural, quoted, shortened, table, visible
from rome_widgets.records.metrics import Mean

if TYPE_CHECKING:
    import pandas as pd

NONE = "none"
"""In place of a method: the unedited model."""
IN_A_REPR = ("S", "ES", "PS", "NS", "GE", "RS")
"""Figures for which a repr has room."""
MOST_METHODS = 3
"""Methods for which it has."""
MOST_REASONS = 5
"""Edits that failed, listed in a notebook."""
_AVERAGED = ("ES", "PS", "NS")
"""What S is the harmonic mean of."""

Mode = Literal["single", "sequential", "batch"]


@dataclass(frozen=True, repr=False)
class EvaluatedEdit:
    """One record edited by one method, or asked of the unedited model; or why it was not.

    Example:
        >>> row = evaluation.rows[0]
        >>> row.method, row.figures["NS"]
        ('none', 1.0)
    """

    number: int
    """Its place among the records that were given, from 0."""
    method: str
    """"none" of the unedited model."""
    prompt: str
    subject: str
    target: str = ""
    """The true object."""
    target_new: str = ""
    """What the edit writes."""
    id: str = ""
    relation: str = ""
    reason: str = ""
    """Why there are no figures, a sentence."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """By name; what there is nothing to measure for is not there."""
    layers: tuple[int, ...] = ()
    norm_ratio: float | None = None
    """‖ΔW‖ / ‖W‖ of the edit; the largest, where a record's facts are several edits."""
    steps: int = 0
    """Of its optimisation; of all its facts."""
    warnings: tuple[str, ...] = ()
    """The edit's own."""
    text: str = ""
    """What is written greedily after the edited prompt, where that was wanted."""
    edit_seconds: float = 0.0
    """In batch mode that of all facts."""
    measure_seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether there is a reason in place of figures."""
        return bool(self.reason)

    def __repr__(self) -> str:
        objects = " → ".join(quoted(each, 18) for each in (self.target, self.target_new) if each)
        method = shortened(visible(self.method), 12)
        head = f"EvaluatedEdit({method}, {quoted(self.prompt, 30)}: {objects}"
        return f"{head},\n    {shortened(visible(self._became), 90)})"

    def _repr_html_(self) -> str:
        names = in_order({*self.figures})
        rows = [
            [name, shown_value(name, self.figures[name]), definition_of(name).words]
            for name in names
        ]
        head = f"{self.method}: {self.prompt} → {self.target_new}: {self._became}"
        return paragraph(head) + (table(rows, ("figure", "", "")) if rows else "")

    @property
    def _became(self) -> str:
        if self.failed:
            return f"failed: {self.reason}"
        shown = [name for name in TABLE_4 if name in self.figures]
        return ", ".join(f"{name} {shown_value(name, self.figures[name])}" for name in shown)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What several methods of editing did to a model. Made by `rome_widgets.evaluate`.

    Every figure is a mean of the records' own, so that a record with many prompts counts once; a
    record that has no data for it, and an edit that failed, are left out of it and counted.

    Example:
        >>> evaluation.methods
        ('none', 'rome')
        >>> evaluation.total("rome", "ES").value
        1.0
        >>> evaluation.save("evaluation.safetensors").name
        'evaluation.safetensors'

    Source:
        Meng et al. 2022, section 3 and table 4.
    """

    rows: tuple[EvaluatedEdit, ...]
    """By record, each the unedited model first, then the methods."""
    model: str
    methods: tuple[str, ...]
    """"none" first."""
    mode: Mode = "single"
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """By method, what it went by."""
    notes: tuple[str, ...] = ()
    """Sentences a reader should see."""

    # ------------------------------------------------------------------------------ figures

    def of(self, method: str) -> tuple[EvaluatedEdit, ...]:
        """The rows of one method, or of "none".

        Raises:
            ArgumentError: It is not among the methods.
        """
        if not isinstance(method, str) or method not in self.methods:
            raise ArgumentError(
                f"There is no method {said(method)} in this evaluation.",
                f"It has {', '.join(map(repr, self.methods))}.",
            )
        return tuple(row for row in self.rows if row.method == method)

    @property
    def failed(self) -> tuple[EvaluatedEdit, ...]:
        """The rows that have a reason in place of figures."""
        return tuple(row for row in self.rows if row.failed)

    def total(self, method: str, name: str) -> Mean:
        """A figure of a method: the mean over records, with its 95 % interval.

        S has no interval: it is no mean over records. NaN where nothing was measured, with n = 0.

        Raises:
            ArgumentError: There is no such method or figure.
        """
        rows = self.of(method)
        if not isinstance(name, str) or name not in {*self._names, *TABLE_4}:
            raise ArgumentError(
                f"There is no figure {said(name)} in this evaluation.",
                f"It has {', '.join(self._names)}.",
            )
        if name == "S":
            return self._score(method)
        return Mean.of(row.figures.get(name) for row in rows)

    def _score(self, method: str) -> Mean:
        means = [self.total(method, name) for name in _AVERAGED]
        n = min(mean.n for mean in means)
        value = harmonic_mean([mean.value for mean in means]) if n else math.nan
        return Mean(value, math.nan, n)

    @cached_property
    def _names(self) -> list[str]:
        """The figures that some row has, in order, S first where it can be made."""
        found = {name for row in self.rows for name in row.figures}
        return in_order({"S", *found} if found >= {*_AVERAGED} else found)

    # ------------------------------------------------------------------------------- tables

    def summary(self) -> pd.DataFrame:
        """A row per method, in pandas: the columns of the paper's table 4, then other figures.

        Returns:
            Index method; columns records (that have figures), failed; then each figure by its
            name, followed by half its 95 % interval, "ES ±", and the records it is of, "ES n".
            Shares are from 0 to 1. What was not measured is NaN with n = 0.

        Example:
            >>> evaluation.summary().loc["rome", ["S", "ES", "ES ±"]]
        """
        import pandas as pd

        names = list(dict.fromkeys([*TABLE_4, *self._names]))
        rows = []
        for method in self.methods:
            failed = sum(row.failed for row in self.of(method))
            line: dict[str, Any] = {"records": len(self.of(method)) - failed, "failed": failed}
            for name in names:
                mean = self.total(method, name)
                line |= {name: mean.value, f"{name} ±": mean.interval, f"{name} n": mean.n}
            rows.append(line)
        return pd.DataFrame(rows, index=pd.Index(self.methods, name="method"))

    def to_frame(self) -> pd.DataFrame:
        """A row per record and method, in pandas.

        Returns:
            Columns record (its number), method, the fields of `EvaluatedEdit`, and a column per
            figure, NaN where the record has no data for it.
        """
        import pandas as pd

        return pd.DataFrame([self._line(row) for row in self.rows])

    def _line(self, row: EvaluatedEdit) -> dict[str, Any]:
        fields = {name: value for name, value in vars(row).items() if name != "figures"}
        numbers = {name: row.figures.get(name, math.nan) for name in self._names if name != "S"}
        return {"record": fields.pop("number"), **fields, **numbers}

    # -------------------------------------------------------------------------------- shown

    def __repr__(self) -> str:
        names = [name for name in IN_A_REPR if name in self._names] or self._names[:3]
        lines = [["", *names]]
        for method in self.methods[:MOST_METHODS]:
            cells = [_cell(name, self.total(method, name)) for name in names]
            lines.append([shortened(visible(method), 12), *cells])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = ["  ".join(map(str.rjust, line, widths)).rstrip() for line in lines]
        more = len(self.methods) - MOST_METHODS
        rows += [f"and {more} more"] if more > 0 else []
        title = shortened(visible(self._title), 80)
        return "\n    ".join([f"Evaluation({title}", *rows]) + ")"

    def _repr_html_(self) -> str:
        rows = [
            [
                name,
                *(_cell(name, self.total(method, name)) for method in self.methods),
                self._counts(name),
                definition_of(name).words,
            ]
            for name in self._names
        ]
        head = ("", *self.methods, "n", "what it is, of one record; ± 95 %, over n records")
        shown = [table(rows, head, self._title)]
        failed = [[r.method, r.prompt, r.reason] for r in self.failed[:MOST_REASONS]]
        if failed:
            title = f"Failed, and in no figure: {len(self.failed)}, the first of them"
            shown.append(table(failed, ("method", "prompt", "why"), title))
        return "".join([*shown, *map(paragraph, self.notes)])

    def _counts(self, name: str) -> str:
        """Of how many records a figure is: one number, or one of each method where they differ."""
        counts = [str(self.total(method, name).n) for method in self.methods]
        return counts[0] if len({*counts}) == 1 else " · ".join(counts)

    @property
    def _title(self) -> str:
        n = len({row.number for row in self.rows})
        failed = f", {len(self.failed)} failed" if self.failed else ""
        how = "" if self.mode == "single" else f", {self.mode}"
        return f"{plural(n, 'record')} on {self.model}{how}{failed}"

    # -------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to one file, whole or not at all; `rome_widgets.load_evaluation` reads it.

        Raises:
            SaveFailed: Nothing was written; a file that was there before is unchanged.
        """
        from rome_widgets.files.evaluation_file import save_evaluation

        return save_evaluation(self, path)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write `to_frame()` as parquet, whole or not at all.

        Raises:
            MissingExtra: pyarrow is not installed.
            SaveFailed: Nothing was written; a file that was there before is unchanged.
        """
        from rome_widgets.files.parquet import save_frame

        return save_frame(self.to_frame(), path, "evaluation.save(path)")


def _cell(name: str, mean: Mean) -> str:
    """A mean with its interval."""
    if not mean.n:
        return "–"
    interval = "" if math.isnan(mean.interval) else f" ±{shown_value(name, mean.interval)}"
    return shown_value(name, mean.value) + interval
