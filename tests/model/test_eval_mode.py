"""A model runs in eval mode, whatever mode the user has it in and wherever an interrupt comes."""

from contextvars import copy_context
from types import SimpleNamespace

import pytest
import torch

from rome_widgets.model.eval_mode import device_of, run_in_eval_mode
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.stand_in import standing_in
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


def test_a_model_half_in_training_runs_in_eval_mode_and_is_half_in_training_meanwhile():
    model, before = half_in_training()
    inside = run_in_eval_mode(model, lambda: (modes(standing_in(model)), modes(model)))
    assert inside == ([False] * len(before), before)
    assert modes(model) == before
    assert 0 < sum(before) < len(before)


def test_the_mode_that_the_user_sets_meanwhile_stays_and_does_not_act():
    model = tiny.tiny_model("gpt2")
    inside = run_in_eval_mode(model, lambda: (model.train(), modes(standing_in(model)))[1])
    assert not any(inside)
    assert all(modes(model))


def test_a_call_within_a_call_runs_the_same_modules():
    model, _ = half_in_training()

    def look():
        return standing_in(model)

    one, other = run_in_eval_mode(model, lambda: (look(), run_in_eval_mode(model, look)))
    assert one is other
    assert run_in_eval_mode(model, look) is not one


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
    return run_in_eval_mode(layer, lambda: run_hooked(lambda: standing_in(layer)(x), visitors))


def disturbed_call(layer):
    """From within all that a caller can have told torch for a thread."""
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
        before = torch_flags()
        try:
            return run_in_eval_mode(layer, lambda: 0)
        finally:
            assert torch_flags() == before


@pytest.mark.parametrize("call", [hooked_call, disturbed_call])
def test_an_interrupt_at_every_single_place_of_one_call(call):
    """All that our bookkeeping does around a module call, without a gap."""
    layer, kept = torch.nn.Linear(3, 2).train(), []
    wanted = hooked_call(layer)
    before = (dict(copy_context()), torch_flags())
    places = count_places(call, layer)
    for place in range(1, places + 1):
        kept.append(hit_by_place(call, layer, place))
        assert layer.training
        assert attached_hooks(layer) == []
        assert (dict(copy_context()), torch_flags()) == before
        assert torch.equal(hooked_call(layer), wanted)
    assert sum(error is not None for error in kept) >= 0.9 * places > 50
