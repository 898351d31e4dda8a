"""Files of traces and of restorations. Reading them needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rome_widgets.errors import SaveFailed, TraceFileError
from rome_widgets.files import checksummed_file
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.records.arguments import a_path, takes
from rome_widgets.records.states import KINDS, State
from rome_widgets.records.trace import (
    CausalTrace,
    Prediction,
    ReadOnlyArrays,
    Restoration,
    whole_answer,
)

TRACE = FileKind("rome_widgets.trace", TraceFileError, "numpy", version="2", finite=False)
RESTORATION = FileKind("rome_widgets.restoration", TraceFileError, "numpy")

_ARRAYS = ("scores", "recorded", "distributions")
_BY_ID = {"recorded_tokens", "token_texts"}
"""Texts by id, which is text in JSON."""
_TUPLES = ("tokens", "token_ids", "subject_span", "notes")


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
        raise _not_ours(path, error, "CausalTrace.save") from None


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
        header["tokens"] = tuple(header["tokens"])
        header["states"] = tuple(State(*state) for state in header["states"])
        header["whole"] = whole_answer(header.get("whole"))
        header["token_texts"] = {int(i): text for i, text in header["token_texts"].items()}
        return Restoration(**header, **arrays)
    except Exception as error:
        raise _not_ours(path, error, "Restoration.save") from None


def _trace(header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> CausalTrace:
    header |= {name: tuple(header[name]) for name in _TUPLES}
    header["whole"] = whole_answer(header.get("whole"))
    spans = header.get("subject_spans", [header["subject_span"]])  # old files know one mention
    header["subject_spans"] = tuple((int(start), int(stop)) for start, stop in spans)
    header["baseline"] = tuple(Prediction(*row) for row in header["baseline"])
    header["recorded_tokens"] = {int(i): text for i, text in header["recorded_tokens"].items()}
    return CausalTrace(
        **header,
        scores={kind: arrays[f"scores.{kind}"] for kind in KINDS if f"scores.{kind}" in arrays},
        recorded={
            kind: (arrays[f"recorded.{kind}.ids"], arrays[f"recorded.{kind}.probs"])
            for kind in KINDS
            if f"recorded.{kind}.ids" in arrays
        },
    )


def _not_ours(path: Path, error: Exception, maker: str) -> TraceFileError:
    return TraceFileError(
        f"{path} does not hold what was wanted ({type(error).__name__}: {error}).",
        f"A file written by {maker} was wanted.",
    )


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
