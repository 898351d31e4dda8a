"""The file of a trace: safetensors with a JSON header and our own SHA-256.

safetensors alone accepts a flipped bit in the data, so the checksum covers header and tensors.
Reading a file runs no code, and a file appears whole or not at all. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rome_widgets.errors import TraceFileError
from rome_widgets.files.atomic_write import write_whole
from rome_widgets.records.states import KINDS, Kind
from rome_widgets.records.trace import CausalTrace, Prediction

FORMAT = 1
"""Version of the trace file."""


def load_trace(path: str | os.PathLike[str]) -> CausalTrace:
    """Read a trace written by `CausalTrace.save`. Needs no torch.

    Raises:
        TraceFileError: The file is missing, torn, altered, or of another version.
    """
    path = Path(path)
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise TraceFileError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path."
        ) from None
    try:
        return _decode(blob)
    except TraceFileError as error:
        raise TraceFileError(f"{path}: {error.found}", error.wanted, error.remedy) from error
    except Exception as error:  # a hostile file may break any layer below; it gets one name here
        raise TraceFileError(
            f"{path} is not a trace file ({type(error).__name__}).",
            "A file written by CausalTrace.save was wanted.",
        ) from error


def save_trace(trace: CausalTrace, path: str | os.PathLike[str]) -> Path:
    """Write `trace` to one file, whole or not at all; returns the path.

    Raises:
        SaveFailed: Nothing was written; a file that was there before is unchanged.
    """
    path = Path(path)
    write_whole(path, _encode(trace))
    return path


_PLAIN = (
    "prompt",
    "subject",
    "tokens",
    "token_ids",
    "subject_span",
    "answer",
    "answer_id",
    "clean",
    "corrupted",
    "windows",
    "n_layers",
    "samples",
    "seed",
    "noise",
    "model",
    "notes",
    "baseline",
    "estimated",
)
"""Fields of a trace that go into the JSON header as they are."""


def _encode(trace: CausalTrace) -> bytes:
    from safetensors.numpy import save

    header = {name: getattr(trace, name) for name in _PLAIN}
    header["recorded_tokens"] = {str(i): text for i, text in trace.recorded_tokens.items()}
    tensors = {f"scores.{kind}": grid for kind, grid in trace.scores.items()}
    for kind, (ids, probabilities) in trace.recorded.items():
        tensors |= {f"recorded.{kind}.ids": ids, f"recorded.{kind}.probs": probabilities}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    metadata = {"rome_widgets.trace": str(FORMAT), "header": text, "sha256": _digest(text, tensors)}
    return save(tensors, metadata)


def _decode(blob: bytes) -> CausalTrace:
    from safetensors.numpy import load

    tensors = load(blob)
    length = int.from_bytes(blob[:8], "little")
    metadata = json.loads(blob[8 : 8 + length]).get("__metadata__", {})
    version = metadata.get("rome_widgets.trace")
    if version != str(FORMAT):
        raise TraceFileError(
            f"The file states trace format {version!r}.",
            f"Format {FORMAT} was wanted.",
            "Open it with the release that wrote it, or trace again.",
        )
    if metadata["sha256"] != _digest(metadata["header"], tensors):
        raise TraceFileError(
            "The content does not match its SHA-256.",
            "An unaltered file was wanted.",
            "Copy it again, or trace again.",
        )
    header = json.loads(metadata["header"])
    scores: dict[Kind, np.ndarray] = {
        kind: tensors[f"scores.{kind}"] for kind in KINDS if f"scores.{kind}" in tensors
    }
    recorded: dict[Kind, tuple[np.ndarray, np.ndarray]] = {
        kind: (tensors[f"recorded.{kind}.ids"], tensors[f"recorded.{kind}.probs"])
        for kind in KINDS
        if f"recorded.{kind}.ids" in tensors
    }
    header.setdefault("estimated", False)  # Files written before there were estimates.
    plain = {name: header[name] for name in _PLAIN}
    for name in ("tokens", "token_ids", "subject_span", "notes"):
        plain[name] = tuple(plain[name])
    plain["baseline"] = tuple(Prediction(*row) for row in plain["baseline"])
    texts = {int(i): text for i, text in header["recorded_tokens"].items()}
    return CausalTrace(**plain, scores=scores, recorded=recorded, recorded_tokens=texts)


def _digest(header: str, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the header and every tensor's name, dtype, shape and bytes, in name order."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
