"""The layer of an edit: the user's, the known one, else where a trace points, with the reason."""

import pytest

from rome_widgets.editing.choose_layer import choose_layer, layer_of_peak
from rome_widgets.editing.request import read_request
from rome_widgets.editing.settings import Known, Settings
from rome_widgets.editing.site import editable_layers
from rome_widgets.errors import EditRefused, SettingsError
from tests.helpers import world
from tests.helpers.world import small_edit


def test_who_is_asked_first():
    lm = world.make_lm("gpt2")
    request = read_request(lm, world.PROMPT, world.SUBJECT, "w8")
    known = Known(Settings(), "a table", 2)
    assert choose_layer(lm, request, 3, known) == (3, "Layer 3 was asked for.")
    assert choose_layer(lm, request, None, known) == (2, "Layer 2 is that of a table.")


def test_a_trace_that_says_nothing_leaves_it_to_the_rule():
    lm = world.make_lm("gpt2")
    effects = {0: 0.0, 1: 0.1, 2: 0.3, 3: 0.2}
    assert layer_of_peak(lm, effects, 0.01)[0] == 1
    layer, why = layer_of_peak(lm, effects, 0.9)
    assert layer == 2
    assert "0.300 of 0.900" in why


def test_a_peak_that_is_noise_chooses_nothing():
    lm = world.make_lm("gpt2")
    layer, why = layer_of_peak(lm, {0: 0.001, 1: -0.02, 2: 0.0, 3: -0.01}, 0.269)
    assert layer == 1
    assert "no MLP brings back more than 0.001 of 0.269" in why


def test_layers_that_cannot_be_edited_are_left_out():
    lm = world.make_lm("qwen3_moe")
    assert 1 not in editable_layers(lm)
    effects = {layer: float(layer == 1) for layer in range(lm.n_layers)}
    assert layer_of_peak(lm, effects, 1.0)[0] in editable_layers(lm)
    with pytest.raises(EditRefused, match="no layer that can be edited"):
        editable_layers(world.make_lm("mixtral"))


def test_a_trace_chooses_where_it_is_asked_for():
    lm = world.make_lm("gpt2")
    report = small_edit(lm, "w3 {} w26", "w14 w15", "w8", layer="trace").report
    assert "restoring the MLP" in report.why_layer or "by the rule" in report.why_layer
    assert str(report.layer) in report.why_layer
    assert small_edit(lm, "w3 {}", "w14", "w8", layer=-1).report.layer == 3
    with pytest.raises(SettingsError, match=r"The layer is 'peak'\..*or 'trace', was wanted"):
        small_edit(lm, "w3 {}", "w14", "w8", layer="peak")


@pytest.mark.parametrize(("name", "layer"), [("gpt2", 1), ("gptj", 1), ("llama", 1), ("qwen3", 1)])
def test_a_model_without_numbers_of_its_own_has_one_layer_by_a_rule(name, layer):
    report = small_edit(world.make_lm(name), "w3 {} w26", "w14", "w8", layer=None).report
    kind = "gated" if name in ("llama", "qwen3") else "plain"
    assert report.why_layer == f"Layer {layer} of 4 is by the rule for models with {kind} MLPs."
