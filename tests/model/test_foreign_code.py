"""Hooks and forwards are known by where their code was written, not by what it says of itself."""

import functools

from torch import nn
from transformers.models.llama.modeling_llama import LlamaMLP

from rome_widgets.model.foreign_code import foreign_hooks, has_replaced_forward, home_of, name_of
from tests.helpers.library_hooks import as_of_a_library


def nothing(module, args, output):
    return None


def test_foreign_hooks_are_named_and_those_of_libraries_are_left_out():
    module = nn.Linear(2, 2)
    assert list(foreign_hooks(module)) == []
    module.register_forward_hook(as_of_a_library(lambda module, args, output: None))
    assert list(foreign_hooks(module)) == []
    module.register_forward_hook(nothing)
    (found,) = foreign_hooks(module)
    assert found.hook is nothing
    assert found.kind == "forward hook"
    assert found.words == f"the forward hook 'nothing' of {__name__}"


def test_a_forward_is_replaced_until_it_is_put_back():
    module = nn.Linear(2, 2)
    assert not has_replaced_forward(module)
    own = module.forward
    module.forward = lambda x: x
    assert has_replaced_forward(module)
    module.forward = own
    assert not has_replaced_forward(module)


def test_what_wraps_makes_code_say_does_not_count():
    borrowed = functools.wraps(LlamaMLP.forward)(lambda self, x: x)
    assert home_of(borrowed) == __name__
    assert home_of(LlamaMLP.forward).startswith("transformers.models.llama")
    assert "transformers" not in name_of(functools.partial(borrowed, None))
