"""The descent: it stops where it should, tells of each pass, and refuses what is not finite."""

from types import SimpleNamespace

import pytest
import torch

from rome_widgets.editing.methods.descent import descend
from rome_widgets.errors import NonFinite, UnsupportedModel
from rome_widgets.records.edit import EditStep
from tests.helpers import world


def made(steps=5, stop_loss=0.0, **more):
    """A task of which a descent needs the settings, the model and whom to tell."""
    told = []
    return SimpleNamespace(
        lm=world.make_lm("gpt2"),
        settings=SimpleNamespace(steps=steps, stop_loss=stop_loss, **more),
        step_done=lambda number, step: told.append((number, step)),
        told=told,
    )


def square(leaf):
    """The loss leaf², and half of it as the target's part."""

    def look():
        loss = (leaf**2).sum()
        now = loss.item()
        return EditStep(now, now / 2, 0.0, 0.0, 0.0, 0.0), loss

    return look


def test_the_leaves_follow_adam_with_one_update_less_than_passes():
    leaf, by_hand = (torch.tensor([3.0], requires_grad=True) for _ in range(2))
    task, stepped = made(), []
    steps, stopped = descend(task, [leaf], 0.1, square(leaf), lambda: stepped.append(leaf.item()))
    optimizer = torch.optim.Adam([by_hand], lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        (by_hand**2).sum().backward()
        optimizer.step()
    assert torch.equal(leaf, by_hand)
    assert (len(steps), len(stepped), stopped) == (5, 4, "steps")
    assert task.told == list(enumerate(steps))


def test_it_stops_at_the_figure_that_counts():
    for stop_on, passes in (({}, 3), ({"stop_on": "nll"}, 1)):
        leaf = torch.tensor([1.0], requires_grad=True)
        task = made(steps=10, stop_loss=0.7, **stop_on)
        steps, stopped = descend(task, [leaf], 0.1, square(leaf))
        assert (len(steps), stopped) == (passes, "loss")


def test_a_leaf_that_the_loss_does_not_know_is_refused():
    leaf, other = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    with pytest.raises(UnsupportedModel, match="No gradient arrives"):
        descend(made(), [leaf, other], 0.1, square(leaf))
    assert leaf.item() == other.item() == 1


def test_what_is_not_finite_is_refused():
    leaf = torch.tensor([float("inf")], requires_grad=True)
    with pytest.raises(NonFinite, match="diverged: its loss is inf"):
        descend(made(), [leaf], 0.1, square(leaf))
    root = torch.tensor([0.0], requires_grad=True)
    with pytest.raises(NonFinite):
        descend(made(), [root], 0.1, lambda: (EditStep(*[0.1] * 6), root.sqrt().sum()))
