"""A gradient that does not arrive is an error, never zeros."""

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.gradients import gradients_of
from tests.helpers import tiny
from tests.helpers.library_hooks import as_of_a_library


def test_gradients_are_those_of_torch():
    leaf, other = (torch.tensor([2.0], requires_grad=True) for _ in range(2))
    found = gradients_of((leaf**2 + 3 * other).sum(), [leaf, other])
    assert [float(each) for each in found] == [4, 3]


def test_none_that_is_missing_is_taken_for_zero():
    leaf, other = (torch.tensor([2.0], requires_grad=True) for _ in range(2))
    with pytest.raises(UnsupportedModel, match="No gradient arrives"):
        gradients_of(leaf.sum(), [leaf, other])
    with pytest.raises(UnsupportedModel, match=r"torch\.no_grad\(\)"):
        gradients_of(leaf.detach().sum(), [leaf])


METHODS = {"rome": "w3 {} w26", "r-rome": "w3 {} w26", "ft": "w3 {} w26", "ft-l": "w3 {} w26"}


@pytest.fixture
def cut():
    """A model whose code lets no gradient through its last norm."""
    lm = tiny.tiny_lm()

    def cut_off(module, args, output):
        return output.detach()

    lm.model.transformer.ln_f.register_forward_hook(as_of_a_library(cut_off))
    yield lm
    lm.model.transformer.ln_f._forward_hooks.clear()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_that_the_model_gives_none(cut, method):
    more = {} if method.startswith("ft") else {"second_moment": "identity"}
    with pytest.raises(UnsupportedModel, match="No gradient arrives"):
        rw.edit(cut, METHODS[method], "w14", "w8", method=method, layer=1, **more)


def test_the_estimate_says_that_the_model_gives_none(cut):
    tracer = tiny.tiny_tracer(cut, samples=1)
    with pytest.raises(UnsupportedModel, match="No gradient arrives"):
        tracer.estimate()
