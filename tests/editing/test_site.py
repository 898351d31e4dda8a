"""The edited matrix of a layer, and the reasons why there is none."""

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.site import find_site, is_post_normed
from rome_widgets.errors import EditRefused, SettingsError
from tests.helpers import families, tiny, world
from tests.helpers.world import small_edit


@pytest.mark.parametrize("name", world.SHAPES)
def test_it_is_the_last_matrix_of_the_mlp_as_it_is_stored(name):
    lm = world.make_lm(name)
    site = find_site(lm, -3)
    assert (site.layer, site.name) == (1, world.down_of(name))
    assert site.weight is lm.model.get_parameter(site.weight_name)
    d_in, d_out = families.D_MLP, lm.geometry.d_model
    assert tuple(site.weight.shape) == ((d_in, d_out) if site.transposed else (d_out, d_in))
    assert site.d_in == d_in


@pytest.mark.parametrize(
    ("name", "normed"),
    [
        *dict.fromkeys(
            ("gpt2", "gptj", "llama", "opt", "bloom", "qwen3_moe", "mixtral"), False
        ).items(),
        *dict.fromkeys(("gemma2", "gemma3, text", "olmo2", "glm4"), True).items(),
    ],
)
def test_whether_a_norm_follows_it(name, normed):
    assert is_post_normed(world.make_lm(name)) == normed


@pytest.mark.parametrize("layer", [4, -5, 1.5, "1", True, None])
def test_a_layer_that_is_none_is_refused(layer):
    with pytest.raises(SettingsError):
        find_site(world.make_lm("gpt2"), layer)


def test_experts_have_no_single_matrix():
    lm = world.make_lm("qwen3_moe")
    with pytest.raises(EditRefused, match="experts") as caught:
        small_edit(lm, "w3 {}", "w14", "w8")
    assert "can be edited: 0" in caught.value.remedy
    assert small_edit(lm, "w3 {}", "w14", "w8", layer=0).report.layer == 0
    with pytest.raises(EditRefused, match="no layer that can be edited"):
        small_edit(world.make_lm("mixtral"), "w3 {}", "w14", "w8", layer=None)


class Packed(torch.nn.Parameter):
    """What a quantised weight looks like: a parameter that is no plain one."""


def quantised(model):
    layer = model.transformer.h[1].mlp.c_proj
    layer.weight = Packed(layer.weight.detach())


def computed(model):
    layer = model.transformer.h[1].mlp.c_proj
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", torch.nn.Identity())


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


def packed_elsewhere(model):
    """As transformers' quantizers leave some matrices as they were."""
    model.hf_quantizer = object()
    packed = model.transformer.h[0].attn.c_attn
    packed.weight = Packed(packed.weight.detach())


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (quantised, "quantised or sharded"),
        (other_kind, "not a plain matrix"),
        (shared, "shared with transformer.h.2.mlp.c_proj"),
        (computed, "is computed from other parameters"),
        (packed_elsewhere, "the model is quantised"),
    ],
)
def test_matrices_that_cannot_be_edited_are_refused_with_the_reason(prepare, said):
    lm = world.new_lm("gpt2", prepare=prepare)
    with pytest.raises(EditRefused, match=said):
        small_edit(lm, "w3 {}", "w14", "w8")


def test_an_offloaded_matrix_is_refused():
    class Hook:
        offload = True

    lm = world.new_lm("gpt2")
    lm.model.transformer.h[1].mlp.c_proj._hf_hook = Hook()
    with pytest.raises(EditRefused, match="offloaded"):
        small_edit(lm, "w3 {}", "w14", "w8")


def of_inference_mode(*, frozen):
    with torch.inference_mode():
        return tiny.tiny_model("llama", scale=20).requires_grad_(not frozen)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("method", ["rome", "r-rome", "ft", "ft-l"])
def test_weights_of_inference_mode_trace_and_are_refused_as_what_they_are(frozen, method):
    lm = rw.LanguageModel(of_inference_mode(frozen=frozen), tiny.word_tokenizer())
    assert tiny.tiny_tracer(lm).trace().complete
    with pytest.raises(EditRefused, match=r"made under torch\.inference_mode") as caught:
        rw.edit(lm, "{} w9", "w14", "w3", method=method, layer=2, second_moment="identity")
    assert "outside torch.inference_mode()" in caught.value.remedy


def test_an_edit_made_elsewhere_goes_into_weights_of_inference_mode(tmp_path):
    lm = rw.LanguageModel(tiny.tiny_model("llama", scale=20), tiny.word_tokenizer())
    settings = {"steps": 2}
    made = rw.edit(
        lm, "{} w9", "w14", "w3", layer=2, second_moment="identity", settings=settings
    ).save(tmp_path / "edit")
    other = rw.LanguageModel(of_inference_mode(frozen=True), tiny.word_tokenizer())
    change, before = rw.load_edit(other, made), other.identity
    change.apply()
    assert other.identity != before
    change.revert()
    assert other.identity == before


def test_an_edit_computed_inside_inference_mode_is_that_computed_outside():
    lm = rw.LanguageModel(tiny.tiny_model("llama", scale=20), tiny.word_tokenizer())

    def computed():
        return rw.edit(
            lm, "{} w9", "w14", "w3", layer=2, second_moment="identity", settings={"steps": 2}
        )

    with torch.inference_mode():
        inside, tracer = computed(), tiny.tiny_tracer(lm)
    assert inside.id == computed().id
    assert tracer.estimate().estimated
