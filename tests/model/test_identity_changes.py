"""What is said of two identities that differ; each kind of change is in `test_identity`."""

from torch import nn

from rome_widgets.model.identity_changes import MOST_SAID, what_changed, what_else_changed
from tests.helpers import model_guard, tiny


def test_what_else_changed_looks_at_values():
    lm = tiny.tiny_lm("llama", scale=20)
    before, name = lm.identity, "model.norm.weight"
    norm = lm.model.model.norm
    norm.weight = nn.Parameter(norm.weight.detach().clone())
    assert "replaced or moved" in what_changed(before, lm.identity)
    assert what_else_changed(before, lm.identity, besides=()) == ""
    norm.weight.data.add_(1)
    assert name in what_else_changed(before, lm.identity, besides=())
    assert what_else_changed(before, lm.identity, besides=[name]) == ""
    model_guard.settle()


def test_many_changes_are_counted_and_equal_identities_have_none():
    lm = tiny.tiny_lm("llama", scale=20)
    before = lm.identity
    assert what_changed(before, lm.identity) == ""
    hooks = [lambda module, args, output, n=n: None for n in range(MOST_SAID + 2)]
    handles = [lm.model.model.norm.register_forward_hook(hook) for hook in hooks]
    lm.model.model.norm.weight.data.add_(1)
    said = what_changed(before, lm.identity)
    assert "added to model.norm" in said
    for handle in handles:
        handle.remove()
    assert what_changed(before, lm.identity) == "the weights of model.norm.weight were written"
    model_guard.settle()
