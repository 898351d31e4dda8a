"""What was wanted of a model: when it is reached, and which files a figure counts for."""

import hashlib

import pytest

from training import evaluate
from training.gates import FILES, Gate, keep, kept_figures, kept_gates, side_by_side


def test_a_gate_says_what_was_wanted():
    assert str(Gate("share", 0.5, 0.6)) == "MISSED   share: 0.5, wanted ≥ 0.6"
    assert str(Gate("share", 0.5, 0.6, at_least=False)) == "reached  share: 0.5, wanted ≤ 0.6"


def test_a_gate_is_not_reached_by_rounding():
    assert not Gate("share", 0.79999, 0.8).reached
    assert not Gate("share", 0.30001, 0.3, at_least=False).reached
    assert not Gate("share", float("nan"), 0.3).reached
    assert not Gate("share", float("nan"), 0.3, at_least=False).reached


@pytest.fixture
def files(tmp_path):
    """A folder that has every file that figures depend on."""
    (tmp_path / "model").mkdir()
    for name in FILES["edits"]:
        (tmp_path / name).write_bytes(b"one")
    return tmp_path


def test_figures_are_kept_by_part_and_put_side_by_side(files):
    keep(files, "knowledge", [Gate("known (city)", 0.5, 0.9)], {})
    keep(files, "traces", [Gate("total effect", 0.8, 0.7)], {})
    assert set(kept_figures(files)["traces"]["sha256"].values()) == {
        hashlib.sha256(b"one").hexdigest()
    }
    assert [gate.reached for gate in kept_gates(files)] == [False, True]
    assert "| known | ≥ 0.9 | 0.5 (missed) |" in side_by_side([files])
    assert {path.name for path in files.glob("figures*")} == {"figures.json"}


@pytest.mark.parametrize("name", FILES["edits"])
def test_figures_count_for_the_files_they_were_measured_of_only(files, name):
    for part in FILES:
        keep(files, part, [Gate(part, 0.5, 0.9)], {})
    assert set(kept_figures(files)) == set(FILES)
    (files / name).write_bytes(b"two")
    assert set(kept_figures(files)) == {part for part in FILES if name not in FILES[part]}
    assert "edits" not in kept_figures(files)
    keep(files, "edits", [], {})
    assert "edits" in kept_figures(files)


def test_the_command_prints_what_is_kept_and_fails_where_it_is_missed(files, ended, capsys):
    assert "Leave --print out" in ended(evaluate, files, "--print")
    keep(files, "traces", [Gate("total effect", 0.8, 0.7)], {})
    assert ended(evaluate, files, "--print") == 0
    keep(files, "edits", [Gate("rome, efficacy", 0.8, 0.9)], {})
    assert ended(evaluate, files, "--print") == 1
    assert "| rome, efficacy | ≥ 0.9 | 0.8 (missed) |" in capsys.readouterr().out
    assert "train --out" in ended(evaluate, files / "nothing")
    (files / "figures.json").write_text("{")
    assert "figures.json is damaged" in ended(evaluate, files, "--print")


@pytest.mark.parametrize("count", ["0", "-3", "few"])
def test_a_number_of_nothing_is_refused(files, ended, capsys, count):
    assert ended(evaluate, files, f"--edits={count}") == 2
    assert f"found '{count}', wanted a whole number of at least 1" in capsys.readouterr().err
