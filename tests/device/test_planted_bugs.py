"""Twelve mistakes about devices, put into the package one at a time: each is noticed."""

import gc

import pytest
import torch

from rome_widgets.model import memory
from tests.device import pretend_gpu
from tests.device.planting import planted
from tests.device.test_engine import TOLERANCE
from tests.helpers import tiny
from tests.helpers.engine_steps import Steps, bits, difference, lm_of, spread_lm

PLACES = [0, 0, 0, 1, 1, 1]
BUGS = {
    "prompt left on the CPU": (
        "model.language_model",
        "return torch.tensor(listed, dtype=torch.long, device=self.device)",
        'return torch.tensor(listed, dtype=torch.long, device="cpu")',
        ["restore", "rome", "compare_and_generate"],
    ),
    "ids of the probe left on the CPU": (
        "model.structure.geometry",
        "return ids[None].to(device_of(embedding))",
        "return ids[None]",
        ["attach"],
    ),
    "noise left on the CPU": (
        "tracing.tracer",
        "torch.from_numpy(drawn.values).to(lm.device, lm.dtype)",
        "torch.from_numpy(drawn.values).to(lm.dtype)",
        ["restore"],
    ),
    "places in a batch on the device of another": (
        "tracing.runs",
        "rows, positions = self.rows.to(target.device), self.positions.to(target.device)",
        'rows, positions = self.rows.to("cuda:1"), self.positions.to("cuda:1")',
        ["restore"],
    ),
    "rows of the cache on the device of the ids": (
        "model.replay",
        "rows = rows.to(keys.device)",
        "rows = rows",
        ["spread attach"],
    ),
    "logits on the device of the ids": (
        "model.structure.head",
        "logits = logits.to(raw.device)",
        "logits = logits",
        ["spread attach"],
    ),
    "the target on the default device": (
        "editing.methods.rank_one.value",
        "self._target.to(asked.device).expand",
        "self._target.expand",
        ["rome"],
    ),
    "the second moment factored where it is kept": (
        "editing.statistics.second_moment",
        "_cholesky(self._matrix.to(keys.device), self.ridge)",
        "_cholesky(self._matrix, self.ridge)",
        ["statistics"],
    ),
    "an update that stays on the device": (
        "editing.methods.rank_one.rome",
        "factor.to(site.dtype).cpu()",
        "factor.to(site.dtype)",
        ["rome", "memory"],
    ),
    "an update on the other device": (
        "model.ledger",
        "u, v = self.u.to(like), strength * self.v.to(like)",
        'u, v = self.u.to(like), strength * self.v.to("cuda:1")',
        ["rome"],
    ),
    "TF32 left on": (
        "tracing.tracer",
        "states = [self.cell(*cell) for cell in cells]",
        "states = [self.cell(*cell) for cell in cells]; "
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        ["trace"],
    ),
    "what a shortage left behind kept": (
        "model.memory",
        "found = Lacking((str(error) or type(error).__name__).splitlines()[0])",
        "found = Lacking(str(error)); globals().setdefault('kept', []).append(error)",
        ["shortage"],
    ),
}


def complaint(step, folder):
    """What is noticed in one step; nothing where it does what it does on the CPU."""
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        return _complaint(step, folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
        pretend_gpu.as_new()


def _complaint(step, folder):
    if step == "shortage":
        return _kept_after_a_shortage()
    spread, _, name = step.rpartition(" ")
    on_device = Steps(spread_lm("llama", PLACES) if spread else lm_of("llama", "cuda"), folder)
    if name == "memory":
        return _kept_by_an_edit(on_device)
    on_cpu, weights = Steps(lm_of("llama"), folder / "cpu"), bits(on_device.lm.model)
    on_cpu.folder.mkdir(exist_ok=True)
    off = difference(getattr(on_cpu, name)(), getattr(on_device, name)())
    if not off <= TOLERANCE:
        return f"off by {off}"
    if torch.backends.cuda.matmul.fp32_precision == "tf32":
        return "TF32 is on"
    return "" if bits(on_device.lm.model) == weights else "weights are others"


def _kept_by_an_edit(steps):
    edit = steps._computed("rome", "identity")
    there = [t.device for update in edit.updates for t in update.tensors.values() if t.is_cuda]
    return f"an edit keeps tensors on {there}" if there else ""


def _kept_after_a_shortage():
    gpu, tracer = pretend_gpu.LIBRARY, tiny.tiny_tracer(lm_of("llama", "cuda"), samples=40)
    gc.collect()
    gpu.reset_peak(0)
    used = gpu.used(0)
    tracer.estimate()
    gpu.set_capacity(0, (used + gpu.peak(0)) // 2)
    tracer.estimate()
    gc.collect()
    kept = gpu.used(0) - used
    vars(memory).pop("kept", None)
    return f"{kept} bytes are kept" if kept > 4096 else ""


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_noticed(name, tmp_path):
    module, right, wrong, steps = BUGS[name]
    with planted(module, right, wrong):
        found = [complaint(step, tmp_path) for step in steps]
    assert any(found)


def test_nothing_is_noticed_where_nothing_is_planted(tmp_path):
    steps = sorted({step for *_, steps in BUGS.values() for step in steps})
    assert {step: found for step in steps if (found := complaint(step, tmp_path))} == {}
