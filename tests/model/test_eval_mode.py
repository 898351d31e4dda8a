"""Running a model leaves its modes and torch's own as they were, whatever happens meanwhile."""

import threading
from contextvars import copy_context
from types import SimpleNamespace

import pytest
import torch

from rome_widgets.errors import ModelChanged
from rome_widgets.model import eval_mode
from rome_widgets.model.eval_mode import device_of, run_in_eval_mode
from rome_widgets.model.hooks import run_hooked
from tests.helpers import tiny
from tests.helpers.interrupts import (  # noqa: F401
    count_places,
    hit_by_place,
    signals_as_before,
    torch_flags,
)
from tests.helpers.model_guard import attached_hooks


def half_in_training():
    model = tiny.tiny_model("gpt2")
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 0
    return model, modes(model)


def modes(model):
    return [module.training for module in model.modules()]


def test_a_model_half_in_training_is_in_eval_mode_meanwhile_and_half_in_training_again():
    model, before = half_in_training()
    inside = run_in_eval_mode(model, lambda: modes(model))
    assert not any(inside)
    assert modes(model) == before
    assert 0 < sum(before) < len(before)


def test_what_ran_partly_in_training_mode_is_refused_and_the_users_mode_stays():
    """Another thread's cell may say `model.train()` in the middle of a pass."""
    model = tiny.tiny_model("gpt2")
    with pytest.raises(ModelChanged, match="in training mode while it ran"):
        run_in_eval_mode(model, model.train)
    assert all(modes(model))
    model.eval()


def test_a_call_within_a_call_does_not_wake_the_model():
    model, before = half_in_training()
    inside = run_in_eval_mode(model, lambda: (run_in_eval_mode(model, lambda: 0), modes(model)))[1]
    assert not any(inside)
    assert modes(model) == before


def test_the_last_of_two_threads_out_puts_the_modes_back():
    model, before = half_in_training()
    inside, seen = threading.Barrier(2), {}
    first_is_out = threading.Event()

    def work(name):
        inside.wait()
        if name == "second":
            first_is_out.wait()
            seen["while the second is in"] = modes(model)

    def run(name):
        run_in_eval_mode(model, lambda: work(name))
        if name == "first":
            first_is_out.set()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(seen["while the second is in"])
    assert modes(model) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_is_raised_all_is_as_before(error):
    model, before = half_in_training()
    flags = torch_flags()

    def fail():
        raise error

    with pytest.raises(error), torch.enable_grad():
        run_in_eval_mode(model, fail)
    assert modes(model) == before
    assert torch_flags() == flags


@pytest.mark.parametrize("gradients", [True, False])
def test_gradients_are_as_asked_for_and_there_is_no_autocast(gradients):
    model = tiny.tiny_model("gpt2")

    def look():
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")

    with torch.set_grad_enabled(not gradients), torch.autocast("cpu", dtype=torch.bfloat16):
        assert run_in_eval_mode(model, look, gradients=gradients) == (gradients, False)
        assert look() == (not gradients, True)


def test_on_cuda_matrices_multiply_in_tf32_meanwhile(monkeypatch):
    model = tiny.tiny_model("gpt2")
    cuda = torch.backends.cuda.matmul
    before = cuda.fp32_precision
    assert run_in_eval_mode(model, lambda: cuda.fp32_precision) == before != "tf32"
    monkeypatch.setattr(eval_mode, "device_of", lambda module: torch.device("cuda"))

    def within():
        run_in_eval_mode(model, lambda: 0)
        return cuda.fp32_precision

    assert run_in_eval_mode(model, within) == "tf32"
    assert cuda.fp32_precision == before


def test_a_module_computes_where_its_weights_are_or_will_be_brought_to():
    layer = torch.nn.Linear(3, 2)
    assert device_of(layer) == device_of(torch.nn.ReLU()) == torch.device("cpu")
    elsewhere = layer.to("meta")
    elsewhere._hf_hook = SimpleNamespace(execution_device="cuda:1")  # as accelerate does
    assert device_of(torch.nn.Sequential(elsewhere)) == torch.device("cuda:1")


def test_numbers_do_not_depend_on_training_mode_grad_or_autocast():
    lm = tiny.tiny_lm("gpt2", scale=40)
    expected = tiny.tiny_tracer(lm).corrupted
    lm.model.train()
    assert tiny.tiny_tracer(lm).corrupted == expected
    assert lm.model.training
    assert all(module.training for module in lm.model.modules())
    lm.model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        assert tiny.tiny_tracer(lm).corrupted == expected
    with torch.inference_mode():
        assert tiny.tiny_tracer(lm).corrupted == expected


def hooked_call(layer):
    x = torch.ones(1, 3)
    visitors = [(layer, lambda seen: seen.output * 2)] * 2
    return run_in_eval_mode(layer, lambda: run_hooked(lambda: layer(x), visitors))


def test_an_interrupt_at_every_single_place_of_one_hooked_call():
    """All that our bookkeeping does around a module call, without a gap."""
    layer, kept = torch.nn.Linear(3, 2).train(), []
    wanted = hooked_call(layer)
    before = (dict(copy_context()), torch_flags())
    places = count_places(hooked_call, layer)
    for place in range(1, places + 1):
        kept.append(hit_by_place(hooked_call, layer, place))
        assert layer.training
        assert attached_hooks(layer) == []
        assert (dict(copy_context()), torch_flags()) == before
        assert torch.equal(hooked_call(layer), wanted)
    assert sum(error is not None for error in kept) >= 0.9 * places > 50
