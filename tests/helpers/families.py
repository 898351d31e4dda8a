"""One tiny random model per family of transformers, and where its parts are.

The names are written down from reading each family's modelling code: an oracle for what the
package finds by structure. Nothing here is taken from `rome_widgets`.

Widths differ (4 layers, 7 tokens, 3 samples, width 8, MLP 20, vocabulary 29), so that a
transposition cannot pass; sliding windows are shorter than the prompt; norms, soft-caps and
multipliers are away from the values at which they do nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import transformers

N_LAYERS, N_POSITIONS, D_MODEL, D_MLP, VOCAB = 4, 16, 8, 20, 29
WINDOW = 4
"""Sliding window, in tokens."""

_special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
_depth = {"num_hidden_layers": N_LAYERS, "vocab_size": VOCAB, **_special}
_common = {
    **_depth,
    "hidden_size": D_MODEL,
    "num_attention_heads": 2,
    "intermediate_size": D_MLP,
    "max_position_embeddings": N_POSITIONS,
}
_grouped = {**_common, "num_key_value_heads": 1}
_headed = {**_grouped, "head_dim": 4}
_gpt = {
    "n_layer": N_LAYERS,
    "n_embd": D_MODEL,
    "n_head": 2,
    "n_inner": D_MLP,
    "n_positions": N_POSITIONS,
    "vocab_size": VOCAB,
    **_special,
}
_delta = {
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "linear_conv_kernel_dim": 3,
}
_sliding = {"sliding_window": WINDOW}
_one_full = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
_one_linear = ["linear_attention", "full_attention", "linear_attention", "linear_attention"]
_experts = {"num_experts": 4, "num_experts_per_tok": 2}
_local_experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
_latent = {
    "q_lora_rank": 6,
    "kv_lora_rank": 6,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "num_key_value_heads": 2,
}
_routed = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}


def equation_1(before, a, m, block):
    """The paper's: h = h' + a + m."""
    return before + a + m


def _granite(before, a, m, block):
    return before + 0.22 * (a + m)


def _gemma4_sum(before, a, m, block):
    return (before + a + m) * block.layer_scalar


def _gpt1(before, a, m, block):
    return block.ln_2(block.ln_1(before + a) + m)


def _opt_post_norm(before, a, m, block):
    return block.final_layer_norm(block.self_attn_layer_norm(before + a) + m)


def _minimax(before, a, m, block):
    stream = block.input_layernorm(before)
    stream = stream * block.attn_alpha_factor + a * block.attn_beta_factor
    return block.post_attention_layernorm(stream) * 1.5 + m * 0.7


def _bloom_post_norm(before, a, m, block):
    return block.post_attention_layernorm(block.input_layernorm(before) + a) + m


class Family(NamedTuple):
    """How to build a tiny model, and where its parts are by its modelling code."""

    build: Callable
    names: dict
    """Pattern with {} for the layer, or a function of the layer; no entry where there is none."""
    down: str | Callable | None
    """The MLP's last matrix; None (or a function that returns it) where an edit is not defined."""
    equation: Callable | None = equation_1
    """(state before, a, m, block) -> state after; None with one branch only."""
    extra: str | None = None
    """A third branch within a block, which `equation` gets added to m."""
    scale: float = 0.5
    """Standard deviation of the random matrices."""
    dtype: torch.dtype = torch.float64
    """The widest dtype in which the family runs."""


def names(embedding, blocks, attn=None, mlp=None):
    """Names of a family's parts; `attn` and `mlp` within a block, or by layer within a block."""

    def within(part):
        if callable(part):
            return lambda layer: f"{blocks.format(layer)}.{part(layer)}"
        return f"{blocks}.{part}"

    found = {"embedding": embedding, "hidden": blocks}
    found |= {"attn": within(attn)} if attn else {}
    found |= {"mlp": within(mlp)} if mlp else {}
    return found


def llama_names(attn="self_attn", mlp="mlp", root="model"):
    return names(f"{root}.embed_tokens", f"{root}.layers.{{}}", attn, mlp)


def build(name, config=None, **options):
    """`<name>ForCausalLM` of `<config or name>Config`."""

    def make():
        made = getattr(transformers, f"{config or name}Config")(**options)
        return getattr(transformers, f"{name}ForCausalLM")(made)

    make.needs = {f"{config or name}Config", f"{name}ForCausalLM"}
    return make


def here(built):
    """Those whose classes this transformers has: not every family is in its oldest release."""
    there = set(dir(transformers))  # asking for a class would import it

    def needs(each):
        return getattr(getattr(each, "build", each), "needs", set())

    return {name: each for name, each in built.items() if needs(each) <= there}


def llama_like(name, config=None, *, down="mlp.down_proj", options=_grouped, **more):
    """A family with the module names of Llama."""
    return Family(
        build(name, config, **options, **more), llama_names(), f"model.layers.{{}}.{down}"
    )


def sandwich(name, config=None, *, options=_headed, root="model", norms=None, **more):
    """A family whose contributions leave through norms."""
    attn, mlp = norms or ("post_attention_layernorm", "post_feedforward_layernorm")
    return Family(
        build(name, config, **options, **more),
        llama_names(attn, mlp, root),
        f"{root}.layers.{{}}.mlp.down_proj",
    )


def experts(name, config=None, *, options=_grouped, mlp="mlp", down=None, **more):
    """A mixture of experts with the module names of Llama; run without fused kernels, which
    refuse float64."""

    def make():
        made = getattr(transformers, f"{config or name}Config")(**options, **more)
        made._experts_implementation = "eager"
        return getattr(transformers, f"{name}ForCausalLM")(made)

    make.needs = {f"{config or name}Config", f"{name}ForCausalLM"}
    return Family(make, llama_names(mlp=mlp), down)


def _dense_first(layer):
    return "model.layers.0.mlp.down_proj" if layer == 0 else None


def _by_layer(types, **parts):
    """The part by the layer's type: `_by_layer(types, conv="conv", full_attention="self_attn")`."""
    return lambda layer: parts[types[layer]]


_delta_names = llama_names(
    _by_layer(_one_linear, linear_attention="linear_attn", full_attention="self_attn")
)
_lfm2_types = ["conv", "full_attention", "conv", "full_attention"]
_opt = {
    **_depth,
    "hidden_size": D_MODEL,
    "ffn_dim": D_MLP,
    "num_attention_heads": 2,
    "max_position_embeddings": N_POSITIONS,
}
_opt_names = names("model.decoder.embed_tokens", "model.decoder.layers.{}", "self_attn", "fc2")
_bloom = {"n_layer": N_LAYERS, "hidden_size": D_MODEL, "n_head": 2, "vocab_size": VOCAB, **_special}
_bloom_names = names(
    "transformer.word_embeddings",
    "transformer.h.{}",
    "self_attention.dense",
    "mlp.dense_4h_to_h",
)
_falcon = {**_depth, "hidden_size": D_MODEL, "num_attention_heads": 2, "ffn_hidden_size": D_MLP}
_falcon_names = names("transformer.word_embeddings", "transformer.h.{}", "self_attention", "mlp")
_gpt_names = names("transformer.wte", "transformer.h.{}", "attn", "mlp")
_neox_names = names("gpt_neox.embed_in", "gpt_neox.layers.{}", "attention", "mlp")
_gemma3 = {
    **_headed,
    "query_pre_attn_scalar": 3,
    "layer_types": _one_full,
    "final_logit_softcapping": 5.0,
    **_sliding,
}
_gemma4 = {
    **_headed,
    "global_head_dim": 4,
    "layer_types": _one_full,
    "final_logit_softcapping": 5.0,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": VOCAB,
    **_sliding,
}


def _gpt_big_code(*, multi_query):
    return Family(
        build("GPTBigCode", **_gpt, multi_query=multi_query),
        _gpt_names,
        "transformer.h.{}.mlp.c_proj",
    )


def _falcon_flavour(**options):
    return Family(
        build("Falcon", **_falcon, **options), _falcon_names, "transformer.h.{}.mlp.dense_4h_to_h"
    )


def _gemma3_conditional():
    text = transformers.Gemma3TextConfig(**_gemma3)
    vision = {
        "hidden_size": 6,
        "intermediate_size": 10,
        "num_hidden_layers": N_LAYERS,  # as many as the text has blocks: not to be taken for them
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, image_token_id=28, mm_tokens_per_image=4
    )
    return transformers.Gemma3ForConditionalGeneration(config)


FAMILIES = {
    "gpt2": Family(
        lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**_gpt)),
        _gpt_names,
        "transformer.h.{}.mlp.c_proj",
    ),
    "gpt_neo": Family(
        build(
            "GPTNeo",
            num_layers=N_LAYERS,
            hidden_size=D_MODEL,
            num_heads=2,
            intermediate_size=D_MLP,
            vocab_size=VOCAB,
            max_position_embeddings=N_POSITIONS,
            attention_types=[[["global", "local"], 2]],
            window_size=WINDOW,
            **_special,
        ),
        _gpt_names,
        "transformer.h.{}.mlp.c_proj",
    ),
    "gptj": Family(build("GPTJ", **_gpt, rotary_dim=2), _gpt_names, "transformer.h.{}.mlp.fc_out"),
    "gpt_neox, parallel": Family(
        build("GPTNeoX", **_common, use_parallel_residual=True),
        _neox_names,
        "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    ),
    "gpt_neox, sequential": Family(
        build("GPTNeoX", **_common, use_parallel_residual=False),
        _neox_names,
        "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    ),
    "opt": Family(build("OPT", **_opt), _opt_names, "model.decoder.layers.{}.fc2"),
    "opt, norm on the stream": Family(
        build("OPT", **_opt, do_layer_norm_before=False, word_embed_proj_dim=6),
        _opt_names,
        "model.decoder.layers.{}.fc2",
        _opt_post_norm,
    ),
    "bloom": Family(build("Bloom", **_bloom), _bloom_names, "transformer.h.{}.mlp.dense_4h_to_h"),
    "bloom, norm on the stream": Family(
        build("Bloom", **_bloom, apply_residual_connection_post_layernorm=True),
        _bloom_names,
        "transformer.h.{}.mlp.dense_4h_to_h",
        _bloom_post_norm,
    ),
    "mpt": Family(
        build(
            "Mpt",
            d_model=D_MODEL,
            n_heads=2,
            n_layers=N_LAYERS,
            max_seq_len=N_POSITIONS,
            vocab_size=VOCAB,
            logit_scale=0.7,
            **_special,
        ),
        names("transformer.wte", "transformer.blocks.{}", "attn", "ffn.down_proj"),
        "transformer.blocks.{}.ffn.down_proj",
    ),
    "falcon, parallel": _falcon_flavour(),
    "falcon, sequential with alibi": _falcon_flavour(parallel_attn=False, alibi=True),
    "falcon, new architecture": _falcon_flavour(new_decoder_architecture=True, num_kv_heads=2),
    "falcon, new architecture with one norm": _falcon_flavour(
        new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1
    ),
    "phi": llama_like("Phi", down="mlp.fc2", options=_common),
    "phi3": llama_like("Phi3", **_sliding),
    "llama": llama_like("Llama"),
    "llama, with biases": llama_like("Llama", mlp_bias=True, attention_bias=True),
    "mistral": llama_like("Mistral", **_sliding),
    "ministral": llama_like("Ministral", options=_headed, layer_types=_one_full, **_sliding),
    "ministral3": llama_like("Ministral3", options=_headed),
    "qwen2": llama_like("Qwen2"),
    "qwen3": llama_like("Qwen3", options=_headed),
    "smollm3": llama_like("SmolLM3", no_rope_layers=[1, 1, 0, 1]),
    "olmo": llama_like("Olmo", clip_qkv=2.0),
    "olmo2": sandwich("Olmo2", options=_grouped),
    "olmo3": sandwich("Olmo3", options=_grouped, layer_types=_one_full, **_sliding),
    "seed_oss": llama_like("SeedOss", options=_headed),
    "ernie4_5": llama_like("Ernie4_5", options=_headed, use_bias=True),
    "hunyuan dense": llama_like("HunYuanDenseV1", options=_headed),
    "arcee": llama_like("Arcee"),
    "stablelm, sequential": llama_like("StableLm", use_parallel_residual=False, qk_layernorm=True),
    "stablelm, parallel": llama_like("StableLm", use_parallel_residual=True),
    "qwen3_5": Family(
        build("Qwen3_5", "Qwen3_5Text", **_headed, **_delta, layer_types=_one_linear),
        _delta_names,
        "model.layers.{}.mlp.down_proj",
    ),
    "gemma": llama_like("Gemma", options=_headed),
    "gemma2": sandwich(
        "Gemma2",
        query_pre_attn_scalar=3,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=5.0,
        layer_types=_one_full,
        **_sliding,
    ),
    "gemma3, text": sandwich("Gemma3", "Gemma3Text", options=_gemma3),
    "gemma3, with vision": Family(
        _gemma3_conditional,
        llama_names(
            "post_attention_layernorm", "post_feedforward_layernorm", "model.language_model"
        ),
        "model.language_model.layers.{}.mlp.down_proj",
    ),
    "gemma4": sandwich("Gemma4", "Gemma4Text", options=_gemma4)._replace(equation=_gemma4_sum),
    "gemma4, with inputs per layer": sandwich(
        "Gemma4",
        "Gemma4Text",
        options={**_gemma4, "hidden_size_per_layer_input": 4},
        num_kv_shared_layers=2,
    )._replace(equation=_gemma4_sum, extra="post_per_layer_input_norm"),
    "exaone4": sandwich("Exaone4", options=_grouped, layer_types=_one_full, **_sliding),
    "glm": llama_like("Glm", options=_headed),
    "glm4": sandwich("Glm4", norms=("post_self_attn_layernorm", "post_mlp_layernorm")),
    "cohere": llama_like("Cohere", logit_scale=0.3),
    "cohere2": llama_like("Cohere2", logit_scale=0.7, layer_types=_one_full, **_sliding),
    "granite": llama_like(
        "Granite",
        embedding_multiplier=2.0,
        logits_scaling=0.5,
        residual_multiplier=0.22,
        attention_multiplier=0.3,
    )._replace(equation=_granite),
    "starcoder2": llama_like("Starcoder2", down="mlp.c_proj", **_sliding),
    "gpt_bigcode, multi-query": _gpt_big_code(multi_query=True),
    "gpt_bigcode, multi-head": _gpt_big_code(multi_query=False),
    "nemotron": llama_like("Nemotron"),
    "apertus": llama_like("Apertus"),
    "helium": llama_like("Helium", options=_headed),
    "openai_gpt": Family(
        lambda: transformers.OpenAIGPTLMHeadModel(
            transformers.OpenAIGPTConfig(
                n_layer=N_LAYERS,
                n_embd=D_MODEL,
                n_head=2,
                vocab_size=VOCAB,
                n_positions=N_POSITIONS,
            )
        ),
        names("transformer.tokens_embed", "transformer.h.{}", "attn", "mlp"),
        "transformer.h.{}.mlp.c_proj",
        _gpt1,
    ),
    "biogpt": Family(
        build("BioGpt", **_common),
        names("biogpt.embed_tokens", "biogpt.layers.{}", "self_attn", "fc2"),
        "biogpt.layers.{}.fc2",
    ),
    "persimmon": llama_like("Persimmon", down="mlp.dense_4h_to_h", options=_common),
    "nanochat": llama_like("NanoChat", down="mlp.fc2"),
    "vaultgemma": llama_like("VaultGemma", options=_headed, layer_types=_one_full, **_sliding),
    "jamba": experts(
        "Jamba",
        **_experts,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        use_mamba_kernels=False,
        mamba_dt_rank=2,
        mamba_d_state=4,
        down=lambda layer: None if layer % 2 else f"model.layers.{layer}.feed_forward.down_proj",
    )._replace(
        names=llama_names(lambda layer: "self_attn" if layer % 2 else "mamba", "feed_forward")
    ),
    "falcon_mamba": Family(
        build("FalconMamba", **_depth, hidden_size=D_MODEL, state_size=4),
        names("backbone.embeddings", "backbone.layers.{}"),
        None,
        None,
        dtype=torch.float32,  # its residual stream is float32 whatever the model is
    ),
    "lfm2": Family(
        build(
            "Lfm2",
            **_grouped,
            layer_types=_lfm2_types,
            block_auto_adjust_ff_dim=False,
        ),
        llama_names(
            _by_layer(_lfm2_types, conv="conv", full_attention="self_attn"), "feed_forward"
        ),
        "model.layers.{}.feed_forward.w2",
    ),
    "mamba": Family(
        build("Mamba", **_depth, hidden_size=D_MODEL, state_size=4),
        names("backbone.embeddings", "backbone.layers.{}"),
        None,
        None,
        dtype=torch.float32,  # its residual stream is float32 whatever the model is
    ),
    "mixtral": experts("Mixtral", **_local_experts, **_sliding),
    "olmoe": experts("Olmoe", **_experts),
    "qwen2_moe": experts(
        "Qwen2Moe",
        **_experts,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=14,
        mlp_only_layers=[0],
        down=_dense_first,
    ),
    "qwen3_moe": experts(
        "Qwen3Moe",
        options=_headed,
        **_experts,
        moe_intermediate_size=12,
        mlp_only_layers=[0],
        down=_dense_first,
    ),
    "qwen3_next": experts(
        "Qwen3Next",
        options=_headed,
        **_experts,
        **_delta,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=14,
        layer_types=_one_linear,
    )._replace(names=_delta_names),
    "gpt_oss": experts(
        "GptOss", options=_headed, **_local_experts, layer_types=_one_full, **_sliding
    ),
    "minimax": experts(
        "MiniMax",
        options=_headed,
        **_local_experts,
        layer_types=_one_linear,
        block_size=4,
        full_attn_alpha_factor=1.2,
        full_attn_beta_factor=0.8,
        linear_attn_alpha_factor=1.3,
        linear_attn_beta_factor=0.6,
        mlp_alpha_factor=1.5,
        mlp_beta_factor=0.7,
    )._replace(equation=_minimax),
    "minimax_m2": experts("MiniMaxM2", options=_headed, **_local_experts),
    "phimoe": experts("Phimoe", **_local_experts, **_sliding),
    "llama4, text": experts(
        "Llama4",
        "Llama4Text",
        options=_headed,
        mlp="feed_forward",
        num_local_experts=4,
        num_experts_per_tok=1,
        intermediate_size_mlp=14,
        moe_layers=[1, 3],
        attention_chunk_size=WINDOW,
        down=lambda layer: (
            None if layer in (1, 3) else f"model.layers.{layer}.feed_forward.down_proj"
        ),
    ),
    "deepseek_v3": experts(
        "DeepseekV3", options={**_grouped, **_latent, **_routed}, down=_dense_first
    ),
    "glm4_moe": experts("Glm4Moe", options={**_headed, **_routed}, down=_dense_first),
    "granitemoe": experts(
        "GraniteMoe",
        mlp="block_sparse_moe",
        **_local_experts,
        embedding_multiplier=2.0,
        logits_scaling=1.5,
        residual_multiplier=0.22,
        attention_multiplier=0.3,
    )._replace(equation=_granite),
    "granitemoeshared": experts(
        "GraniteMoeShared",
        **_local_experts,
        shared_intermediate_size=12,
        residual_multiplier=0.3,
        attention_multiplier=0.3,
        logits_scaling=0.5,
    )._replace(
        # Its MLP is experts and a shared MLP side by side: neither is the contribution.
        names=names("model.embed_tokens", "model.layers.{}", "self_attn"),
        equation=None,
    ),
    "gemma4, with experts": experts(
        "Gemma4",
        "Gemma4Text",
        options=_gemma4,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=12,
    )._replace(
        equation=_gemma4_sum,
        names=llama_names("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
}

REFUSED = {
    "deepseek_v4": build(
        "DeepseekV4",
        **{**_headed, "head_dim": 8},
        moe_intermediate_size=12,
        q_lora_rank=6,
        **{k: v for k, v in _routed.items() if k in ("n_routed_experts", "num_experts_per_tok")},
        o_groups=2,
        o_lora_rank=4,
        index_n_heads=2,
        index_head_dim=8,
        hc_mult=3,
        **_sliding,
    ),
    "falcon_h1": build(
        "FalconH1",
        **_headed,
        mamba_d_ssm=16,
        mamba_n_heads=4,
        mamba_d_head=4,
        mamba_d_state=4,
        mamba_n_groups=1,
    ),
    "gemma3n": build(
        "Gemma3n",
        "Gemma3nText",
        **{**_headed, "intermediate_size": [D_MLP] * N_LAYERS},
        hidden_size_per_layer_input=4,
        vocab_size_per_layer_input=VOCAB,
        laurel_rank=2,
        num_kv_shared_layers=0,
        layer_types=_one_full,
        activation_sparsity_pattern=[0.0] * N_LAYERS,
        **_sliding,
    ),
}
"""Families that pass several streams from block to block, so that there is no single hidden
state, or whose blocks have attention and a state-space mixer side by side."""


FAMILIES, REFUSED = here(FAMILIES), here(REFUSED)


def tiny_family(name, *, dtype=None, seed=0):
    """A random model of the family, in the widest dtype it runs in.

    Matrices are drawn anew, so that effects are large whatever the family's own start is; norms
    and biases are moved away from 1 and 0.
    """
    family = FAMILIES.get(name)
    torch.manual_seed(seed)
    model = (family.build if family else REFUSED[name])().eval()
    scale = family.scale if family else 0.5
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith(("A_log", "dt_bias", "alpha_p", "alpha_n")):
                continue  # exponents of a decay or an activation: large ones overflow
            if weight.ndim > 1:
                weight.normal_(0, scale)
            else:
                weight.add_(torch.randn_like(weight) * 0.3)
        for key, buffer in model.named_buffers():
            if key.endswith("layer_scalar"):
                buffer.copy_(torch.rand(1) + 0.5)
            if key.endswith("e_score_correction_bias"):
                buffer.normal_(0, 0.1)
    return model.to(dtype or (family.dtype if family else torch.float32))


def site(part, layer):
    """Module name of a part in a layer, or None; `part` is an entry of `Family`."""
    if part is None:
        return None
    return part(layer) if callable(part) else part.format(layer)
