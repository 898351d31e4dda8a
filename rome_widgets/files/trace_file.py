"""Files of traces and of restorations. Reading them needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rome_widgets.errors import SaveFailed, TraceFileError, said
from rome_widgets.files import checksummed_file
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.files.schema import (
    NATURAL,
    POSITIVE,
    PROBABILITY,
    ROUNDING,
    Unfit,
    fields_of,
    finite,
    mapping_of,
    number_in_text,
    one_of,
    row,
    several,
    unfit,
)
from rome_widgets.records.arguments import Check, a_path, optional, takes, text
from rome_widgets.records.states import KINDS, Kind, State
from rome_widgets.records.trace import (
    CausalTrace,
    Prediction,
    ReadOnlyArrays,
    Restoration,
    WholeAnswer,
)
from rome_widgets.records.trace_metric import TITLES, Metric

TRACE = FileKind("rome_widgets.trace", TraceFileError, "numpy", version="2", finite=False)
RESTORATION = FileKind("rome_widgets.restoration", TraceFileError, "numpy")

_ARRAYS = ("scores", "recorded", "distributions")
_BY_ID = {"recorded_tokens", "token_texts"}
"""Texts by id, which is text in JSON."""
MOST_SCORE = 1e6
"""Of a logit, and of an estimate, either way."""
SCORES: Mapping[Metric, tuple[float, float]] = {
    "probability": (-ROUNDING, 1 + ROUNDING),
    "logprob": (-MOST_SCORE, ROUNDING),
    "logit_difference": (-MOST_SCORE, MOST_SCORE),
}
"""Between what the scores of each metric are."""

_SPAN = row(NATURAL, NATURAL)
_WHOLE = row(
    text, several(text), PROBABILITY, PROBABILITY, optional(PROBABILITY), makes=WholeAnswer, least=4
)
TRACE_FIELDS: Mapping[str, Check] = {
    "tokens": several(text, 1),
    "token_ids": several(NATURAL),
    "subject_span": _SPAN,
    "subject_spans": several(_SPAN),
    "answer_id": NATURAL,
    "clean": finite(),
    "corrupted": finite(),
    "windows": mapping_of(POSITIVE, one_of(KINDS)),
    "n_layers": POSITIVE,
    "samples": POSITIVE,
    "recorded_tokens": mapping_of(text, number_in_text),
    "baseline": several(row(text, NATURAL, *[PROBABILITY] * 3, makes=Prediction)),
    "whole": optional(_WHOLE),
    "against_id": optional(NATURAL),
}
"""What the fields of a trace must be beyond what `CausalTrace` says."""
RESTORATION_FIELDS: Mapping[str, Check] = {
    "states": several(row(NATURAL, NATURAL, one_of(KINDS), makes=State)),
    "answer_id": NATURAL,
    "token_texts": mapping_of(text, number_in_text),
    "whole": optional(_WHOLE),
    "measured": optional(row(*[finite()] * 3)),
}
"""The same of a `Restoration`."""


def save_record(record: ReadOnlyArrays, path: str | os.PathLike[str]) -> Path:
    """Write a trace or a restoration; see `records.trace.Saved.save`."""
    header = {name: value for name, value in vars(record).items() if name not in _ARRAYS}
    for name in _BY_ID & vars(record).keys():
        header[name] = {str(i): text for i, text in getattr(record, name).items()}
    kind, arrays = RESTORATION, {"distributions": vars(record).get("distributions")}
    if isinstance(record, CausalTrace):
        kind, arrays = TRACE, {f"scores.{kind}": grid for kind, grid in record.scores.items()}
        for name, (ids, probabilities) in record.recorded.items():
            arrays |= {f"recorded.{name}.ids": ids, f"recorded.{name}.probs": probabilities}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return checksummed_file.write(a_path(SaveFailed, "file")(path, "path"), kind, header, arrays)


@takes(path=a_path(TraceFileError, "file"))
def load_trace(path: str | os.PathLike[str]) -> CausalTrace:
    """Read a trace written by `CausalTrace.save`. Needs no torch.

    Raises:
        TraceFileError: The file is missing, torn, altered, or of another version.

    Example:
        >>> rw.load_trace(trace.save("trace.safetensors")).answer
        ' Seattle'
    """
    path = Path(path)
    header, arrays = _read_version_1(path) or checksummed_file.read(path, TRACE)
    try:
        return _trace(header, arrays)
    except Exception as error:  # sealed, yet not what we write: one name for it
        raise unfit(path, error, "CausalTrace.save", TraceFileError) from None


@takes(path=a_path(TraceFileError, "file"))
def load_restoration(path: str | os.PathLike[str]) -> Restoration:
    """Read a restoration written by `Restoration.save`. Needs no torch.

    Raises:
        TraceFileError: The file is missing, torn, altered, or of another version.

    Example:
        >>> path = tracer.restore([(3, 5, "hidden")]).save("restoration.safetensors")
        >>> rw.load_restoration(path).answer
        ' Seattle'
    """
    path = Path(path)
    header, arrays = checksummed_file.read(path, RESTORATION)
    try:
        return _restoration(header, arrays)
    except Exception as error:
        raise unfit(path, error, "Restoration.save", TraceFileError) from None


def _trace(header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> CausalTrace:
    known = fields_of(CausalTrace, header, ("scores", "recorded"), **TRACE_FIELDS)
    n_tokens, shape = len(known["tokens"]), (len(known["tokens"]), known["n_layers"])
    if len(known["token_ids"]) != n_tokens:
        raise Unfit(f"There are {len(known['token_ids'])} ids.", f"{n_tokens} were wanted.")
    for start, stop in (known["subject_span"], *known.get("subject_spans", ())):
        if not start < stop <= n_tokens:
            raise Unfit(f"The subject is [{start}, {stop}).", f"Some of {n_tokens} was wanted.")
    metric = known.get("metric", "probability")
    _check_scores(metric, (known["clean"], known["corrupted"]))
    if (known.get("against_id") is None) == (metric == "logit_difference"):
        raise Unfit(
            f"The id of the second answer is {known.get('against_id')} of {TITLES[metric]}.",
            "One for a difference of logits, and for nothing else, was wanted.",
        )
    least, most = (-MOST_SCORE, MOST_SCORE) if known.get("estimated") else SCORES[metric]
    scores: dict[Kind, np.ndarray] = {
        kind: _numbers(arrays, f"scores.{kind}", shape, least, most)
        for kind in KINDS
        if f"scores.{kind}" in arrays
    }
    if not scores:
        raise Unfit("There are no scores.", f"Those of {', '.join(KINDS)} are known.")
    recorded: dict[Kind, tuple[np.ndarray, np.ndarray]] = {
        kind: (
            _ids(arrays, f"recorded.{kind}.ids", shape),
            _numbers(arrays, f"recorded.{kind}.probs", shape, -ROUNDING, 1 + ROUNDING),
        )
        for kind in KINDS
        if f"recorded.{kind}.ids" in arrays
    }
    for kind, (ids, probabilities) in recorded.items():
        if ids.shape != probabilities.shape:
            raise Unfit(f"recorded.{kind} has other ids.", "One for each probability was wanted.")
    return CausalTrace(**known, scores=scores, recorded=recorded)


def _check_scores(metric: Metric, scores: Iterable[float]) -> None:
    least, most = SCORES[metric]
    for score in scores:
        if not least <= score <= most:
            raise Unfit(
                f"A {TITLES[metric]} is {score:g}.", f"One from {least:g} to {most:g} was wanted."
            )


def _restoration(header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Restoration:
    known = fields_of(Restoration, header, ("distributions",), **RESTORATION_FIELDS)
    found = _numbers(arrays, "distributions", (3,), -ROUNDING, 1 + ROUNDING)
    vocab = found.shape[-1]
    if found.ndim != 2 or np.isnan(found).any():
        raise Unfit("distributions are not probabilities.", "[3, vocab] of them were wanted.")
    metric, measured = known.get("metric", "probability"), known.get("measured")
    if (measured is None) != (metric == "probability"):
        raise Unfit(f"measured is {said(measured)}.", f"What goes with {metric} was wanted.")
    _check_scores(metric, measured or ())
    beyond = [each for each in (known["answer_id"], *known["token_texts"]) if each >= vocab]
    if beyond:
        raise Unfit(f"The id {beyond[0]} has no probability.", f"There are {vocab} of them.")
    if known["answer_id"] not in known["token_texts"]:
        raise Unfit("The answer has no text.", "token_texts was wanted to have it.")
    for state in known["states"]:
        if state.pos >= len(known["tokens"]):
            raise Unfit(f"There is no position {state.pos}.", "One of the tokens was wanted.")
    return Restoration(**known, distributions=found)


def _numbers(
    arrays: Mapping[str, np.ndarray],
    name: str,
    shape: tuple[int, ...],
    least: float,
    most: float,
) -> np.ndarray:
    """An array that begins with these axes, of numbers between these, or NaN."""
    found = _array(arrays, name, shape, "f")
    known = found[~np.isnan(found)]
    if ((known < least) | (known > most)).any():
        raise Unfit(
            f"{name} has values from {known.min():g} to {known.max():g}.",
            f"Numbers between {least:g} and {most:g} were wanted.",
        )
    return found


def _ids(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    found = _array(arrays, name, shape, "iu")
    if (found < 0).any():
        raise Unfit(f"{name} has negative ids.", "Ids from 0 were wanted.")
    return found


def _array(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], kinds: str
) -> np.ndarray:
    found = arrays.get(name)
    if found is None or found.dtype.kind not in kinds or found.shape[: len(shape)] != shape:
        what = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
        raise Unfit(f"{name} is {what}.", f"An array that begins with {list(shape)} was wanted.")
    return found


def _read_version_1(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Header and arrays of a file from before traces shared the container of edits; else None."""
    from safetensors.numpy import load

    try:
        blob = path.read_bytes()
        metadata = checksummed_file.metadata_of(blob)
        if metadata.get("rome_widgets.trace") != "1":
            return None
        arrays = load(blob)
    except Exception:  # whatever is wrong with it, the reader of today's files says it
        return None
    if metadata["sha256"] != _digest_of_version_1(metadata["header"], arrays):
        raise checksummed_file.changed(TRACE)
    header = json.loads(metadata["header"])
    return {"estimated": False} | header, arrays  # the first files were written before estimates


def _digest_of_version_1(header: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
