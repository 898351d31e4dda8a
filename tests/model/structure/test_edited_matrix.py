"""The matrix to edit is the one that puts out what the MLP does; where there is none, a reason."""

import pytest
import torch
from torch import nn
from transformers import OlmoeConfig, OlmoeForCausalLM

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure.geometry import find_geometry
from tests.helpers import families, tiny


@pytest.mark.parametrize(
    ("family", "down"),
    [
        ("gpt2", "transformer.h.1.mlp.c_proj"),
        ("gptj", "transformer.h.1.mlp.fc_out"),
        ("neox", "gpt_neox.layers.1.mlp.dense_4h_to_h"),
        ("llama", "model.layers.1.mlp.down_proj"),
    ],
)
def test_the_down_projection_is_the_matrix_whose_output_the_mlp_returns(family, down):
    assert tiny.tiny_lm(family).geometry.edited_matrices[1] == down


def test_a_mixture_of_experts_traces_but_has_no_single_matrix_to_edit():
    config = OlmoeConfig(
        vocab_size=29,
        hidden_size=8,
        intermediate_size=20,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=4,
        num_experts_per_tok=2,
        pad_token_id=None,
    )
    geometry = LanguageModel(OlmoeForCausalLM(config).eval(), tiny.word_tokenizer()).geometry
    assert geometry.edited_matrices == (None, None, None)
    assert "experts" in geometry.edit_refusal[0]


def test_experts_are_the_reason_where_there_are_some():
    reasons = find_geometry(families.tiny_family("qwen3_moe")).edit_refusal
    assert reasons[0] is None
    assert all("experts" in reason for reason in reasons[1:])


def test_a_shared_matrix_is_not_edited():
    model = families.tiny_family("llama")
    layers = model.model.layers
    layers[1].mlp.down_proj.weight = layers[2].mlp.down_proj.weight
    geometry = find_geometry(model)
    assert geometry.edited_matrices[1:3] == (None, None)
    assert geometry.edit_refusal[1] == "the matrix is shared with model.layers.2.mlp.down_proj"
    assert geometry.edited_matrices[0] == "model.layers.0.mlp.down_proj"


def with_down(wrap):
    """A tiny Llama whose last matrix of the MLP in block 1 became `wrap(matrix)`."""
    model = families.tiny_family("llama")
    mlp = model.model.layers[1].mlp
    mlp.down_proj = wrap(mlp.down_proj)
    return find_geometry(model)


class Same(nn.Linear):
    """A matrix that puts out what it is given."""

    def __init__(self):
        super().__init__(families.D_MODEL, families.D_MODEL, bias=False)
        self.weight.data = torch.eye(families.D_MODEL, dtype=torch.float64)


class Turned(nn.Module):
    """Does something to a matrix's output that no matrix does."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x):
        return self.matrix(x).sin()


def test_the_matrix_before_a_norm_is_the_one_whose_output_the_norm_takes():
    """What reaches the residual stream is the norm's output; the edited matrix is before it."""
    geometry = find_geometry(families.tiny_family("gemma2"))
    assert geometry.mlp[1] == "model.layers.1.post_feedforward_layernorm"
    assert geometry.edited_matrices[1] == "model.layers.1.mlp.down_proj"


def test_two_matrices_that_put_out_the_same_are_none_to_edit():
    geometry = with_down(lambda matrix: nn.Sequential(matrix, Same()))
    assert geometry.edited_matrices[1] is None
    assert geometry.edit_refusal[1] == (
        "several matrices put out the same: mlp.down_proj.0, mlp.down_proj.1"
    )
    assert geometry.edited_matrices[2] == "model.layers.2.mlp.down_proj"


def test_a_matrix_whose_output_is_changed_afterwards_is_none_to_edit():
    geometry = with_down(Turned)
    assert geometry.edited_matrices[1] is None
    assert geometry.edit_refusal[1] == "no single matrix puts out what the MLP does"
    assert geometry.edit_refusal[2] is None


def test_a_matrix_whose_weight_is_used_elsewhere_in_the_model_is_none_to_edit():
    model = families.tiny_family("gpt2")
    model.transformer.extra = nn.Linear(1, 1, bias=False)
    model.transformer.extra.weight = model.transformer.h[3].mlp.c_proj.weight
    geometry = find_geometry(model)
    assert geometry.edit_refusal[3] == "the matrix is shared with transformer.extra"
    assert geometry.edited_matrices[:3] == tuple(f"transformer.h.{i}.mlp.c_proj" for i in range(3))


def test_blocks_without_an_mlp_have_no_matrix_and_say_so():
    geometry = find_geometry(families.tiny_family("mamba"))
    assert geometry.edited_matrices == (None,) * families.N_LAYERS
    assert geometry.edit_refusal == ("its blocks have no single module for the MLP",) * 4
