"""The parts of every family are where its modelling code has them, and add up as it says."""

import pytest
import torch

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure import residual_branches
from rome_widgets.model.structure.geometry import Geometry, find_geometry
from tests.helpers import families, tiny
from tests.helpers.families import FAMILIES, N_LAYERS, site

ULPS = 4
"""Rounding allowed in equation 1, in units in the last place of the largest term."""
IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 8]])


OTHER_SUMS = {
    "mamba": "h = h' + c",
    "falcon_mamba": "h = h' + c",
    "granitemoeshared": "h = h' + residual_multiplier (a + m + e)",
}
"""Families without an MLP site, and what their blocks are proved to add."""


def lm_of(name):
    return LanguageModel(families.tiny_family(name), tiny.word_tokenizer(), name=name)


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request):
    """A model of each family in turn."""
    return lm_of(request.param)


def outputs(model, names):
    """What each module puts out, and takes if it is a block, in one pass; plain hooks."""
    seen = {}

    def keep(name):
        def hook(module, args, kwargs, output):
            entering = args[0] if args else kwargs.get("hidden_states")
            output = output[0] if isinstance(output, (tuple, list)) else output
            seen[name] = (entering.clone(), output.clone())

        return hook

    handles = [
        model.get_submodule(name).register_forward_hook(keep(name), with_kwargs=True)
        for name in names
    ]
    try:
        with torch.no_grad():
            model(input_ids=IDS)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def named(part):
    return tuple(site(part, layer) for layer in range(N_LAYERS))


def check_sites(model, geometry: Geometry, family):
    """What is read equals what the oracle reads, by value: a module and its last child agree."""
    assert geometry.embedding == family.names["embedding"]
    assert geometry.blocks == named(family.names["hidden"])
    assert set(geometry.kinds) == set(family.names) - {"embedding"}
    for kind in geometry.kinds:
        expected = named(family.names[kind])
        seen = outputs(model, {*expected, *geometry.names(kind)})
        for layer, (ours, theirs) in enumerate(zip(geometry.names(kind), expected, strict=True)):
            same = torch.equal(seen[ours][1], seen[theirs][1])
            assert same, f"{kind} of layer {layer}: {ours} is not {theirs}"


def check_equation(model, family):
    """The oracle's equation gives each block's output from its branches."""
    for layer in range(N_LAYERS):
        wanted = {kind: site(family.names[kind], layer) for kind in ("hidden", "attn", "mlp")}
        extra = f"{wanted['hidden']}.{family.extra}"
        seen = outputs(model, [*wanted.values(), *([extra] if family.extra else [])])
        before, after = seen[wanted["hidden"]]
        a, m = (seen[wanted[kind]][1].view(before.shape) for kind in ("attn", "mlp"))
        if family.extra:
            m = m + seen[extra][1]
        with torch.no_grad():
            expected = family.equation(before, a, m, model.get_submodule(wanted["hidden"]))
        largest = torch.stack([before.abs(), a.abs(), m.abs(), after.abs()]).amax(0)
        error = (expected - after).abs() / (largest * torch.finfo(after.dtype).eps)
        assert float(error.max()) <= ULPS, f"layer {layer}: off by {float(error.max())} ulps"


def test_every_part_is_where_the_modelling_code_has_it(lm):
    check_sites(lm.model, lm.geometry, FAMILIES[lm.name])
    assert lm.geometry.d_model == families.D_MODEL


def test_the_branches_add_up(lm):
    if lm.geometry.mlp:
        check_equation(lm.model, FAMILIES[lm.name])
    else:
        assert lm.geometry.equation == OTHER_SUMS[lm.name]


def test_the_matrix_to_edit_is_the_last_of_the_mlp_or_there_is_a_reason(lm):
    geometry = lm.geometry
    assert geometry.edited_matrices == named(FAMILIES[lm.name].down)
    assert [reason is None for reason in geometry.edit_refusal] == [
        matrix is not None for matrix in geometry.edited_matrices
    ]


@pytest.mark.parametrize(("name", "shape"), [("gemma3n", "[4, 1, 5, 8]"), ("deepseek_v4", "3, 8]")])
def test_several_streams_side_by_side_are_refused(name, shape):
    with pytest.raises(UnsupportedModel, match="no single state can be restored") as caught:
        LanguageModel(families.tiny_family(name), tiny.word_tokenizer())
    assert shape in caught.value.found


HALF = ["gpt2", "opt", "bloom", "falcon, parallel", "gemma2", "olmo2", "glm4", "granite", "mpt"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", HALF)
def test_the_parts_are_found_in_half_precision_too(name, dtype):
    model = families.tiny_family(name, dtype=dtype)
    assert find_geometry(model).mlp == named(FAMILIES[name].names["mlp"])


# ------------------------------------------------------------- the checks would notice

WRONG = {
    "gemma2": ("mlp", "model.layers.{}.mlp"),
    "olmo2": ("attn", "model.layers.{}.self_attn"),
    "exaone4": ("mlp", "model.layers.{}.mlp"),
    "opt": ("mlp", "model.decoder.layers.{}.final_layer_norm"),
    "bloom": ("attn", "transformer.h.{}.self_attention"),
    "mpt": ("mlp", "transformer.blocks.{}.ffn"),
    "granite": ("mlp", "model.layers.{}.post_attention_layernorm"),
    "gemma4, with inputs per layer": ("mlp", "model.layers.{}.post_per_layer_input_norm"),
    "lfm2": ("attn", "model.layers.{}.operator_norm"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_part_turns_the_checks_red(name):
    kind, wrong = WRONG[name]
    family = FAMILIES[name]
    planted = family._replace(names=family.names | {kind: wrong})
    lm = lm_of(name)
    with pytest.raises(AssertionError, match="is not"):
        check_sites(lm.model, lm.geometry, planted)
    with pytest.raises(AssertionError, match="off by"):
        check_equation(lm.model, planted)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "qwen3_5", "opt"])
def test_attention_and_mlp_exchanged_are_noticed(name, monkeypatch):
    tell = residual_branches._tell_apart
    monkeypatch.setattr(residual_branches, "_tell_apart", lambda *a: tell(*a)[::-1])
    model = families.tiny_family(name)
    with pytest.raises(AssertionError, match="is not"):
        check_sites(model, find_geometry(model), FAMILIES[name])
