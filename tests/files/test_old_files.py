"""Files that earlier versions wrote are read as they were."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import rome_widgets as rw
from rome_widgets.errors import TraceFileError

DATA = Path(__file__).parent.parent / "data"
EXPECTED = json.loads((DATA / "old_files.json").read_text("utf-8"))["trace"]


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_a_trace_of_the_first_format_is_what_it_was():
    trace = rw.load_trace(DATA / "trace-1.safetensors")
    assert trace.clean == float.fromhex(EXPECTED["clean"])
    assert {kind: digest(grid) for kind, grid in trace.scores.items()} == EXPECTED["scores"]
    assert {kind: str(grid.dtype) for kind, grid in trace.scores.items()} == EXPECTED["dtype"]
    recorded = {kind: [digest(array) for array in pair] for kind, pair in trace.recorded.items()}
    assert recorded == EXPECTED["recorded"]
    assert [list(row) for row in trace.baseline] == EXPECTED["baseline"]
    assert list(trace.notes) == EXPECTED["notes"]
    assert trace.noise == EXPECTED["noise"]
    assert " ".join(repr(trace).split()) == EXPECTED["repr"]


def test_saved_again_it_is_still_the_same(tmp_path):
    old = rw.load_trace(DATA / "trace-1.safetensors")
    new = rw.load_trace(old.save(tmp_path / "trace"))
    for field, value in vars(old).items():
        if field not in ("scores", "recorded"):
            assert getattr(new, field) == value
    assert {kind: digest(grid) for kind, grid in new.scores.items()} == EXPECTED["scores"]


def test_altered_files_of_the_first_format_are_refused(tmp_path):
    blob, random = (DATA / "trace-1.safetensors").read_bytes(), np.random.RandomState(0)
    for _ in range(50):
        damaged = bytearray(blob)
        damaged[random.randint(len(blob))] ^= 1 << random.randint(8)
        (tmp_path / "trace").write_bytes(damaged)
        with pytest.raises(TraceFileError):
            rw.load_trace(tmp_path / "trace")
