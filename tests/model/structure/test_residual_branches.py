"""Attention and MLP are found by what adds up to what a block adds; what does not is refused."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure.geometry import find_geometry
from rome_widgets.model.structure.residual_branches import error_in_ulps
from tests.helpers import families, tiny
from tests.helpers.model_guard import attached_hooks, fingerprint


def geometry_of(name):
    return find_geometry(families.tiny_family(name))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("dtype", "huge"), [(torch.float16, 3000.0), (torch.bfloat16, 300.0), (torch.bfloat16, 3000.0)]
)
def test_a_huge_activation_does_not_make_a_norm_pass_for_the_mlp(dtype, huge, seed):
    """Trained Llamas have elements so large that, beside them, any two parts seem to add up."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        num_hidden_layers=4,
        hidden_size=64,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=29,
        max_position_embeddings=64,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.fill_(0.05)
            elif "embed" not in name:
                weight.mul_(20)
        model.get_input_embeddings().weight[4, 3] += huge  # one token of the probe
    geometry = LanguageModel(model.to(dtype), tiny.word_tokenizer()).geometry
    assert geometry.mlp == tuple(f"model.layers.{i}.mlp" for i in range(4))


def test_a_block_whose_parts_do_not_add_up_is_refused():
    model = tiny.tiny_model("llama")
    forward = model.model.layers[2].forward

    def half(*args, **kwargs):
        return forward(*args, **kwargs) * 0.5

    model.model.layers[2].forward = half
    with pytest.raises(UnsupportedModel, match=r"no attention and MLP among .* add up"):
        find_geometry(model)


def test_the_constant_of_the_branches_is_found():
    assert geometry_of("granite").branch_scale == 0.22
    assert geometry_of("granitemoe").branch_scale == 0.22
    assert geometry_of("llama").branch_scale == 1.0
    assert geometry_of("gemma4").equation == "h = layer_scalar (h' + a + m)"
    assert geometry_of("opt, norm on the stream").equation == "h = norm(norm(h' + a) + m)"


def test_two_branches_that_look_at_other_positions_are_refused():
    with pytest.raises(UnsupportedModel, match="cannot be told apart") as caught:
        LanguageModel(families.tiny_family("falcon_h1"), tiny.word_tokenizer())
    assert "mamba" in caught.value.found
    assert "self_attn" in caught.value.found


def test_branches_that_both_look_at_other_positions_are_refused():
    model = families.tiny_family("llama")
    for layer in model.model.layers:
        forward = layer.mlp.forward
        layer.mlp.forward = lambda x, forward=forward: forward(x).cumsum(1)
    with pytest.raises(UnsupportedModel, match="cannot be told apart"):
        find_geometry(model)


def test_a_branch_that_is_scaled_on_its_way_out_is_found_where_it_is_scaled():
    """What reaches the stream is the branch, not the matrix before it."""

    class Halved(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * 0.5

    model = families.tiny_family("llama")
    for layer in model.model.layers:
        layer.mlp.down_proj.__class__ = Halved
    geometry = find_geometry(model)
    assert geometry.mlp == tuple(f"model.layers.{i}.mlp" for i in range(families.N_LAYERS))
    assert geometry.branch_scale == 1.0


def test_a_constant_that_differs_from_block_to_block_is_refused():
    model = families.tiny_family("granite")
    model.model.layers[1].residual_multiplier = 0.4
    with pytest.raises(UnsupportedModel, match="no attention and MLP among"):
        find_geometry(model)


def test_parallel_and_sequential_blocks_add_up_alike():
    equations = {
        geometry_of(name).equation
        for name in ("gptj", "llama", "gpt_neox, parallel", "gpt_neox, sequential")
    }
    assert equations == {"h = h' + a + m"}


def test_a_sum_is_measured_in_units_of_its_largest_term():
    one = torch.tensor([[1.0, 1.0, 1024.0]])
    ulp = torch.finfo(torch.float32).eps
    assert error_in_ulps([one, one], 2 * one) == 0
    assert error_in_ulps([one], one + 3 * ulp * one) == pytest.approx(3, rel=1e-3)
    assert error_in_ulps([2 * one, -one], one + 2 * ulp * one) == pytest.approx(1, rel=1e-3)


def test_finding_the_branches_leaves_no_hook_and_no_weight_changed():
    model = families.tiny_family("gemma2")
    before = fingerprint(model)
    find_geometry(model)
    assert attached_hooks(model) == []
    assert fingerprint(model) == before
