"""Edits of many facts by several methods, measured by all that the field measures them by.

Source:
    Meng et al. 2022, section 3 and table 4; what else there is says where it is from in
    `records.figures` and the modules that compute it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rome_widgets.editing.methods import METHODS
from rome_widgets.editing.statistics.second_moment import Statistics
from rome_widgets.errors import (
    ArgumentError,
    Cancelled,
    ModelChanged,
    RomeWidgetsError,
    SaveFailed,
    SettingsError,
    said,
)
from rome_widgets.evaluation.chosen_methods import ChosenMethods, Layer, digest_of
from rome_widgets.evaluation.kept_run import about_model, kept_rows, write_result
from rome_widgets.evaluation.measured_record import Measurer, MeasurerSettings
from rome_widgets.evaluation.record_evaluator import (
    AskedRecord,
    Edited,
    EvaluationSettings,
    RecordEvaluator,
    evaluate_sent_records,
    row_of,
)
from rome_widgets.evaluation.workers import (
    MOST_TRIES,
    an_executor,
    done_by,
    each_alone,
    shares_memory,
)
from rome_widgets.files.evaluation_file import EVALUATION_LOG, FILE_NAME
from rome_widgets.model.identity_changes import what_else_changed
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.ledger import ledger_of
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.precision import precision_notes
from rome_widgets.model.progress_bar import shows_progress
from rome_widgets.model.recipe import ModelRecipe
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.arguments import (
    Listener,
    a_path,
    callback,
    cancel_flag,
    optional,
    several,
    takes,
    texts,
)
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.evaluation import NONE, EvaluatedEdit, Evaluation, Mode
from rome_widgets.records.fact import Fact
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.trace import CancelFlag

MOST_GENERATED = 2**20
"""Tokens of a text."""
RECORDS_SENT = 2
"""Records that a worker gets at a time: two tell one that workers die of from workers that die of
anything, and more would be lost with a worker."""


@takes(
    methods=texts,
    collapse_texts=optional(texts),
    path=optional(a_path(SaveFailed, "folder")),
    executor=optional(an_executor),
    progress=callback,
    cancel=cancel_flag,
)
@shows_progress("Evaluating", "row")
@needs_memory("evaluate the edits")
@undisturbed
def evaluate(
    lm: LanguageModel,
    records: Iterable[Any],
    methods: Iterable[str] = (next(iter(METHODS)),),
    *,
    layer: Layer | Mapping[str, Layer] = None,
    settings: Mapping[str, Any] | None = None,
    second_moment: Statistics = None,
    mode: Mode = "single",
    generate: int = 0,
    reference_texts: Mapping[str, Iterable[str]] | None = None,
    collapse_texts: Iterable[str] | None = None,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: Listener[CallProgress] = None,
    cancel: CancelFlag | None = None,
) -> Evaluation:
    """Edit the facts of some records by each of some methods, and measure what becomes of them.

    The unedited model is asked the same, once per record: the method "none". Every edit is put into
    the weights while it is measured and taken out again; in the end the model is bit for bit as it
    was, also where the run is cancelled or fails. An edit that fails is a row with its reason.

    Args:
        lm: The model, with whatever edits it carries.
        records: Of facts with their new object: those of `rw.datasets`, or in any form that is
            known. What is measured of each is what it has prompts for. The other facts of its case
            (`along_with`) are edited, too, before it is measured. One that cannot be measured is
            not edited.
        methods: Names of `rome_widgets.methods()`.
        layer: As of `rome_widgets.edit`, of all methods, or by method.
        settings: By method, what `rome_widgets.edit` takes as its settings.
        second_moment: As of `rome_widgets.edit`.
        mode: "single" makes each edit by itself; "sequential" one on top of the other, and measures
            all records once all are made; "batch" has a method write all facts at once, where it
            can: if it refuses one of them, there is no edit, and every row has that reason.
        generate: Tokens of a text that is written, without those of its prompt; 0 for none. What
            follows greedily on the edited prompt is graded. From the record's generation prompts
            texts are drawn, of the five likeliest tokens, for GE and RS; these are not graded.
        reference_texts: By object, texts about things that have it, for RS.
        collapse_texts: Ordinary sentences, whose perplexity is measured beside that of a text the
            model writes itself.
        seed: As of `rome_widgets.edit`, and of the texts that are written.
        path: A folder for the log, in which each row is kept once it is there, and for the result,
            which is written there in the end, also as parquet where pyarrow is installed. Where the
            log of the same evaluation is there, it is gone on with: the figures are bit for bit the
            same on a CPU, and on a GPU where as much memory is free, by which calls are sized.
        executor: Whose workers edit and measure the records, two at a time: a pool of spawned
            processes, or `client.get_executor()` of a Dask client; None: this thread. Each process
            loads the model from where it was loaded here, and edits its own. Figures are the same,
            to the bit where workers compute as this process does (device, versions, threads).
            Records of a worker that dies are sent again, in the end one by one: one that workers
            die of is recorded as failed. A cancel takes back those that nobody has begun.
        progress: Called after each row; None shows a progress bar where it lasts, False none.
        cancel: Checked between steps; stops with `Cancelled`, which carries the evaluation of the
            rows that are there.

    Raises:
        ArgumentError, SettingsError: Bad input; nothing was run.
        StatisticsMissing, OutOfMemory: No edit of this model can be made so.
        ModelChanged: Somebody else changed the model meanwhile.
        SaveFailed: The log cannot be written; what it holds is kept.
        RunChanged: The log is of other records, settings, or another model.
        RunFileError: The log is damaged; it was left as it is.
        StaysHere: Worker processes cannot load the model: it carries edits, or was made here.
        WorkersLost: Workers died and died, or lack what it takes.
        Cancelled: `cancel` was set.

    Example:
        >>> facts = rw.bundled.with_ripples(rw.bundled.facts("test")[:1])
        >>> found = rw.evaluate(lm, facts, ["rome", "ft"], path="my evaluation")
        >>> found.summary()[["S", "ES", "PS", "NS"]].shape
        (3, 4)

    Source:
        Meng et al. 2022, section 3: each edit of a model that carries no other.
    """
    lm = check_language_model(lm).up_to_date()
    editing = ChosenMethods(lm, methods, layer, settings, second_moment, seed, cancel)
    editing.check_mode(mode)
    _check_executor(executor, mode)
    measurer = Measurer(
        lm,
        MeasurerSettings(
            whole_number(generate, "generate", 0, MOST_GENERATED, error=SettingsError),
            _references(reference_texts),
            tuple(collapse_texts or ()),
            editing.seed,
        ),
        editing.check,
    )
    work = _Work(_read_records(records), editing, measurer, mode, executor)
    with work.kept(None if path is None else Path(path)) as kept:
        found = work.run(kept, progress if callable(progress) else lambda step: None)
    if path is not None:
        write_result(found, Path(path), FILE_NAME)
    return found


# ------------------------------------------------------------------------------ what was given


def _read_records(given: Any) -> list[FactRecord | EvaluatedEdit]:
    """Every record; of one that cannot be read, the row that says why."""
    found = [] if isinstance(given, (str, bytes, Fact, Mapping)) else several(given, "records")
    if not found:
        raise ArgumentError(
            f"The records are {said(given)}.", "A list of records of facts was wanted."
        )
    return [_read_record(number, each) for number, each in enumerate(found)]


def _read_record(number: int, given: Any) -> FactRecord | EvaluatedEdit:
    try:
        record = FactRecord.from_record(given)
    except RomeWidgetsError as error:
        return EvaluatedEdit(number, NONE, said(given), "", reason=str(error))
    for each in record.edited_together:
        if not each.target_new:
            which = "The record" if each is record else f"Its along_with {each!r}"
            reason = f"{which} names no new object (target_new)."
            return row_of(number, NONE, record, reason=reason)
    return record


def _references(given: Any) -> Mapping[str, tuple[str, ...]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ArgumentError(
            f"reference_texts is {said(given)}.", "A mapping from objects to texts was wanted."
        )
    return {name: tuple(texts(some, f"reference_texts[{name!r}]")) for name, some in given.items()}


def _check_executor(executor: Executor | None, mode: Mode) -> None:
    if executor is None:
        return
    if shares_memory(executor):
        raise ArgumentError(
            "executor is a pool of threads, which share one model: it carries one edit at a time.",
            "A pool of processes, or of a Dask cluster, was wanted.",
        )
    if mode != "single":
        raise ArgumentError(
            f"There is an executor, and mode is {mode!r}: its edits are all of one model.",
            'An executor with mode="single", or none, was wanted.',
        )


# ------------------------------------------------------------------------------------ the work


class _Work:
    """The rows of one evaluation: those that are not there yet are made."""

    def __init__(
        self,
        records: Sequence[FactRecord | EvaluatedEdit],
        editing: ChosenMethods,
        measurer: Measurer,
        mode: Mode,
        executor: Executor | None,
    ) -> None:
        self._lm, self._records = editing.lm, records
        self._mode: Mode = mode
        self._executor = executor
        self._editing, self._measurer = editing, measurer
        self._evaluator = RecordEvaluator(editing, measurer)
        self._identity = editing.lm.identity
        self._rows = (NONE, *editing.methods)

    def kept(self, folder: Path | None) -> AbstractContextManager[Any]:
        """What keeps the rows: the log of this very evaluation, where there is one."""
        return kept_rows(folder, EVALUATION_LOG, self._about)

    @cached_property
    def _about(self) -> dict[str, Any]:
        """What decides the results, by name; as JSON can hold it."""
        editing = self._editing
        return {
            **about_model(self._lm),
            "records": digest_of(
                [each if isinstance(each, FactRecord) else None for each in self._records]
            ),
            "mode": self._mode,
            "methods": list(editing.methods),
            **{f"settings.{method}": about for method, about in editing.about.items()},
            "second moment": editing.about_statistics,
            **self._measurer.about,
        }

    def run(self, kept: Any, progress: Callable[[CallProgress], object]) -> Evaluation:
        """All rows.

        Raises:
            Cancelled: With the evaluation of what was done.
        """
        total = len(self._records) * len(self._rows)

        def add(row: EvaluatedEdit) -> None:
            if (row.number, row.method) not in kept.done:
                self._check_model()
                kept.add(row)
                progress(CallProgress(len(kept.done), total))

        try:
            for method in self._rows:
                for row in self._records:
                    if isinstance(row, EvaluatedEdit):
                        add(EvaluatedEdit(**{**vars(row), "method": method}))
            if self._mode == "single":
                self._one_by_one(kept.done, add)
            else:
                self._together(kept.done, add)
        except Cancelled:
            partial = self._result(kept.done) if kept.done else None
            raise Cancelled(f"Cancelled after {len(kept.done)} of {total} rows.", partial) from None
        return self._result(kept.done)

    # ------------------------------------------------------------------------------- single

    def _one_by_one(self, done: Mapping[Any, Any], add: Callable[[EvaluatedEdit], None]) -> None:
        """Each edit of a model that carries no other of them."""
        missing = [
            AskedRecord(number, record, methods)
            for number, record in self._facts
            if (methods := self._missing(number, done))
        ]
        if self._executor is not None and missing:
            self._elsewhere(self._executor, missing, add)
            return
        for asked in missing:
            for row in self._evaluator.rows(asked):
                add(row)

    def _elsewhere(
        self,
        executor: Executor,
        missing: Sequence[AskedRecord],
        add: Callable[[EvaluatedEdit], None],
    ) -> None:
        """The same in the workers of an executor, some records at a time."""
        n = RECORDS_SENT
        firsts = range(0, max(1, len(missing) - n + 1), n)
        jobs = [missing[first : first + n] for first in firsts[:-1]]
        jobs.append(missing[firsts[-1] :])  # with the odd one, which by itself tells nothing
        editing = self._editing.sent
        settings = EvaluationSettings(
            editing,
            self._measurer.settings,
            model_name=self._lm.name,
            key=digest_of([self._about, repr(editing["second_moment"])]),
        )
        work = partial(evaluate_sent_records, ModelRecipe.of(self._lm), settings)
        with closing(done_by(executor, work, jobs, self._editing.check, each_alone)) as found:
            for some, rows in found:
                for row in _deadly(some) if rows is None else rows:
                    add(row)

    # ------------------------------------------------------------------ sequential and batch

    def _together(self, done: Mapping[Any, Any], add: Callable[[EvaluatedEdit], None]) -> None:
        """All edits of a method are made before any is measured, and are made again to go on."""
        for number, record in self._facts:
            if self._missing(number, done):
                self._evaluator.before(number, record)
        for number, record in self._facts:
            if (number, NONE) not in done:
                add(self._evaluator.unedited(number, record))
        reasons = {number: done[number, NONE].reason for number, _ in self._facts}
        facts = [(number, record) for number, record in self._facts if not reasons[number]]
        for method in self._editing.methods:
            for number, record in self._facts:
                if reason := reasons[number]:
                    add(row_of(number, method, record, reason=reason))
            missing = [(n, record) for n, record in facts if method in self._missing(n, done)]
            if not missing:
                continue
            with ExitStack() as stack:
                edited = self._edited(method, facts, stack)
                for number, record in missing:
                    self._editing.check()
                    add(self._evaluator.measured_with(number, record, method, edited[number]))

    def _edited(
        self, method: str, facts: Sequence[tuple[int, FactRecord]], stack: ExitStack
    ) -> dict[int, Edited | str]:
        """By record what the model carries of it, or why nothing."""
        if self._mode == "sequential":
            return {
                number: self._evaluator.entered(method, record.edited_together, stack)
                for number, record in facts
            }
        every = [each for _, record in facts for each in record.edited_together]
        entered = self._evaluator.entered(method, [every], stack)
        return {number: entered for number, _ in facts}

    # ------------------------------------------------------------------------------- helpers

    @property
    def _facts(self) -> list[tuple[int, FactRecord]]:
        return [(n, each) for n, each in enumerate(self._records) if isinstance(each, FactRecord)]

    def _missing(self, number: int, done: Mapping[Any, Any]) -> list[str]:
        return [method for method in self._rows if (number, method) not in done]

    def _check_model(self) -> None:
        """What was computed while somebody else changed the model is not kept."""
        edited = ledger_of(self._lm.model).ever_edited
        if changed := what_else_changed(self._identity, self._lm.identity, besides=edited):
            raise ModelChanged(
                f"The model has changed since the evaluation began: {changed}.",
                "The model that it began with was wanted.",
                "Evaluate again, from the start.",
            )

    def _result(self, done: Mapping[Any, EvaluatedEdit]) -> Evaluation:
        places = [(n, method) for n in range(len(self._records)) for method in self._rows]
        settings = {name: asdict(each) for name, each in self._editing.settings.items()}
        return Evaluation(
            rows=tuple(done[place] for place in places if place in done),
            model=self._lm.name,
            methods=self._rows,
            mode=self._mode,
            seed=self._editing.seed,
            settings=settings,
            notes=tuple(precision_notes(self._lm.device, self._lm.dtype)),
        )


def _deadly(some: Sequence[AskedRecord]) -> list[EvaluatedEdit]:
    """The rows of records that workers die of."""
    reason = f"Its worker died, also {MOST_TRIES} times of this record by itself."
    return [
        row_of(asked.number, method, asked.record, reason=reason)
        for asked in some
        for method in asked.methods
    ]
