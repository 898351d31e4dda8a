"""A device rounds in ways of its own: the engine stays, results agree, edits are the same bits."""

import copy

import pytest
import torch

import rome_widgets as rw
from tests.device import pretend_gpu
from tests.helpers import counts, tiny
from tests.helpers.engine_steps import EDITED_LAYER, FORM, SETTINGS, Steps, bits, difference, lm_of

TOLERANCES = {"by shape": 1e-4, "TF32": 0.05}
"""Of what is compared or of 1; these models make much of little."""
STEPS = ["attach", "trace", "restore", "sever", "flow", "lens", "rome", "ft", "strength"]


@pytest.fixture(params=TOLERANCES)
def rounding(request):
    """How the device rounds meanwhile."""
    pretend_gpu.LIBRARY.round_by_shape(request.param == "by shape")
    torch.backends.cuda.matmul.fp32_precision = "tf32" if request.param == "TF32" else "none"
    yield request.param
    torch.backends.cuda.matmul.fp32_precision = "none"


@pytest.mark.parametrize("family", counts.SPREAD_FAMILIES)
def test_every_engine_stands_the_roundings_of_a_device(rounding, family, tmp_path):
    on_cpu, there = Steps(lm_of(family), tmp_path), Steps(lm_of(family, "cuda"), tmp_path)
    # Adam's first step is the sign of each gradient, however small: ft makes rounding large.
    steps = [name for name in STEPS if (name, rounding) != ("ft", "TF32")]
    off = {name: difference(getattr(on_cpu, name)(), getattr(there, name)()) for name in steps}
    assert {name: worst for name, worst in off.items() if worst > TOLERANCES[rounding]} == {}
    assert max(off.values()) > 0, "nothing was rounded otherwise"


def test_an_edit_writes_the_same_bits_on_every_device(rounding, tmp_path):
    on_cpu = lm_of("llama")
    edit = rw.edit(
        on_cpu, *FORM.values(), layer=EDITED_LAYER, second_moment="identity", settings=SETTINGS
    )
    path = edit.save(tmp_path / "edit.safetensors")
    there = rw.LanguageModel(copy.deepcopy(on_cpu.model).to("cuda"), tiny.word_tokenizer())
    again = rw.load_edit(there, path)
    for strength in (1.0, 0.3, -2.0):
        edit.strength = again.strength = strength
        with edit, again:
            assert bits(there.model) == bits(on_cpu.model)
            assert there.weights_state().matches


def test_an_applied_edit_comes_off_on_the_device_that_the_model_was_moved_to():
    lm = lm_of("llama")
    before = bits(lm.model)
    edit = rw.edit(
        lm, *FORM.values(), layer=EDITED_LAYER, second_moment="identity", settings=SETTINGS
    )
    edit.apply()
    lm.model.to("cuda:1")
    assert lm.weights_state().matches
    edit.revert()
    assert bits(lm.model) == before
    assert tiny.tiny_tracer(lm).trace("hidden").scores["hidden"].shape == (7, 4)
    lm.model.to("cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_gives_on_the_device_what_it_gives_on_the_cpu(dtype, tmp_path):
    on_cpu, there = (Steps(lm_of("llama", at, dtype=dtype), tmp_path) for at in ("cpu", "cuda"))
    for name in ("trace", "restore", "flow", "rome", "strength"):
        assert difference(getattr(on_cpu, name)(), getattr(there, name)()) <= 0.05, name
