"""What can be asked for, what is refused and why, and who chose the settings and the layer."""

import threading

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.methods import editors
from rome_widgets.editing.settings import EditSettings, changed, known_settings
from rome_widgets.errors import (
    Cancelled,
    ContextTooLong,
    EditRefused,
    NonFinite,
    PromptError,
    SettingsError,
    StatisticsMissing,
    SubjectNotFound,
)
from tests.helpers import world
from tests.helpers.families import tiny_family
from tests.helpers.tiny import word_tokenizer
from tests.model.test_ledger import same, weights


def small(lm, *arguments, **options):
    options = {"second_moment": "identity", "settings": world.SETTINGS, "layer": 1} | options
    return rw.edit(lm, *arguments, **options)


def test_a_fact_and_a_record_say_the_same_as_text():
    lm = world.make_lm("gpt2")
    text = small(lm, "w3 {} w26", "w14 w15", "w8")
    filled = small(lm, "w3 w14 w15 w26", "w14 w15", "w8")
    fact = small(lm, rw.Fact("w3 {} w26", "w14 w15", "w2"), target="w8")
    record = {
        "requested_rewrite": {
            "prompt": "w3 {} w26",
            "subject": "w14 w15",
            "target_true": {"str": "w2"},
            "target_new": {"str": "w8"},
        }
    }
    assert text.id == filled.id == fact.id == small(lm, record).id
    assert small(lm, "w3 {} w26", "w14 w15", "  w8 ").id == text.id


def test_bad_input_is_refused_before_anything_runs():
    lm = world.make_lm("gpt2")
    calls = [
        (PromptError, ("w3 {} w26", "w14", None)),
        (PromptError, ("w3 {} w26", "w14", "  ")),
        (PromptError, ("w3 {} {} w26", "w14", "w8")),
        (PromptError, ("w3 {} w26", None, "w8")),
        (PromptError, ("", "w14", "w8")),
        (PromptError, (rw.Fact("w3 {}", "w14", "w2"),)),
        (PromptError, ("w3 {} \ud800", "w14", "w8")),
        (SubjectNotFound, ("w3 w4", "w14", "w8")),
        (ContextTooLong, ("w3 {} " + "w4 " * 12, "w14", "w8")),
    ]
    for error, arguments in calls:
        with pytest.raises(error):
            small(lm, *arguments)
    wrong = [
        {"method": "mend"},
        {"layer": 9},
        {"layer": "1"},
        {"seed": "1"},
        {"settings": {"lr": 1}},
        {"settings": {"steps": 0}},
        {"settings": {"clamp": float("nan")}},
        {"settings": {"learning_rate": -1}},
        {"settings": {"stop_on": "kl"}},
    ]
    for options in wrong:
        with pytest.raises(SettingsError):
            small(lm, "w3 {} w26", "w14", "w8", **options)


def test_a_model_without_statistics_names_the_remedies():
    lm = world.make_lm("gpt2")
    with pytest.raises(StatisticsMissing, match="identity") as caught:
        small(lm, "w3 {}", "w14", "w8", second_moment=None)
    assert "texts" in caught.value.remedy
    no_need = dict(world.SETTINGS, use_second_moment=False)
    assert (
        "identity"
        in small(
            lm, "w3 {}", "w14", "w8", second_moment=None, settings=no_need
        ).report.second_moment
    )


def test_a_cancel_leaves_nothing_behind():
    lm = world.make_lm("gpt2")
    before, cancel, told = weights(lm), threading.Event(), []

    def progress(step):
        told.append(step)
        if step.phase == "value" and step.done == 3:
            cancel.set()

    with pytest.raises(Cancelled):
        small(lm, "w3 {} w26", "w14", "w8", progress=progress, cancel=cancel)
    assert told[-1].done == 3
    assert told[-1].step.norm > 0
    assert [step.phase for step in told] == ["prefixes", "key", *["value"] * 3]
    assert same(before, weights(lm))
    with pytest.raises(Cancelled):
        small(lm, "w3 {} w26", "w14", "w8", cancel=cancel)


def test_a_diverging_optimisation_is_an_error_and_no_edit():
    lm = world.make_lm("gpt2", torch.float32)
    wild = world.SETTINGS | {"learning_rate": 1e30, "clamp": 1e38}
    with pytest.raises(NonFinite, match="diverged"):
        small(lm, "w3 {} w26", "w14", "w8", settings=wild)
    assert lm.edits == ()


# ------------------------------------------------------------------------------- refusals


def test_experts_have_no_single_matrix():
    lm = world.make_lm("qwen3_moe")
    with pytest.raises(EditRefused, match="experts") as caught:
        small(lm, "w3 {}", "w14", "w8")
    assert "can be edited: 0" in caught.value.remedy
    assert small(lm, "w3 {}", "w14", "w8", layer=0).report.layer == 0
    with pytest.raises(EditRefused, match="no layer that can be edited"):
        small(world.make_lm("mixtral"), "w3 {}", "w14", "w8", layer=None)


class Packed(torch.nn.Parameter):
    """What a quantised weight looks like: a parameter that is no plain one."""


def quantised(model):
    layer = model.transformer.h[1].mlp.c_proj
    layer.weight = Packed(layer.weight.detach())


def other_kind(model):
    class Matrix(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.weight, self.bias = inner.weight, inner.bias

        def forward(self, x):
            return x @ self.weight + self.bias

    model.transformer.h[1].mlp.c_proj = Matrix(model.transformer.h[1].mlp.c_proj)


def shared(model):
    blocks = model.transformer.h
    blocks[2].mlp.c_proj.weight = blocks[1].mlp.c_proj.weight


def with_a_quantizer(model):
    model.hf_quantizer = object()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (quantised, "quantised or sharded"),
        (other_kind, "not a plain matrix"),
        (shared, "shared with transformer.h.2.mlp.c_proj"),
        (with_a_quantizer, "the model is quantised"),
    ],
)
def test_matrices_that_cannot_be_edited_are_refused_with_the_reason(prepare, said):
    lm = world.new_lm("gpt2", prepare=prepare)
    with pytest.raises(EditRefused, match=said):
        small(lm, "w3 {}", "w14", "w8")


def test_an_offloaded_matrix_is_refused():
    class Hook:
        offload = True

    lm = world.new_lm("gpt2")
    lm.model.transformer.h[1].mlp.c_proj._hf_hook = Hook()
    with pytest.raises(EditRefused, match="offloaded"):
        small(lm, "w3 {}", "w14", "w8")


# ---------------------------------------------------------------------- settings and layer


def test_settings_come_from_the_table_by_name_and_depth():
    known = known_settings("openai-community/gpt2-xl", 48, "rome", None)
    assert known.layer == 17
    assert known.settings == EditSettings(learning_rate=0.5)
    assert known_settings("gpt2-medium", 24, "rome", None).settings.clamp == 3
    llama = known_settings("meta-llama/Llama-2-7b-hf", 32, "r-rome", None)
    assert (llama.layer, llama.settings.steps) == (5, 25)
    assert not llama.settings.use_second_moment
    assert known_settings("my-gpt2-xl", 12, "rome", None).layer is None
    assert known_settings("gpt2-xl", 48, "ft-l", None).settings.max_change == 5e-4
    assert known_settings("gpt2-xl", 48, "ft", None).layer == 1


def test_what_is_given_goes_before_what_is_known():
    settings = changed(EditSettings(), {"steps": 3, "prefixes": [[4, 2]]})
    assert (settings.steps, settings.prefixes, settings.clamp) == (3, ((4, 2),), 4.0)
    assert changed(settings, EditSettings()) == EditSettings()
    lm = world.make_lm("gpt2")
    report = small(lm, "w3 {}", "w14", "w8", settings={"steps": 2}).report
    assert report.settings_from == "the defaults, scaled to the model, with changes"
    assert len(report.steps) == 2
    first = report.steps[1].norm
    assert 0.4 * report.value_norm <= first <= report.value_norm


def test_without_a_known_layer_the_trace_chooses_and_says_why():
    lm = world.make_lm("gpt2")
    report = small(lm, "w3 {} w26", "w14 w15", "w8", layer=None).report
    assert "restoring the MLP" in report.why_layer or "third" in report.why_layer
    assert str(report.layer) in report.why_layer
    assert small(lm, "w3 {}", "w14", "w8", layer=-1).report.layer == 3


def test_the_kl_term_can_be_read_at_the_end():
    lm = world.make_lm("gpt2")
    here = small(lm, "w3 {} w26", "w14 w15", "w8")
    there = small(
        lm, "w3 {} w26", "w14 w15", "w8", settings=world.SETTINGS | {"kl_position": "end"}
    )
    assert here.report.steps[3].kl != there.report.steps[3].kl


def test_a_method_joins_by_defining_editors():
    assert set(editors()) == {"rome", "r-rome", "ft", "ft-l"}


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3, text"])
@pytest.mark.parametrize("target", ["w8", "w8 w21 w4"])
def test_fine_tuning_raises_the_target_and_a_bound_is_kept(name, target):
    lm = world.make_lm(name)
    prompt = ("w3 {} w26", "w14 w15", target)
    free = small(lm, *prompt, method="ft", settings={"learning_rate": 0.01})
    assert free.report.steps[-1].nll < free.report.steps[0].nll
    assert free.report.steps[0].norm == 0
    kept = small(lm, *prompt, method="ft-l", settings={"learning_rate": 0.01, "max_change": 2e-3})
    weight = lm.model.get_parameter(kept.updates[0].name)
    before = weight.detach().clone()
    with kept:
        change = (weight.detach() - before).abs().max()
    assert 0 < change <= 2e-3 * (1 + 1e-9)


def test_fine_tuning_equals_training_the_parameters():
    lm = world.make_lm("gpt2")
    made = small(lm, "w3 {} w26", "w14 w15", "w8 w21", method="ft", settings={"steps": 4})
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


def test_the_tokenizer_of_the_tests_reads_words():
    assert word_tokenizer()("w3 w4")["input_ids"] == [3, 4]
