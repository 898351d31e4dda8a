"""A model is loaded onto a device, and what cannot be is said in words."""

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import DeviceUnavailable, OutOfMemory

PROMPT, SUBJECT = "The Space Needle is in the city of", "The Space Needle"


def test_the_bundled_model_goes_to_the_first_gpu_and_traces_as_on_the_cpu(bundled_lm):
    lm = rw.load()
    assert lm.device == torch.device("cuda:0")
    assert lm.engine == "replay"
    states = [(3, 2, "hidden"), (6, 3, "mlp")]
    tracers = [rw.CausalTracer(each, PROMPT, SUBJECT, samples=3) for each in (bundled_lm, lm)]
    wanted, found = (tracer.restore(states).distributions for tracer in tracers)
    assert abs(wanted - found).max() <= 1e-5
    fact = rw.bundled.facts()[0]
    edits = [rw.edit(each, fact, settings={"steps": 3}) for each in (bundled_lm, lm)]
    norms = [edit.report.update_norm for edit in edits]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


@pytest.mark.parametrize("device", ["cuda:7", "cuda:-1", "mps", "gpu", 9])
def test_a_device_that_is_not_there_is_said(device):
    with pytest.raises(DeviceUnavailable):
        rw.load(device=device)


def test_a_model_that_does_not_fit_is_said(leave_memory):
    leave_memory(1_000_000)
    with pytest.raises(OutOfMemory, match="does not fit on cuda"):
        rw.load(device="cuda")
