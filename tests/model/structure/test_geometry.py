"""The parts are found by structure and proved; what cannot be traced is refused with the reason."""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2Model,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from rome_widgets.errors import (
    NonFinite,
    NotCausal,
    UnsupportedModel,
    WeightsNotLoaded,
    WrappedModel,
)
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.hooks import first_tensor
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure import geometry as geometry_module
from rome_widgets.model.structure.geometry import (
    find_geometry,
    own_logits,
    probe_ids,
    run_to_head,
)
from tests.helpers import tiny


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_part_is_where_the_family_has_it(family):
    geometry = tiny.tiny_lm(family).geometry
    names = tiny.NAMES[family]
    assert geometry.embedding == names["embedding"]
    assert geometry.d_model == tiny.D_MODEL
    for kind in ("hidden", "attn", "mlp"):
        expected = tuple(names[kind].format(layer) for layer in range(tiny.N_LAYERS))
        assert geometry.names(kind) == expected


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_probe_holds_in_every_dtype(family, dtype):
    assert tiny.tiny_lm(family, scale=20, dtype=dtype).geometry.n_layers == tiny.N_LAYERS


class _Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


def bert():
    return BertConfig(
        vocab_size=29,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=20,
    )


def refused(model, error, match):
    with pytest.raises(error, match=match) as caught:
        LanguageModel(model, tiny.word_tokenizer())
    assert caught.value.found
    assert caught.value.wanted


def test_a_model_that_looks_ahead_is_refused():
    refused(BertForMaskedLM(bert()), NotCausal, "changing the last token moved earlier predictions")
    refused(BertLMHeadModel(bert()), NotCausal, "moved earlier predictions")


def test_an_encoder_decoder_is_refused():
    config = T5Config(vocab_size=29, d_model=8, d_kv=4, d_ff=20, num_layers=2, num_heads=2)
    refused(T5ForConditionalGeneration(config), NotCausal, "encoder-decoder")


def test_a_model_without_a_head_is_refused():
    refused(GPT2Model(tiny.tiny_model("gpt2").config), NotCausal, "no language-model head")


def test_weights_on_the_meta_device_are_refused():
    with torch.device("meta"):
        model = tiny.FAMILIES["gpt2"]()
    refused(model, WeightsNotLoaded, "meta device")


def test_a_wrapper_is_refused_and_named():
    refused(_Wrapper(tiny.tiny_model("gpt2")), WrappedModel, r"wraps a model in \.inner")
    refused(nn.DataParallel(tiny.tiny_model("gpt2")), WrappedModel, r"\.module")


@pytest.mark.parametrize("model", [nn.Linear(2, 2), "gpt2", None, 3])
def test_what_is_no_model_is_refused(model):
    refused(model, UnsupportedModel, "is not a transformers model")


def test_a_state_space_model_has_hidden_states_only():
    config = MambaConfig(vocab_size=29, hidden_size=8, num_hidden_layers=2, state_size=4)
    geometry = LanguageModel(MambaForCausalLM(config).eval(), tiny.word_tokenizer()).geometry
    assert geometry.kinds == ("hidden",)
    assert geometry.attn == geometry.mlp == ()
    assert geometry.edit_refusal == ("its blocks have no single module for the MLP",) * 2


@pytest.mark.parametrize("site", ["wte.weight", "h.2.mlp.c_fc.weight", "h.3.attn.c_proj.bias"])
def test_a_nan_in_a_weight_is_named(site):
    model = tiny.tiny_model("gpt2")
    with torch.no_grad():
        model.transformer.get_parameter(site).view(-1)[0] = float("nan")
        if site == "wte.weight":  # a token of the probe must be among the broken rows
            model.transformer.wte.weight[:] = float("nan")
    with pytest.raises(NonFinite) as caught:
        LanguageModel(model, tiny.word_tokenizer())
    assert f"transformer.{site.rsplit('.', 1)[0]}" in caught.value.found


def test_a_head_that_takes_no_notice_is_refused():
    model = tiny.tiny_model("neox")
    nn.init.zeros_(model.get_output_embeddings().weight)
    refused(model, UnsupportedModel, r"of gpt_neox\.layers\.\d, changed nothing")


@pytest.mark.parametrize("kind", ["hidden", "mlp", "attn"])
def test_a_kind_of_which_something_cannot_be_put_back_is_named(kind, monkeypatch):
    """What else is put back in the same pass does not make up for it."""
    model, outputs = tiny.tiny_model("gpt2"), []
    site = model.get_submodule(tiny.NAMES["gpt2"][kind].format(tiny.N_LAYERS - 1))
    handle = site.register_forward_hook(lambda *seen: outputs.append(first_tensor(seen[2])))
    own_logits(model, probe_ids(model))
    handle.remove()
    putting = geometry_module._putting

    def putting_wrongly(value, *alike):
        visit = putting(value, *alike)
        return lambda seen: visit(seen).roll(int(torch.equal(value, outputs[0])), dims=-1)

    monkeypatch.setattr(geometry_module, "_putting", putting_wrongly)
    refused(model, UnsupportedModel, f"putting the {kind} output back changed")


def test_passes_that_end_before_the_head_see_what_enters_it():
    model, entered = tiny.tiny_model("gpt2"), []
    ids = probe_ids(model)

    def look():
        return run_in_eval_mode(model, lambda: run_to_head(model, ids))

    assert torch.equal(look(), model.transformer(ids).last_hidden_state)
    handle = model.lm_head.register_forward_hook(lambda *_: entered.append(1))
    assert torch.equal(look(), model(ids).logits)  # a hook of the user's own sees whole passes
    handle.remove()
    assert len(entered) == 2


def _with_a_second_list(module):
    model = tiny.tiny_model("gpt2")
    model.extra = nn.ModuleList(module for _ in range(tiny.N_LAYERS))
    return model


def test_a_second_list_of_the_same_length_that_does_not_run_is_left_alone():
    """As the vision tower of a multimodal model, when only text is given."""
    geometry = find_geometry(_with_a_second_list(nn.Identity()))
    assert geometry.blocks[0] == "transformer.h.0"


def test_two_lists_of_the_same_length_that_both_run_are_refused():
    model = _with_a_second_list(nn.Identity())
    forward = model.transformer.ln_f.forward

    def through_both(hidden):
        for module in model.extra:
            hidden = module(hidden)
        return forward(hidden)

    model.transformer.ln_f.forward = through_both
    with pytest.raises(UnsupportedModel, match=r"found 2 \(transformer\.h, extra\)"):
        find_geometry(model)


def test_blocks_that_do_not_run_are_refused():
    model = tiny.tiny_model("gpt2")
    skipped = model.transformer.h[1]
    skipped.__class__ = type("Skipped", (type(skipped),), {"__call__": lambda self, x, *a, **k: x})
    with pytest.raises(UnsupportedModel, match="not every block ran"):
        find_geometry(model)


def cut(keep):
    """What people do to a model whose configuration they do not tell of it."""

    def change(model):
        model.model.layers = nn.ModuleList(model.model.layers[number] for number in keep)

    return change


def told(depth):
    def change(model):
        model.config.num_hidden_layers = depth

    return change


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (cut([0, 1, 2]), ["0", "1", "2"]),
        (cut([2, 3, 4]), ["0", "1", "2"]),
        (cut([0, 2, 4]), ["0", "1", "2"]),
        (cut([1]), ["0"]),
        (told(3), ["0", "1", "2"]),
        (told(9), ["0", "1", "2", "3", "4"]),
    ],
    ids=["first three", "last three", "every second", "one", "told of fewer", "told of more"],
)
def test_the_blocks_that_run_are_the_blocks_whatever_the_configuration_says(change, names):
    model = tiny.tiny_model("llama", scale=20)
    change(model)
    lm = LanguageModel(model, tiny.word_tokenizer())
    assert lm.geometry.blocks == tuple(f"model.layers.{name}" for name in names)
    tracer = tiny.tiny_tracer(lm)
    with torch.no_grad():
        own = model(torch.tensor([list(tracer.token_ids)])).logits[0, -1].softmax(-1)
    assert tracer.clean == pytest.approx(float(own.max()), rel=1e-4)
    assert tracer.trace().complete
