"""What the caller has told torch does not reach the work, and is all there again afterwards."""

import threading
from contextlib import contextmanager

import pytest
import torch

from rome_widgets.model.undisturbed import run_undisturbed, undisturbed
from tests.helpers.interrupts import torch_flags


@contextmanager
def autocast_of(device):
    """Torch's own refuses where there is no such device."""
    torch.set_autocast_enabled(device, True)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, False)


CALLERS = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast of a device that is not there": lambda: autocast_of("cuda"),
    "default device": lambda: torch.device("meta"),
}


def look():
    made = torch.ones(2, 2) @ torch.ones(2, 2)
    flags = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    autocast = [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")]
    return (*flags, *autocast, made.device.type, made.dtype, made.is_inference())


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("caller", CALLERS)
def test_nothing_of_the_callers_reaches_the_work(caller, gradients):
    wanted = (gradients, False, False, False, "cpu", torch.float32, False)
    with CALLERS[caller]():
        before = torch_flags()
        assert run_undisturbed(look, gradients=gradients) == wanted
        assert torch_flags() == before


def test_a_default_device_stays_where_the_model_is_there():
    """Its own code may count on it."""
    with torch.device("meta"):
        found = run_undisturbed(lambda: torch.ones(1).device.type, device=torch.device("meta"))
    assert found == "meta"


def test_other_modes_of_functions_stay():
    class Counting(torch.overrides.TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            Counting.calls += 1
            return func(*args, **(kwargs or {}))

    with torch.device("meta"), Counting():
        assert run_undisturbed(lambda: torch.ones(1).device.type) == "cpu"
        assert torch.ones(1).device.type == "meta"
    assert Counting.calls >= 2


def test_another_thread_sees_none_of_it():
    seen = []

    def work():
        thread = threading.Thread(target=lambda: seen.append(torch_flags()))
        thread.start()
        thread.join()

    thread = threading.Thread(target=lambda: seen.append(torch_flags()))
    thread.start()
    thread.join()
    with torch.inference_mode(), torch.device("meta"):
        run_undisturbed(work, gradients=True)
    assert seen[0] == seen[1]


def test_a_decorated_function_keeps_its_name_and_takes_what_it_takes():
    @undisturbed
    def added(one, *, other):
        """Adds."""
        return one + other, torch.is_grad_enabled()

    with torch.enable_grad():
        assert added(1, other=2) == (3, False)
    assert (added.__name__, added.__doc__) == ("added", "Adds.")
