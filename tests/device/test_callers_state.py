"""The caller's own devices and precisions change nothing, and nothing of ours changes them."""

import contextlib

import pytest
import torch

from tests.helpers import counts
from tests.helpers.engine_steps import Steps, difference, lm_of
from tests.helpers.torch_state import deterministic

STATES = {
    "autocast on the device": lambda: torch.autocast("cuda", dtype=torch.float16),
    "autocast on the CPU": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "the device by default": lambda: torch.device("cuda:0"),
    "the other device by default": lambda: torch.device("cuda:1"),
    "the CPU by default": lambda: torch.device("cpu"),
    "the other device current": lambda: current(1),
    "deterministic algorithms": lambda: deterministic(),
    "inference mode": torch.inference_mode,
}
FULL = [(name, device) for name in STATES for device in ("cpu", "cuda")]
QUICK = [
    ("autocast on the device", "cuda"),
    ("autocast on the CPU", "cuda"),
    ("the device by default", "cpu"),
    ("the CPU by default", "cuda"),
    ("the other device by default", "cuda"),
    ("deterministic algorithms", "cuda"),
]
"""What the caller left, and where the model is."""


@contextlib.contextmanager
def current(device):
    torch.cuda.set_device(device)
    try:
        yield
    finally:
        torch.cuda.set_device(0)


def state():
    """All of it that a thread can see."""
    return (
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.cuda.current_device(),
        torch.is_autocast_enabled("cuda"),
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cuda.matmul.fp32_precision,
    )


def results(device, folder, around=contextlib.nullcontext):
    """What every step gives, or the type of its refusal."""
    steps, found = Steps(lm_of("gpt2", device), folder), {}
    for name in counts.STATE_STEPS or [n for n in vars(Steps) if not n.startswith("_")]:
        with around():
            before = state()
            found[name] = getattr(steps, name)()
            assert state() == before, f"{name} changed the caller's state"
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the steps give by themselves."""
    return results("cpu", tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(("name", "device"), FULL if counts.FULL else QUICK)
def test_the_callers_state_changes_no_result_and_is_left(plain, name, device, tmp_path):
    wanted, found = plain, results(device, tmp_path, STATES[name])
    off = {step: difference(wanted[step], found[step]) for step in wanted}
    assert {step: worst for step, worst in off.items() if not worst <= 1e-5} == {}
