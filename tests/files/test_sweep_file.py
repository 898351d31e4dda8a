"""A sweep comes back from its file, and its facts from JSON, bit for bit."""

import json
from dataclasses import fields

import numpy as np
import pytest

from rome_widgets.errors import RomeWidgetsError, RunFileError
from rome_widgets.files import checksummed_file, sweep_file
from rome_widgets.files.sweep_file import fact_from_json, fact_to_json, load_sweep
from tests.helpers.records import sweep_of

KINDS = ("hidden", "mlp", "attn")


def same_fact(one, other):
    for each in fields(one):
        left, right = getattr(one, each.name), getattr(other, each.name)
        if isinstance(left, dict):
            assert left.keys() == right.keys()
            for kind, grid in left.items():
                np.testing.assert_array_equal(grid, right[kind], strict=True)
        else:
            assert left == right or (left != left and right != right), each.name
    return True


def same_sweep(one, other):
    for each in fields(one):
        if each.name != "facts":
            assert getattr(one, each.name) == getattr(other, each.name), each.name
    return all(map(same_fact, one.facts, other.facts)) and len(one.facts) == len(other.facts)


@pytest.mark.parametrize("text", ["a <b>", "", "\ud800 ⟨é⟩"])
def test_a_saved_sweep_comes_back(tmp_path, text):
    sweep = sweep_of(text)
    assert same_sweep(load_sweep(sweep.save(tmp_path / "sweep")), sweep)


def test_a_fact_comes_back_from_json_bit_for_bit():
    for fact in sweep_of("x").facts:
        again = fact_from_json(json.loads(json.dumps(fact_to_json(fact))), KINDS, 3)
        assert same_fact(again, fact)


def test_a_flipped_bit_or_another_kind_of_file_is_refused(tmp_path):
    path = sweep_of("x").save(tmp_path / "sweep")
    blob = bytearray(path.read_bytes())
    for place in range(0, len(blob), max(1, len(blob) // 60)):
        path.write_bytes(blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :])
        with pytest.raises(RunFileError):
            load_sweep(path)
    with pytest.raises(RunFileError, match="cannot be read"):
        load_sweep(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", -1),
        ("status", "lost"),
        ("subject_span", [2, 9]),
        ("tokens", "abc"),
        ("scores", {"mlp": [[0.1]]}),
        ("severed", {"mlp": [1.0]}),
        ("more", 1),
    ],
)
def test_what_is_no_fact_is_refused(field, value):
    stated = json.loads(json.dumps(fact_to_json(sweep_of("x").facts[0])))
    with pytest.raises(RomeWidgetsError):
        fact_from_json(stated | {field: value}, KINDS, 3)


def test_a_sealed_file_that_does_not_fit_itself_is_refused(tmp_path):
    path = sweep_of("x").save(tmp_path / "sweep")
    header, arrays = checksummed_file.read(path, sweep_file.SWEEP)
    for broken, some in (
        (header | {"n_layers": 4}, arrays),
        (header | {"facts": 3}, arrays),
        (header, {name: grid[1:] for name, grid in arrays.items()}),
        (header, {name: grid for name, grid in arrays.items() if "scores.mlp" not in name}),
    ):
        checksummed_file.write(path, sweep_file.SWEEP, broken, some)
        with pytest.raises(RunFileError, match="does not hold"):
            load_sweep(path)
