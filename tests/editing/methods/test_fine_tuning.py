"""Fine-tuning equals training the parameters; its bound is kept, its settings are its own."""

import pytest
import torch

from rome_widgets.editing.methods import find_editor
from rome_widgets.errors import SettingsError
from tests.helpers import world
from tests.helpers.families import tiny_family
from tests.helpers.world import named, small_edit


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3, text"])
@pytest.mark.parametrize("target", ["w8", "w8 w21 w4"])
def test_fine_tuning_raises_the_target_and_a_bound_is_kept(name, target):
    lm = world.make_lm(name)
    prompt = ("w3 {} w26", "w14 w15", target)
    free = small_edit(lm, *prompt, method="ft", settings={"learning_rate": 0.01})
    assert free.report.steps[-1].nll < free.report.steps[0].nll
    assert free.report.steps[0].norm == 0
    kept = small_edit(
        lm, *prompt, method="ft-l", settings={"learning_rate": 0.01, "max_change": 2e-3}
    )
    weight = lm.model.get_parameter(kept.updates[0].name)
    before = weight.detach().clone()
    with kept:
        change = (weight.detach() - before).abs().max()
    assert 0 < change <= 2e-3 * (1 + 1e-9)


def test_fine_tuning_equals_training_the_parameters():
    lm = world.make_lm("gpt2")
    made = small_edit(lm, "w3 {} w26", "w14 w15", "w8 w21", method="ft", settings={"steps": 4})
    model = tiny_family("gpt2")
    layer = model.transformer.h[1].mlp.c_proj
    start = [layer.weight.detach().clone(), layer.bias.detach().clone()]
    optimizer = torch.optim.Adam([layer.weight, layer.bias], lr=5e-4)
    ids = torch.tensor([[3, 14, 15, 26, 8]])
    for _ in range(3):
        logits = model(input_ids=ids).logits[0].log_softmax(-1)
        loss = -(logits[3, 8] + logits[4, 21]) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for update, parameter, before in zip(
        made.updates, (layer.weight, layer.bias), start, strict=True
    ):
        assert world.off(update.value, parameter.detach() - before) <= 1e-9


def test_its_numbers_are_the_published_ones_by_model():
    free, bounded = find_editor("ft"), find_editor("ft-l")
    known = bounded.known(named("gpt2-xl", 48))
    assert (known.settings.max_change, known.layer) == (5e-4, 0)
    assert free.known(named("gpt2-xl", 48)).layer == 1
    assert free.known(named("EleutherAI/gpt-j-6B", 28)).layer == 21
    other = bounded.known(named("my-gpt2-xl", 12))
    assert (other.settings.max_change, other.layer) == (5e-4, None)
    card = {"layer": 2, "learning_rate": 0.1}
    assert free.known(named("mine", 4), card).settings.learning_rate == 0.1
    assert free.known(named("mine", 4), card).settings.steps == 25


@pytest.mark.parametrize(
    ("method", "given"),
    [("ft-l", {"clamp": 4.0}), ("ft", {"prefixes": ((3, 2),)})],
)
def test_settings_of_another_method_are_refused_with_its_own(method, given):
    with pytest.raises(SettingsError, match="Its settings are learning_rate"):
        small_edit(world.make_lm("gpt2"), "w3 {}", "w14", "w8", method=method, settings=given)
