"""Hooks act in their own call only, and nothing stays attached."""

import pytest
import torch

from rome_widgets.model import hooks
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import tiny
from tests.helpers.model_guard import attached_hooks, changes, fingerprint, settle


def doubling(seen):
    return seen.output * 2


def test_a_visitor_replaces_the_output_and_is_gone_afterwards():
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    plain = layer(x)
    assert torch.equal(run_hooked(lambda: layer(x), [(layer, doubling)]), plain * 2)
    assert torch.equal(layer(x), plain)
    assert attached_hooks(layer) == []


def test_a_visitor_that_returns_nothing_changes_nothing():
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    assert torch.equal(run_hooked(lambda: layer(x), [(layer, lambda seen: None)]), layer(x))


def test_visitors_of_one_module_run_in_order():
    layer, x = torch.nn.Identity(), torch.ones(1)
    both = run_hooked(
        lambda: layer(x), [(layer, lambda s: s.output + 1), (layer, lambda s: s.output * 10)]
    )
    assert both == 20


class _Tuple(torch.nn.Module):
    def forward(self, x):
        return x, "weights"


def test_the_rest_of_a_tuple_passes_through():
    module = _Tuple()
    assert run_hooked(lambda: module(torch.ones(1)), [(module, doubling)]) == (2, "weights")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["call", "visitor"])
def test_nothing_stays_attached_whatever_is_raised(error, where):
    layer = torch.nn.Linear(3, 2)

    def fail(*_):
        raise error

    call = fail if where == "call" else lambda: layer(torch.ones(3))
    visitor = fail if where == "visitor" else doubling
    with pytest.raises(error):
        run_hooked(call, [(layer, visitor)])
    assert attached_hooks(layer) == []
    assert hooks._current.get() is None


def test_an_interrupt_while_hooks_are_taken_off_leaves_none(monkeypatch):
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    interrupts = [KeyboardInterrupt()]
    detach = hooks._detach

    def interrupted_once(reference):
        if interrupts:
            raise interrupts.pop()
        detach(reference)

    monkeypatch.setattr(hooks, "_detach", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        run_hooked(lambda: layer(x), [(layer, doubling)])
    assert attached_hooks(layer) == []


def test_a_hook_left_by_two_interrupts_is_inert_and_swept_by_the_next_call(monkeypatch):
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    plain = layer(x)

    def interrupted(reference):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hooks, "_detach", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_hooked(lambda: layer(x), [(layer, doubling)])
    assert len(attached_hooks(layer)) == 1
    assert torch.equal(layer(x), plain)
    run_hooked(lambda: None, [])
    assert attached_hooks(layer) == []


@pytest.mark.parametrize("interrupts", range(4))
def test_a_step_is_done_through_interrupts_which_then_go_on(interrupts):
    waiting, done = [KeyboardInterrupt] * interrupts, []

    def step():
        done.clear()
        if waiting:
            raise waiting.pop()
        done.append(True)

    if interrupts:
        with pytest.raises(KeyboardInterrupt):
            hooks.surely(step)
    else:
        hooks.surely(step)
    assert done == [True]


def test_a_users_own_hook_stays():
    lm = tiny.tiny_lm()
    seen = []
    handle = lm.model.transformer.h[0].register_forward_hook(lambda *_: seen.append(1))
    CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=Noise.absolute(1.0)).trace("mlp")
    assert seen
    assert len(attached_hooks(lm.model)) == 1
    handle.remove()


def test_a_hook_that_another_thread_took_off_midway_is_harmless():
    """torch then calls it without the keyword arguments it was registered for."""
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    plain = layer(x)

    def unregister(*_):
        layer._forward_hooks_with_kwargs.clear()

    first = layer.register_forward_hook(unregister)
    changed = run_hooked(lambda: layer(x), [(layer, doubling)])
    first.remove()
    assert torch.equal(changed, plain * 2)


# ------------------------------------------------------ the fixture that watches would notice


def test_the_watch_notices_a_hook_left_behind():
    lm = tiny.tiny_lm()
    handle = lm.model.lm_head.register_forward_hook(lambda *_: None)
    assert any("hooks left behind" in sentence for sentence in changes())
    handle.remove()
    assert changes() == []


def test_the_watch_notices_a_second_hook_beside_a_users_own():
    model = tiny.tiny_model("gpt2")
    own = model.lm_head.register_forward_hook(lambda *_: None)
    lm = LanguageModel(model, tiny.word_tokenizer())
    assert changes() == []
    second = lm.model.lm_head.register_forward_hook(lambda *_: None)
    assert any("hooks left behind" in sentence for sentence in changes())
    second.remove()
    own.remove()


def test_the_watch_holds_models_made_inside_a_test():
    tiny.tiny_lm().model.lm_head.weight.data += 1
    assert any("a weight" in sentence for sentence in changes())
    settle()


def test_the_watch_notices_one_changed_bit():
    lm = tiny.tiny_lm()
    weight = lm.model.transformer.h[1].mlp.c_proj.weight.data
    before, whole = weight[0, 0].clone(), fingerprint(lm.model)
    weight[0, 0] = torch.nextafter(before, torch.tensor(9.0))
    assert any("a weight" in sentence for sentence in changes())
    weight[0, 0] = before
    assert fingerprint(lm.model) == whole
