"""An evaluation comes back from its file, and its rows from JSON, bit for bit."""

import json
from dataclasses import replace

import pytest

from rome_widgets.errors import RomeWidgetsError, RunFileError
from rome_widgets.files import checksummed_file
from rome_widgets.files.evaluation_file import (
    EVALUATION,
    EVALUATION_LOG,
    load_evaluation,
    row_from_json,
)
from tests.helpers.records import evaluation_of


@pytest.mark.parametrize("text", ["a <b>", "", "\ud800 ⟨é⟩"])
def test_a_saved_evaluation_comes_back(tmp_path, text):
    found = evaluation_of(text)
    assert load_evaluation(found.save(tmp_path / "evaluation")) == found


def test_a_large_evaluation_comes_back_each_time(tmp_path):
    found = evaluation_of("a text of some length " * 10)
    found = replace(found, rows=found.rows * 1000)
    for _ in range(3):
        assert load_evaluation(found.save(tmp_path / "evaluation")) == found


def test_a_row_comes_back_from_json_bit_for_bit():
    for row in evaluation_of("x").rows:
        row = replace(row, figures=row.figures | {"EM": 0.1 + 0.2})
        assert row_from_json(json.loads(json.dumps(EVALUATION_LOG.to_json(row)))) == row


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", -1),
        ("method", 3),
        ("figures", {"XY": 1.0}),
        ("figures", {"ES": float("nan")}),
        ("figures", {"ES": "1"}),
        ("layers", [0.5]),
        ("norm_ratio", -1.0),
        ("other", 1),
    ],
)
def test_a_field_of_another_kind_is_refused(tmp_path, name, value):
    found = evaluation_of("x")
    stated = vars(found.rows[0]) | {name: value}
    with pytest.raises(RomeWidgetsError):
        row_from_json(json.loads(json.dumps(stated)))
    header = {each: getattr(found, each) for each in found.__dataclass_fields__}
    path = tmp_path / "sealed"
    checksummed_file.write(path, EVALUATION, header | {"rows": [stated]}, {})
    with pytest.raises(RunFileError, match="does not hold"):
        load_evaluation(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = evaluation_of("x").save(tmp_path / "evaluation")
    blob = path.read_bytes()
    path.write_bytes(blob[:90] + bytes([blob[90] ^ 1]) + blob[91:])
    with pytest.raises(RunFileError):
        load_evaluation(path)
