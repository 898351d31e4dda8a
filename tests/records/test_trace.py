"""A trace as a record: effects, frame, chart, file."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rome_widgets as rw
from rome_widgets.errors import SaveFailed, StateError, TraceFileError
from rome_widgets.files import trace_file
from rome_widgets.records.states import KINDS
from rome_widgets.records.trace import CausalTrace, Prediction
from tests.helpers.counts import ALTERED_FILES

PALETTES = Path(rw.__file__).with_name("palettes.json")


def make_trace(**changes):
    random = np.random.RandomState(0)
    fields = {
        "prompt": "a <b> 'c\" is",
        "subject": "<b>",
        "tokens": ("a", " <b>", " 'c\"", " is"),
        "token_ids": (5, 6, 7, 8),
        "subject_span": (1, 2),
        "answer": " d",
        "answer_id": 9,
        "clean": 0.9,
        "corrupted": 0.1,
        "scores": {kind: random.rand(4, 3) for kind in KINDS},
        "windows": {"hidden": 1, "mlp": 2, "attn": 2},
        "n_layers": 3,
        "samples": 10,
        "seed": 1,
        "noise": {"text": "3 × σ", "std": 0.3},
        "model": "tiny",
        "notes": ("one note",),
        "recorded": {"mlp": (np.zeros((4, 3, 2), np.int32), np.zeros((4, 3, 2), np.float32))},
        "recorded_tokens": {0: "⟨F0⟩"},
        "baseline": (Prediction(" d", 9, 0.9, 0.1, 0.1),),
    }
    return CausalTrace(**(fields | changes))


def test_effects_are_differences_to_the_corrupted_run():
    trace = make_trace()
    assert trace.total_effect == pytest.approx(0.8)
    np.testing.assert_allclose(trace.indirect_effect("mlp"), trace.scores["mlp"] - 0.1)


def test_a_trace_is_frozen_down_to_its_arrays():
    trace = make_trace()
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.clean = 0.5
    with pytest.raises(ValueError, match="read-only"):
        trace.scores["mlp"][0, 0] = 1


def test_transposed_scores_are_refused():
    with pytest.raises(StateError, match=r"\(3, 4\).*\(4, 3\) was wanted"):
        make_trace(scores={"mlp": np.zeros((3, 4))})


def test_a_frame_has_a_row_per_kind_position_and_layer():
    trace = make_trace()
    frame = trace.to_frame()
    assert len(frame) == 3 * 4 * 3
    row = frame[(frame.kind == "attn") & (frame.pos == 2) & (frame.layer == 1)].iloc[0]
    assert row.score == trace.scores["attn"][2, 1]
    assert row.indirect_effect == pytest.approx(row.score - 0.1)
    assert row.token == " 'c\""
    assert frame[frame.in_subject].pos.unique().tolist() == [1]


def test_a_chart_has_a_panel_per_kind_on_one_scale_in_the_pages_colours():
    trace = make_trace()
    *panels, legend = trace.chart().to_dict()["hconcat"]
    scales = [panel["encoding"]["color"]["scale"] for panel in panels]
    ends = [0.1, max(0.9, *(grid.max() for grid in trace.scores.values()))]
    light = json.loads(PALETTES.read_text("utf-8"))["light"]
    for kind, scale, stripe in zip(KINDS, scales, legend["layer"], strict=True):
        assert scale["range"] == light[kind], "from its first, near-white colour"
        assert scale["domain"] == pytest.approx(np.linspace(*ends, len(light[kind])).tolist())
        stops = stripe["mark"]["color"]["stops"]
        assert [stop["color"] for stop in stops] == light[kind]
        assert stripe["encoding"]["y"]["scale"]["domain"] == pytest.approx(ends)
    assert all(panel["encoding"]["color"]["legend"] is None for panel in panels)
    assert legend["title"]["text"] == "p(d)"


def test_a_chart_says_what_was_measured_and_how():
    title = make_trace().chart().to_dict()["title"]
    assert title["text"] == ["a <b> 'c\" is → d"]
    said = " ".join(title["subtitle"])
    for word in ("tiny", "p(d): clean 0.9, corrupted 0.1", "3 × σ", "10 samples", "seed 1"):
        assert word in said
    given = make_trace(seed=None, samples=1, prompt="word " * 100).chart().to_dict()["title"]
    assert "seed" not in " ".join(given["subtitle"])
    assert given["subtitle"][-1].endswith("1 sample")
    assert max(map(len, given["text"])) < 60


def test_rows_of_a_chart_that_were_not_computed_keep_their_place():
    scores = {"mlp": np.random.RandomState(0).rand(4, 3)}
    scores["mlp"][:2] = np.nan
    (panel, _) = make_trace(scores=scores, recorded={}).chart().to_dict()["hconcat"]
    assert panel["encoding"]["y"]["scale"]["domain"] == [0, 1, 2, 3]
    assert panel["encoding"]["x"]["scale"]["domain"] == [0, 1, 2]


def test_tokens_never_become_code_in_a_chart():
    spec = json.dumps(make_trace().chart().to_dict()["hconcat"][0]["encoding"]["y"])
    assert "<b>" not in spec
    assert "\\\\u003cb\\\\u003e" in spec


def test_a_chart_of_a_long_prompt_on_a_deep_model_is_drawn():
    tokens = tuple("abcdefgh" * 15)
    wide = {"mlp": np.random.RandomState(0).rand(120, 48)}
    trace = make_trace(tokens=tokens, scores=wide, n_layers=48, recorded={})
    assert '"layer": 47' in trace.chart().to_json(indent=None)


def test_a_trace_says_what_it_is_in_one_line():
    assert len(repr(make_trace())) < 200
    assert make_trace() != make_trace()
    assert hash(make_trace())


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


def test_an_estimate_stays_one_and_files_from_before_there_were_any_are_exact(
    tmp_path, monkeypatch
):
    path = make_trace(estimated=True).save(tmp_path / "trace")
    assert rw.load_trace(path).estimated
    assert "estimate" in repr(rw.load_trace(path))
    before = tuple(name for name in trace_file._PLAIN if name != "estimated")
    monkeypatch.setattr(trace_file, "_PLAIN", before)
    old = make_trace().save(tmp_path / "old")
    monkeypatch.undo()
    assert b'"estimated"' not in old.read_bytes()
    assert rw.load_trace(old).estimated is False


def test_a_chart_says_where_it_is_an_estimate():
    titles = [panel["title"] for panel in make_trace().chart().to_dict()["hconcat"][:-1]]
    assert titles == ["Hidden state", "MLP", "Attention"]
    estimated = make_trace(estimated=True).chart().to_dict()["hconcat"][:-1]
    assert [panel["title"] for panel in estimated] == [f"{title} (estimate)" for title in titles]


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


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(SaveFailed, match="Choose a folder"):
        make_trace().save(tmp_path / "nowhere" / "trace")


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
    with pytest.raises(TraceFileError, match="not a trace file"):
        rw.load_trace(tmp_path / "trace")


def test_a_torn_or_missing_file_is_refused(tmp_path):
    path = make_trace().save(tmp_path / "trace")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TraceFileError):
        rw.load_trace(path)
    with pytest.raises(TraceFileError, match="cannot be read"):
        rw.load_trace(tmp_path / "absent")


def test_a_trace_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rome_widgets.files.trace_file.FORMAT", 99)
    path = make_trace().save(tmp_path / "trace")
    monkeypatch.undo()
    with pytest.raises(TraceFileError, match="format '99'"):
        rw.load_trace(path)


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
