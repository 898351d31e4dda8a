"""What a trace, a sweep, an edit or an evaluation will cost, before it is run.

What would be run is counted by the code that runs it (`tracing.unit_costs`), and what a piece of
that costs is timed on the spot. Methods of editing are open, and have no formula in common: of
each, one edit of few steps is computed, and no weight is changed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rome_widgets.editing.edit import edit
from rome_widgets.editing.statistics.second_moment import Statistics
from rome_widgets.errors import ArgumentError, OutOfMemory, StateError
from rome_widgets.evaluation.asked_facts import AskedFact, read_facts
from rome_widgets.evaluation.chosen_methods import ChosenMethods, Layer
from rome_widgets.evaluation.measured_record import positions_measured
from rome_widgets.model.language_model import WIDTHS_PER_TOKEN, LanguageModel, check_language_model
from rome_widgets.model.memory import memory_left, needs_memory
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.model.word_scores import asking
from rome_widgets.records.arguments import optional, several, takes, texts, truth
from rome_widgets.records.fact import Fact
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.html import plural
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.plan import Plan, PlannedPart, in_bytes
from rome_widgets.records.states import Kind
from rome_widgets.records.swept_fact import SweptFact
from rome_widgets.tracing.noise import MOST_SAMPLES, default_samples
from rome_widgets.tracing.replayed_waves import CALLS_PER_WAVE, WIDTHS_PER_WAVE
from rome_widgets.tracing.runs import LOGITS_AT_ONCE, Check
from rome_widgets.tracing.tracer import CausalTracer, default_window
from rome_widgets.tracing.unit_costs import Grids, UnitCosts, measure_unit_costs, work_of_prompt
from rome_widgets.tracing.waves import Extent, Work

ASKED = 16
"""Facts, evenly spaced, that the model is asked to see how many it knows."""
PROBE_STEPS = 3
"""Of the edit that is computed to see what a step and the rest cost."""
TYPICAL_ROWS = 8
"""Rows that are asked about an edit at once."""
LEAST_WIDTHS = 8
"""Numbers of d_model width per token without which no block runs: the state, queries, keys and
values, and the MLP's own."""


@takes(methods=optional(texts), severed=truth, known_only=truth)
@needs_memory("plan the run")
@undisturbed
def plan(
    lm: LanguageModel,
    facts: Any,
    kinds: Iterable[Kind] | Literal["all"] = "all",
    *,
    samples: int | None = None,
    window: int | None = None,
    severed: bool = False,
    known_only: bool = True,
    methods: Iterable[str] | None = None,
    layer: Layer | Mapping[str, Layer] = None,
    settings: Mapping[str, Any] | None = None,
    second_moment: Statistics = "identity",
) -> Plan:
    """What a run will cost: passes, seconds and memory; changes nothing.

    One fact is planned as `rome_widgets.trace` of it, a list as `rome_widgets.sweep`. With
    `methods` one fact is planned as `rome_widgets.edit`, a list as `rome_widgets.evaluate`. What
    is measured for it is one pass and one call of a block, or an edit of a few steps by each
    method, so that a plan of a small model takes about a second.

    Args:
        lm: The model.
        facts: A fact, a record, or prompt and subject; or a list of them.
        kinds: As of `rome_widgets.trace`.
        samples: As of `rome_widgets.trace`; 1 where another subject stands in.
        window: As of `rome_widgets.trace`.
        severed: As of `rome_widgets.sweep`.
        known_only: As of `rome_widgets.sweep`: how many the model knows, some of them tell.
        methods: Plan edits by these.
        layer: As of `rome_widgets.edit`, of all methods, or by method.
        settings: By method, as of `rome_widgets.evaluate`.
        second_moment: As of `rome_widgets.edit`, but "identity" by default: statistics are gathered
            once for all, and not part of a plan.

    Raises:
        ArgumentError: No facts, or none that can be read.
        SettingsError: No such method or setting.

    Example:
        >>> some = rw.bundled.facts()[:2]
        >>> rw.plan(lm, some, samples=10).seconds < rw.plan(lm, some, samples=40).seconds
        True
    """
    lm = check_language_model(lm).up_to_date()
    one = _is_one(facts)
    given = [facts] if one else facts if isinstance(facts, str | bytes) else several(facts, "facts")
    read = read_facts(lm, given)
    asked = [fact for fact in read if isinstance(fact, AskedFact)]
    if not asked:
        reason = next(fact.reason for fact in read if isinstance(fact, SweptFact))
        raise ArgumentError(f"No fact can be read. The first: {reason}")
    if methods is not None:
        editing = ChosenMethods(lm, methods, layer, settings, second_moment, 0, None)
        return _plan_edits(editing, given, asked, second_moment, measured=not one)
    cut: tuple[Kind, ...] = tuple(k for k in ("mlp", "attn") if severed and k in lm.kinds)
    grids = Grids(
        lm.check_kinds(kinds),
        default_window(lm.n_layers)
        if window is None
        else whole_number(window, "The window", 1, error=StateError),
        default_samples(lm)
        if samples is None
        else whole_number(samples, "samples", 1, MOST_SAMPLES),
        cut,
    )
    share, known = _known(lm, asked) if known_only and not one else (1.0, "")
    return plan_traces(lm, asked, grids, share, [known] if known else [])


def _is_one(facts: Any) -> bool:
    """A fact by itself, not a list of them."""
    words = isinstance(facts, tuple | list) and len(facts) in (2, 3)
    return isinstance(facts, Fact | Mapping) or (
        words and all(isinstance(each, str) for each in facts)
    )


def _typical_costs(lm: LanguageModel, asked: Sequence[AskedFact], n_rows: int) -> UnitCosts:
    """Of a fact of middle length, of which so many rows go through a pass."""
    typical = sorted(asked, key=lambda fact: len(fact.encoded.ids))[len(asked) // 2]
    return measure_unit_costs(lm, typical.encoded.ids, min(typical.positions), n_rows)


class _Shape(NamedTuple):
    """What the work of a fact depends on.

    A position before the subject costs nothing, unless whole passes are run, or one fact by itself
    has calls of a size by its length.
    """

    length: int
    start: int
    last: int
    """Of the subject; 0 where nothing is severed there."""

    @classmethod
    def of(cls, fact: AskedFact, grids: Grids, *, whole: bool) -> _Shape:
        length, start = len(fact.encoded.ids), min(fact.positions)
        before = 0 if whole else start
        last = fact.positions[-1] - before if grids.severed else 0
        return cls(length - before, start - before, last)


def plan_traces(
    lm: LanguageModel,
    asked: Sequence[AskedFact],
    grids: Grids,
    share: float = 1.0,
    notes: Sequence[str] = (),
    check: Check = lambda: None,
) -> Plan:
    """The plan of a trace, or of a sweep where there are several facts.

    Args:
        lm: The model.
        asked: The facts.
        grids: What is restored.
        share: How many of them are traced.
        notes: What else the figures rest on.
        check: Called on the way; raises where the work should stop.
    """
    alone, costs = len(asked) == 1, _typical_costs(lm, asked, 1 + grids.samples)
    whole = alone or lm.replay is None
    shapes = Counter(_Shape.of(fact, grids, whole=whole) for fact in asked)
    positions = sum(len(fact.encoded.ids) for fact in asked)
    captured, work = positions * (1 + grids.samples) * lm.n_layers, Work()
    for shape, count in shapes.items():
        check()
        extent = Extent(lm.n_layers, shape.length, shape.start)
        one = work_of_prompt(lm, extent, shape.last, grids, costs.vocabulary, alone=alone)
        work += one.times(count)
    rows, heads = round(share * work.block_rows), round(share * work.head_rows)
    parts = (
        PlannedPart(
            "clean and corrupted runs",
            captured,
            captured * costs.pass_row,
            f"{1e6 * costs.pass_row:.3g} µs a row, of a pass timed now",
        ),
        PlannedPart(
            "restored runs",
            rows,
            rows * costs.block_row,
            f"{1e6 * costs.block_row:.3g} µs a row, of a call of a block timed now",
        ),
        PlannedPart(
            "predictions",
            0,
            heads * costs.head_row,
            f"{heads:,} of {1e6 * costs.head_row:.3g} µs, timed now",
        ),
    )
    longest = max(len(fact.encoded.ids) for fact in asked)
    what = "a trace" if alone else f"a sweep of {plural(len(asked), 'fact')}"
    return Plan(
        what,
        lm.name,
        parts,
        memory=_memory(lm, longest, grids, costs.vocabulary, 1 if alone else len(asked)),
        least_memory=least_memory(lm, longest),
        free_memory=memory_left(lm.device),
        notes=(
            "A block row is one position that a block is called on, over all prompts, draws, cells "
            "and layers; the model's checks of itself are not counted.",
            *notes,
        ),
    )


def seconds_of_trace(tracer: CausalTracer) -> float:
    """Seconds that all grids of a tracer's prompt take, from the first cell to the last."""
    lm, start = tracer.lm, min(first for first, _ in tracer.subject_spans)
    grids = Grids(lm.kinds, tracer.window, tracer.samples)
    costs = measure_unit_costs(lm, tracer.token_ids, start)
    extent = Extent(lm.n_layers, len(tracer.token_ids), start)
    work = work_of_prompt(lm, extent, 0, grids, costs.vocabulary, alone=True)
    return work.block_rows * costs.block_row + work.head_rows * costs.head_row


def _known(lm: LanguageModel, asked: Sequence[AskedFact]) -> tuple[float, str]:
    """The share of facts that the model knows, by asking for some, and a note that says so."""
    with_target = [fact for fact in asked if fact.target_id is not None]
    n = min(ASKED, len(with_target))
    some = [with_target[i * len(with_target) // n] for i in range(n)]
    if not some:
        return 1.0, ""
    known = 0
    for numbers, found in asking(lm)([fact.encoded.ids for fact in some]):
        tops = found.argmax(dim=-1).tolist()
        known += sum(some[n].target_id == top for n, top in zip(numbers, tops, strict=True))
    share = 1 - len(with_target) / len(asked) * (1 - known / len(some))
    return share, f"The model knows {known} of {plural(len(some), 'fact')} that it was asked for."


# -------------------------------------------------------------------------------- memory


def least_memory(lm: LanguageModel, length: int) -> int:
    """Bytes without which not even one row of so many positions runs."""
    return length * LEAST_WIDTHS * lm.geometry.d_model * lm.dtype.itemsize


def check_memory(lm: LanguageModel, asked: Sequence[AskedFact], what: str) -> None:
    """Say before anything runs that there is no room for it.

    Raises:
        OutOfMemory: For not even one row of the longest prompt.
    """
    longest = max((len(fact.encoded.ids) for fact in asked), default=0)
    least, left = least_memory(lm, longest), memory_left(lm.device)
    if left is not None and least > left:
        raise OutOfMemory(
            f"There is not memory enough to {what}: {in_bytes(left)} of {lm.device.type} are free.",
            f"{in_bytes(least)} for one row of the longest prompt were wanted; nothing was run.",
            "Free memory, or use shorter prompts or a smaller dtype.",
        )


def _memory(lm: LanguageModel, length: int, grids: Grids, vocabulary: int, n_prompts: int) -> int:
    """Bytes that a run takes at most, by the limits that the engine holds itself to."""
    width = lm.geometry.d_model * lm.dtype.itemsize
    rows = (1 + grids.samples) * length * min(n_prompts, 32)
    captured = rows * 2 * (3 * lm.n_layers + 1) * width
    wave = lm.tokens_in_memory(WIDTHS_PER_WAVE, CALLS_PER_WAVE * lm.tokens_per_call)
    cells = len(grids.kinds) * lm.n_layers * grids.samples * length * min(n_prompts, 32)
    wave = min(wave, cells) * WIDTHS_PER_WAVE * width
    call = lm.tokens_per_call * WIDTHS_PER_TOKEN * width
    logits = min(LOGITS_AT_ONCE, cells * vocabulary) * (lm.dtype.itemsize + 8)
    return captured + wave + call + logits


# --------------------------------------------------------------------------------- edits


def _plan_edits(
    editing: ChosenMethods,
    given: Sequence[Any],
    asked: Sequence[AskedFact],
    second_moment: Statistics,
    *,
    measured: bool,
) -> Plan:
    """The plan of an edit by each method, or of an evaluation, where they are measured, too."""
    lm = editing.lm
    records = [FactRecord.from_record(each) for each in given]
    n = len(records)
    parts = []
    for method in editing.methods:
        seconds, how = _cost_of_edit(editing, records[0], method, second_moment)
        parts.append(PlannedPart(f"{method}: {plural(n, 'edit')}", 0, n * seconds, how))
    if measured:
        costs = _typical_costs(lm, asked, TYPICAL_ROWS)
        rows = lm.n_layers * positions_measured(lm, records, len(editing.methods))
        how = f"{1e6 * costs.pass_row:.3g} µs a row, of a pass timed now; without generation"
        parts.append(PlannedPart("measuring", rows, rows * costs.pass_row, how))
    longest = max(len(fact.encoded.ids) for fact in asked)
    return Plan(
        f"an evaluation of {plural(n, 'record')}" if measured else "an edit",
        lm.name,
        tuple(parts),
        memory=None,
        least_memory=least_memory(lm, longest),
        free_memory=memory_left(lm.device),
        notes=(
            "Statistics of the keys, gathered once for all edits and kept, are not part of it.",
            "An optimisation may end before its steps do; of the questions about what follows only "
            "the fair ones are asked of an edit.",
        ),
    )


def _cost_of_edit(
    editing: ChosenMethods, record: FactRecord, method: str, second_moment: Statistics
) -> tuple[float, str]:
    """Seconds of one edit, from one of few steps, and how they came about."""
    chosen = editing.settings[method]
    steps = getattr(chosen, "steps", None)
    few = chosen if steps is None else chosen.changed({"steps": min(steps, PROBE_STEPS)})
    ends: list[float] = []
    began = time.perf_counter()
    edit(
        editing.lm,
        record,
        method=method,
        layer=editing.layers[method],
        settings=few,
        second_moment=second_moment,
        neighbors=(),
        progress=lambda step: ends.append(time.perf_counter()) if step.phase == "value" else None,
    )
    whole = time.perf_counter() - began
    if steps is None or len(ends) < 2:
        return whole, f"{whole:.2g} s each, of one computed now"
    step = (ends[-1] - ends[0]) / (len(ends) - 1)
    rest = max(0.0, whole - len(ends) * step)
    return rest + steps * step, (
        f"{rest + steps * step:.2g} s each: {steps} steps of {step:.2g} s and {rest:.2g} s for the "
        "rest, of one of few steps computed now"
    )
