"""The rows of single records: what the unedited model gives, and the model with each edit.

What goes in, but for the model, and what comes out can be sent to another process, which has a
model of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from rome_widgets.errors import (
    Cancelled,
    ModelChanged,
    OutOfMemory,
    RomeWidgetsError,
    StatisticsMissing,
)
from rome_widgets.evaluation.chosen_methods import ChosenMethods
from rome_widgets.evaluation.measured_record import Measured, Measurer, MeasurerSettings
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.recipe import ModelRecipe
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.edit import EditReport
from rome_widgets.records.evaluation import NONE, EvaluatedEdit
from rome_widgets.records.fact_record import FactRecord

NOT_OF_ONE_EDIT = (Cancelled, ModelChanged, OutOfMemory, StatisticsMissing)
"""Errors that end an evaluation; any other of ours is the reason why one edit failed."""


class AskedRecord(NamedTuple):
    """A record, and by what it is to be edited."""

    number: int
    """Its place among the records of the evaluation."""
    record: FactRecord
    methods: Sequence[str]
    """Those of which there is no row yet; "none" is the unedited model."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How every record is edited and measured. It can be sent to another process."""

    editing: Mapping[str, Any]
    """See `ChosenMethods.sent`."""
    measuring: MeasurerSettings
    model_name: str
    key: str
    """Of all that decides the rows, to know the same settings by."""


def evaluate_sent_records(
    recipe: ModelRecipe, settings: EvaluationSettings, sent: int, asked: Sequence[AskedRecord]
) -> list[EvaluatedEdit]:
    """Rows of some records, in another process; see `workers.done_by`.

    A process has one model to edit, which carries one edit at a time: its threads wait for each
    other. Sweeps in this process have another one.
    """
    with _evaluating:
        kept = (recipe, settings.key)
        if kept not in _kept:
            _kept.clear()
            lm = recipe.own_model(settings.model_name)
            editing = ChosenMethods(lm, **settings.editing, cancel=None)
            measurer = Measurer(lm, settings.measuring, editing.check)
            _kept[kept] = RecordEvaluator(editing, measurer)
        return _rows_of(_kept[kept], asked)


_evaluating = threading.Lock()
_kept: dict[tuple[ModelRecipe, str], RecordEvaluator] = {}
"""The latest in this process, with what it has measured of the unedited model."""


class Edited(NamedTuple):
    """Edits of one record that the model carries: of each of its facts, or of all records."""

    reports: list[EditReport]
    seconds: float

    @property
    def shown(self) -> dict[str, Any]:
        """The part of it that a row has."""
        reports = self.reports
        ratios = [each.norm_ratio for each in reports if each.weight_norm]
        return {
            "layers": tuple(sorted({layer for each in reports for layer in each.layers})),
            "norm_ratio": max(ratios, default=None),
            "steps": sum(len(each.steps) for each in reports),
            "warnings": tuple(dict.fromkeys(chain.from_iterable(e.warnings for e in reports))),
            "edit_seconds": self.seconds,
        }


class RecordEvaluator:
    """Makes the rows of records, one after the other.

    Args:
        editing: The methods, and the model.
        measurer: Of the same model.
    """

    def __init__(self, editing: ChosenMethods, measurer: Measurer) -> None:
        self.lm, self._editing, self._measurer = editing.lm, editing, measurer
        self._before: dict[int, Measured | str] = {}
        """By record, what the unedited model gives, or why it cannot be asked."""

    def rows(self, asked: AskedRecord) -> Iterator[EvaluatedEdit]:
        """Each edit of a model that carries no other of them, and is without it afterwards."""
        for method in asked.methods:
            self._editing.check()
            yield self._row(asked.number, asked.record, method)
        self._before.pop(asked.number, None)

    def _row(self, number: int, record: FactRecord, method: str) -> EvaluatedEdit:
        before = self.before(number, record)
        if method == NONE or isinstance(before, str):
            return self.unedited(number, record, method)
        with ExitStack() as stack:
            edited = self.entered(method, record.edited_together, stack)
            return self.measured_with(number, record, method, edited)

    def unedited(self, number: int, record: FactRecord, method: str = NONE) -> EvaluatedEdit:
        """The row of the unedited model; of a method, why the record cannot be measured."""
        before = self.before(number, record)
        if isinstance(before, str):
            return row_of(number, method, record, reason=before)
        return row_of(number, method, record, **before.shown)

    def entered(
        self, method: str, edits: Iterable[FactRecord | list[FactRecord]], stack: ExitStack
    ) -> Edited | str:
        """Edits one on top of the other, which the model carries; where one fails, none of them."""
        began, reports = time.perf_counter(), []
        together = stack.enter_context(ExitStack())
        try:
            for each in edits:
                self._editing.check()
                change = together.enter_context(self._editing.edit(method, each))
                reports.append(change.report)
        except NOT_OF_ONE_EDIT:
            raise
        except RomeWidgetsError as error:
            together.close()
            return str(error)
        return Edited(reports, time.perf_counter() - began)

    def measured_with(
        self, number: int, record: FactRecord, method: str, edited: Edited | str
    ) -> EvaluatedEdit:
        """The row of a record whose edit the model carries, or failed."""
        before = self.before(number, record)
        if isinstance(before, str) or isinstance(edited, str):
            reason = before if isinstance(before, str) else str(edited)
            return row_of(number, method, record, reason=reason)
        try:
            found = self._measurer.after(record, before)
        except NOT_OF_ONE_EDIT:
            raise
        except RomeWidgetsError as error:
            return row_of(number, method, record, reason=str(error))
        return row_of(number, method, record, **edited.shown, **found.shown)

    def before(self, number: int, record: FactRecord) -> Measured | str:
        """What the unedited model gives, measured once; or why it cannot be asked."""
        if number not in self._before:
            try:
                self._before[number] = self._measurer.before(record)
            except NOT_OF_ONE_EDIT:
                raise
            except RomeWidgetsError as error:
                self._before[number] = str(error)
        return self._before[number]


@needs_memory("evaluate the edits")
@undisturbed
def _rows_of(evaluator: RecordEvaluator, asked: Sequence[AskedRecord]) -> list[EvaluatedEdit]:
    return [row for each in asked for row in evaluator.rows(each)]


def row_of(number: int, method: str, record: FactRecord, **more: Any) -> EvaluatedEdit:
    """A row about this record."""
    names = ("subject", "target", "id", "relation")
    about = {name: getattr(record, name) for name in names}
    new = record.target_new or ""
    return EvaluatedEdit(number, method, record.text, target_new=new, **about, **more)
