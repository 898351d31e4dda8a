"""Visitors act in their own call only, and never on the user's modules."""

import pytest
import torch

from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.hooks import run_hooked, run_until
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.stand_in import standing_in
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import tiny
from tests.helpers.model_guard import attached_hooks, changes, fingerprint, settle


def doubling(seen):
    return seen.output * 2


def hooked(module, x, *visitors, first=()):
    """One call of a module with visitors."""
    pairs, before = [(module, each) for each in visitors], [(module, each) for each in first]
    return run_in_eval_mode(
        module, lambda: run_hooked(lambda: standing_in(module)(x), pairs, first=before)
    )


def test_a_visitor_replaces_the_output_and_is_gone_afterwards():
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    plain = layer(x)
    assert torch.equal(hooked(layer, x, doubling), plain * 2)
    assert torch.equal(layer(x), plain)


def test_the_users_modules_carry_no_hook_meanwhile():
    layer, x, inside = torch.nn.Linear(3, 2), torch.ones(1, 3), []

    def look(seen):
        inside.append(attached_hooks(layer))
        assert torch.equal(layer(x), seen.output)

    hooked(layer, x, look, first=[look])
    assert inside == [[], []]


def test_hooks_of_one_call_are_gone_in_the_next_of_the_same_run():
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)

    def both():
        one = run_hooked(lambda: standing_in(layer)(x), [(layer, doubling)])
        return one, run_hooked(lambda: standing_in(layer)(x), [])

    changed, plain = run_in_eval_mode(layer, both)
    assert torch.equal(changed, 2 * plain)


def test_a_visitor_that_returns_nothing_changes_nothing():
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    assert torch.equal(hooked(layer, x, lambda seen: None), layer(x))


def test_visitors_of_one_module_run_in_order():
    layer, x = torch.nn.Identity(), torch.ones(1)
    assert hooked(layer, x, lambda s: s.output + 1, lambda s: s.output * 10) == 20


def test_visitors_act_after_the_users_hooks_and_the_first_ones_before():
    layer, x = torch.nn.Identity(), torch.ones(1)
    layer.register_forward_hook(lambda module, args, output: output * 10)
    assert hooked(layer, x, lambda s: s.output + 3, first=[lambda s: s.output + 1]) == 23


class _Tuple(torch.nn.Module):
    def forward(self, x):
        return x, "weights"


def test_the_rest_of_a_tuple_passes_through():
    assert hooked(_Tuple(), torch.ones(1), doubling) == (2, "weights")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_is_raised_goes_on(error):
    def fail(*_):
        raise error

    with pytest.raises(error):
        hooked(torch.nn.Linear(3, 2), torch.ones(3), fail)


def test_a_call_ends_where_a_module_is_reached_with_what_enters_it():
    first, second = torch.nn.Linear(3, 2), torch.nn.Linear(2, 4)
    both, other = torch.nn.Sequential(first, second), torch.nn.Linear(1, 1)
    both.idle = other
    x, calls = torch.ones(1, 3), []
    both.forward = lambda x: second(first(x))

    def until(module, *visitors):
        return run_in_eval_mode(
            both, lambda: run_until(module, lambda: standing_in(both)(x), visitors)
        )

    entering = until(second, (first, doubling), (second, calls.append))
    assert torch.equal(entering, first(x) * 2)
    assert not calls
    assert torch.equal(until(other), second(first(x)))
    assert not attached_hooks(both)


def test_a_users_own_hook_stays():
    lm = tiny.tiny_lm()
    seen = []
    handle = lm.model.transformer.h[0].register_forward_hook(lambda *_: seen.append(1))
    CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=Noise.absolute(1.0)).trace("mlp")
    assert seen
    assert len(attached_hooks(lm.model)) == 1
    handle.remove()


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
