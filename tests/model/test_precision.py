"""The precision of float32 products is read, said and never set."""

import pytest
import torch

import rome_widgets as rw
from rome_widgets.model.precision import precision_notes, reduced_precision
from tests.helpers import tiny, world

CPU = torch.device("cpu")


@pytest.fixture
def precision():
    """Sets one, as the user may, and puts it back."""
    before = torch.backends.mkldnn.matmul.fp32_precision

    def choose(value):
        torch.backends.mkldnn.matmul.fp32_precision = value

    yield choose
    choose(before)


def test_what_is_read_is_what_the_user_set(precision):
    assert reduced_precision(CPU, torch.float32) == ""
    precision("bf16")
    assert reduced_precision(CPU, torch.float32) == "bfloat16"
    precision("tf32")
    assert reduced_precision(CPU, torch.float32) == "TF32"
    assert reduced_precision(CPU, torch.float64) == reduced_precision(CPU, torch.bfloat16) == ""
    assert reduced_precision(torch.device("meta"), torch.float32) == ""
    precision("ieee")
    assert reduced_precision(CPU, torch.float32) == ""


def test_reading_it_leaves_torchs_own_functions_as_they_are():
    before = torch.get_float32_matmul_precision()
    assert precision_notes(CPU, torch.float32) == precision_notes(torch.device("cuda"), None) == []
    assert torch.get_float32_matmul_precision() == before


def test_traces_and_edits_say_in_what_their_passes_may_have_run(precision):
    lm = tiny.tiny_lm()
    assert not any("torch is set" in note for note in tiny.tiny_tracer(lm, samples=1).notes)
    precision("tf32")
    tracer = tiny.tiny_tracer(lm, samples=1)
    edit = world.small_edit(lm, "w3 {} w26", "w14", "w8")
    for told in (tracer.notes, tracer.trace(["hidden"]).notes, edit.report.warnings):
        (note,) = [each for each in told if "torch is set" in each]
        assert "in TF32" in note
        assert 'torch.backends.mkldnn.matmul.fp32_precision = "ieee"' in note
    assert torch.backends.mkldnn.matmul.fp32_precision == "tf32"


def test_a_trace_in_another_precision_is_another_one(precision):
    lm = tiny.tiny_lm()
    one = tiny.tiny_tracer(lm, samples=1)
    precision("tf32")
    assert tiny.tiny_tracer(lm, samples=1)._runs is not one._runs
    precision("none")
    assert tiny.tiny_tracer(lm, samples=1)._runs is one._runs


def test_the_bundled_model_says_nothing_of_it():
    assert rw.load().dtype == torch.float32
