"""Results as traits: JSON for the words, float32 for the grid. NaN never reaches JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeVar, cast

import numpy as np
import traitlets as t

from rome_widgets.errors import ArgumentError, said
from rome_widgets.records.numbers import as_float, as_whole, plain
from rome_widgets.records.states import Kind, State
from rome_widgets.records.trace import (
    CausalTrace,
    Prediction,
    Restoration,
    WholeAnswer,
    recovery,
)
from rome_widgets.records.trace_metric import Metric

MOST_NUMBER = 1 << 64
"""A whole number beyond it is none that a page, or JSON, can hold."""
MOST_DEPTH = 32
"""Lists and mappings within each other; what a widget shows has eight levels or so."""
ROWS = 8
"""Next tokens shown per restoration."""


@dataclass(frozen=True)
class RecordedRestoration:
    """What a recorded trace says of one of its cells: no model is asked.

    As a `Restoration`, of which it has everything but the whole distributions.
    """

    states: tuple[State, ...]
    """Those that the cell restored."""
    answer: str
    clean: float
    corrupted: float
    score: float
    """The metric of the trace, by default the answer's probability, with the states restored."""
    rows: tuple[Prediction, ...] = ()
    """The likeliest next tokens, where they were recorded."""
    whole: WholeAnswer | None = None
    """Of an answer of several tokens, nothing: it takes the model to know it."""
    metric: Metric = "probability"

    @property
    def probability(self) -> float | None:
        """Of the answer, with the states restored; None where another metric was recorded."""
        return self.score if self.metric == "probability" else None

    @property
    def recovery(self) -> float:
        """Share of the total effect that came back; see `Restoration.recovery`."""
        return recovery(self.score, self.clean, self.corrupted)

    def top(self, k: int = 10) -> list[Prediction]:
        """The `k` likeliest next tokens that were recorded."""
        return list(self.rows[:k])

    def named(self, most: int) -> list[Prediction]:
        """The likeliest next tokens of which the text is known, at most so many."""
        return self.top(most)


class Number(t.CFloat):
    """A trait that is a finite number, however it is written: what "nan" casts to is none."""

    def validate(self, obj: Any, value: Any) -> float | None:
        """The number."""
        value = super().validate(obj, value)
        if value is not None and not math.isfinite(value):
            raise t.TraitError(f"{said(value)} is not a finite number.")
        return value


def is_deep(value: Any) -> bool:
    """Whether lists and mappings are within each other deeper than anything a widget holds."""
    level = [value]
    for _ in range(MOST_DEPTH):
        inside = {
            id(each): each
            for outer in level
            if isinstance(outer, (list, tuple, Mapping))
            for each in (outer.values() if isinstance(outer, Mapping) else outer)
        }
        level = list(inside.values())
    return bool(level)


def fitting(kind: t.TraitType[Any, Any], value: Any) -> Any:
    """A value as Python has it, for a trait of this kind.

    A number of any library is a number, and their arrays are lists; a boolean is no number, nor is
    what is not finite. Nothing goes deeper than `MOST_DEPTH`.

    Raises:
        TraitError: It cannot be read, is too deep, or is no number where one was wanted.
    """
    try:
        value = plain(value)
    except ArgumentError as error:
        raise t.TraitError(str(error)) from None
    if is_deep(value):
        raise t.TraitError(f"Lists are within each other more than {MOST_DEPTH} times.")
    if not isinstance(kind, (t.Int, t.Float)) or value is None or isinstance(value, str):
        return value
    if isinstance(kind, t.Int) and isinstance(value, int) and as_whole(value) is not None:
        fits = abs(value) < MOST_NUMBER
    else:
        fits = math.isfinite(as_float(value))
    if not fits:
        raise t.TraitError(f"{said(value)} is not a finite number.")
    return value


Record = TypeVar("Record")


def record_trait(kind: type[Record], help: str) -> t.Instance[Record | None]:
    """A trait that holds a result as its record, or None: to be read and observed, in Python."""
    return cast("Any", t.Instance)(kind, allow_none=True, read_only=True, help=help)


def number(value: float | None) -> float | None:
    """A float that JSON can hold: None for NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def text(value: str) -> str:
    """Text that UTF-8 can hold: half of a surrogate pair is written out."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def encodable(value: Any) -> Any:
    """A value as JSON has it: `text`, `number`, lists, and of a record the fields by name."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return {encodable(key): encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(each) for each in value]
    return fields_of(value) if is_dataclass(value) else value


def fields_of(record: Any, *without: str) -> dict[str, Any]:
    """The fields of a record as JSON, but for these."""
    return {name: encodable(each) for name, each in vars(record).items() if name not in without}


def describe_trace(trace: CausalTrace) -> dict[str, Any]:
    """The `_trace` trait: everything about a trace except its numbers."""
    return {
        **fields_of(trace, "token_ids", "scores", "recorded", "recorded_tokens", "estimated"),
        "notes": encodable(trace.remarks),
        "kinds": list(trace.kinds),
        "windows": {kind: int(trace.windows.get(kind, 1)) for kind in trace.kinds},
        "noise": str(trace.noise.get("text", "")),
        "other_subject": text(str(trace.noise.get("subject", ""))),
        "baseline": describe_rows(trace.baseline),
        "whole": _whole(trace.whole),
        "ms": None,
        "settings": None,
    }


def pack_scores(scores: Mapping[Kind, np.ndarray], kinds: Sequence[Kind]) -> bytes:
    """The `scores` trait: float32 `[kind, pos, layer]`, NaN where not computed."""
    if not kinds:
        return b""
    return np.stack([np.asarray(scores[kind]) for kind in kinds]).astype("<f4").tobytes()


def pack_grid(trace: CausalTrace | None) -> tuple[bytes, bytes]:
    """The `scores` and `estimate` traits of a trace: an estimated one has no scores."""
    if trace is None:
        return b"", b""
    packed = pack_scores(trace.scores, trace.kinds)
    if not trace.estimated:
        return packed, b""
    return np.full(len(packed) // 4, np.nan, "<f4").tobytes(), packed


def describe_restoration(
    restoration: Restoration | RecordedRestoration,
    selection: Iterable[State],
    source: str = "exact",
    ms: float | None = None,
    *,
    single: bool = False,
) -> dict[str, Any]:
    """The `_restoration` trait of an answer of the model's own, or of one that was recorded."""
    names = ("answer", "score", "clean", "corrupted", "recovery")
    return {
        **unanswered(selection, None, restoration.states, single),
        **{name: encodable(getattr(restoration, name)) for name in names},
        "rows": describe_rows(restoration.named(ROWS)),
        "whole": _whole(restoration.whole),
        "source": source,
        "ms": ms,
    }


def unanswered(
    selection: Iterable[State],
    message: str | None,
    states: Iterable[State] = (),
    single: bool = False,
) -> dict[str, Any]:
    """The `_restoration` trait where there is a sentence to read and no number.

    `single`: the selection is of single states, not of cells with their windows.
    """
    numbers = dict.fromkeys(("score", "clean", "corrupted", "recovery", "ms"))
    return {
        "selection": encodable([*selection]),
        "single": single,
        "states": encodable([*states]),
        "answer": "",
        **numbers,
        "rows": [],
        "whole": None,
        "source": "cell",
        "message": message,
    }


def _whole(whole: WholeAnswer | None) -> dict[str, Any] | None:
    return None if whole is None else encodable(whole._asdict())


def describe_rows(predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
    """Predictions as JSON."""
    return [encodable(row._asdict()) for row in predictions]
