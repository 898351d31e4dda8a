"""Files of traces and of restorations."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save

import rome_widgets as rw
from rome_widgets.errors import SaveFailed, TraceFileError
from rome_widgets.files import checksummed_file, trace_file
from rome_widgets.records.states import KINDS
from rome_widgets.records.trace import CausalTrace, WholeAnswer
from tests.helpers.counts import ALTERED_FILES
from tests.helpers.records import make_trace, restoration_of


def test_a_saved_trace_comes_back_the_same(tmp_path):
    trace = make_trace()
    back = rw.load_trace(trace.save(tmp_path / "trace.safetensors"))
    assert (tmp_path / "trace.safetensors").stat().st_mode & 0o444 == 0o444
    for field in dataclasses.fields(CausalTrace):
        before, after = getattr(trace, field.name), getattr(back, field.name)
        if field.name == "scores":
            assert all(np.array_equal(before[kind], after[kind]) for kind in KINDS)
        elif field.name == "recorded":
            assert all(
                np.array_equal(a, b) for a, b in zip(before["mlp"], after["mlp"], strict=True)
            )
        else:
            assert before == after, field.name


def save_in_version_1(trace, path):
    """As traces were written before there were estimates, and one container for all files."""
    left_out = {"scores", "recorded", "estimated", "whole", "metric", "against", "against_id"}
    header = {name: value for name, value in vars(trace).items() if name not in left_out}
    text = json.dumps(header)
    arrays = {f"scores.{kind}": grid for kind, grid in trace.scores.items()}
    digest = trace_file._digest_of_version_1(text, arrays)
    path.write_bytes(save(arrays, {"rome_widgets.trace": "1", "header": text, "sha256": digest}))
    return path


def test_an_estimate_stays_one_and_files_from_before_there_were_any_are_exact(tmp_path):
    path = make_trace(estimated=True).save(tmp_path / "trace")
    assert rw.load_trace(path).estimated
    assert "estimate" in repr(rw.load_trace(path))
    old = save_in_version_1(make_trace(), tmp_path / "old")
    assert b'"estimated"' not in old.read_bytes()
    assert rw.load_trace(old).estimated is False


WHOLE = WholeAnswer("New York", (" New", " York"), 0.25, 2.5e-11)


def test_a_whole_answer_is_kept_and_files_from_before_there_were_any_have_none(tmp_path):
    path = make_trace(whole=WHOLE).save(tmp_path / "trace")
    assert rw.load_trace(path).whole == WHOLE
    assert rw.load_trace(make_trace().save(tmp_path / "one")).whole is None
    restored = WHOLE._replace(restored=0.125)
    restoration = dataclasses.replace(restoration_of("x"), whole=restored)
    assert rw.load_restoration(restoration.save(tmp_path / "restoration")).whole == restored
    old = rw.load_trace(save_in_version_1(make_trace(), tmp_path / "old"))
    assert old.whole is None


DIFFERENCE = {
    "metric": "logit_difference",
    "against": " e",
    "against_id": 3,
    "clean": 3.5,
    "corrupted": -2.0,
    "scores": {"mlp": np.full((4, 3), -1.5)},
    "recorded": {},
}


def test_another_metric_and_another_subject_are_kept(tmp_path):
    noise = {"text": "“X” in its place", "subject": "X"}
    trace = make_trace(**DIFFERENCE, noise=noise, seed=None, samples=1)
    back = rw.load_trace(trace.save(tmp_path / "trace"))
    for name in ("metric", "against", "against_id", "clean", "corrupted", "noise"):
        assert getattr(back, name) == getattr(trace, name)
    assert np.array_equal(back.scores["mlp"], trace.scores["mlp"])
    measured = {"metric": "logprob", "measured": (-0.5, -3.5, -1.25)}
    restored = dataclasses.replace(restoration_of("x"), **measured)
    again = rw.load_restoration(restored.save(tmp_path / "restoration"))
    assert (again.metric, again.measured) == ("logprob", (-0.5, -3.5, -1.25))


def test_files_from_before_there_were_metrics_are_of_probabilities(tmp_path):
    old = rw.load_trace(save_in_version_1(make_trace(), tmp_path / "old"))
    assert (old.metric, old.against, old.against_id) == ("probability", "", None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clean": 1.5}, "A probability is 1.5"),
        ({"corrupted": float("nan")}, "corrupted is nan"),
        ({"metric": "logprob", "clean": 0.5, "corrupted": -1.0}, "A log-probability is 0.5"),
        ({"metric": "logprob", "clean": -0.5, "corrupted": -1.0}, "scores.hidden has values"),
        (DIFFERENCE | {"against_id": None}, "The id of the second answer is None"),
        ({"against_id": 3}, "The id of the second answer is 3 of probability"),
        ({"metric": "logits"}, "metric is 'logits'"),
    ],
)
def test_numbers_that_are_not_of_the_metric_are_refused(tmp_path, changes, words):
    path = make_trace(**changes).save(tmp_path / "trace")
    with pytest.raises(TraceFileError, match=words):
        rw.load_trace(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measured": (0.5, 0.1, 0.2)}, "measured is"),
        ({"metric": "logprob"}, "measured is None"),
        ({"metric": "logprob", "measured": (0.5, -1.0, -2.0)}, "A log-probability is 0.5"),
    ],
)
def test_a_restoration_measures_what_it_says(tmp_path, changes, words):
    path = dataclasses.replace(restoration_of("x"), **changes).save(tmp_path / "restoration")
    with pytest.raises(TraceFileError, match=words):
        rw.load_restoration(path)


def test_a_partial_trace_keeps_its_holes(tmp_path):
    scores = {"mlp": np.full((4, 3), np.nan)}
    back = rw.load_trace(make_trace(scores=scores).save(tmp_path / "t"))
    assert not back.complete
    assert np.isnan(back.scores["mlp"]).all()


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = make_trace().save(tmp_path / "trace")
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(SaveFailed, match="No space left"):
        make_trace(clean=0.5).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_every_flipped_bit_is_refused(tmp_path):
    path = make_trace().save(tmp_path / "trace")
    blob = path.read_bytes()
    random = np.random.RandomState(1)
    for _ in range(ALTERED_FILES):
        damaged = bytearray(blob)
        damaged[random.randint(len(blob))] ^= 1 << random.randint(8)
        path.write_bytes(damaged)
        with pytest.raises(TraceFileError):
            rw.load_trace(path)


@pytest.mark.parametrize("blob", [b"", b"x", b"\xff" * 9, b"{}", b"\x00" * 100])
def test_what_is_no_trace_file_is_refused(tmp_path, blob):
    (tmp_path / "trace").write_bytes(blob)
    with pytest.raises(TraceFileError, match=r"A rome_widgets\.trace file was wanted"):
        rw.load_trace(tmp_path / "trace")


def test_a_torn_or_missing_file_is_refused(tmp_path):
    path = make_trace().save(tmp_path / "trace")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TraceFileError):
        rw.load_trace(path)
    with pytest.raises(TraceFileError, match="cannot be read"):
        rw.load_trace(tmp_path / "absent")


def test_a_trace_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_file, "TRACE", trace_file.TRACE._replace(version="99"))
    path = make_trace().save(tmp_path / "trace")
    monkeypatch.undo()
    with pytest.raises(TraceFileError, match="version '99'"):
        rw.load_trace(path)


def test_a_saved_restoration_comes_back_the_same(tmp_path):
    restoration = restoration_of("x\ud800")
    back = rw.load_restoration(restoration.save(tmp_path / "restoration"))
    for field, value in vars(restoration).items():
        assert np.array_equal(getattr(back, field), value), field
    assert back.top(3) == restoration.top(3)
    with pytest.raises(TraceFileError, match=r"'rome_widgets\.restoration'"):
        rw.load_trace(tmp_path / "restoration")


def test_files_that_are_sealed_and_nonsense_are_refused(tmp_path):
    path = restoration_of("x").save(tmp_path / "restoration")
    header, arrays = checksummed_file.read(path, trace_file.RESTORATION)
    for kind, load in (
        (trace_file.RESTORATION, rw.load_restoration),
        (trace_file.TRACE, rw.load_trace),
    ):
        for head, some in (({}, arrays), ({**header, "states": 3}, arrays), (header, {})):
            checksummed_file.write(path, kind, head, some)
            with pytest.raises(TraceFileError, match="does not hold what was wanted"):
                load(path)


def test_a_recorded_trace_opens_where_torch_cannot_be_imported(tmp_path):
    path = make_trace().save(tmp_path / "trace")
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import rome_widgets as rw\n"
        f"trace = rw.load_trace({str(path)!r})\n"
        "trace.to_frame(); rw.TraceGrid(trace)\n"
        "print(trace.answer)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == " d\n"
