"""Tiny Llamas as GGUF files, written as llama.cpp's converter writes them."""

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

N_LAYERS, D_MODEL, D_MLP, N_HEADS = 3, 64, 96, 4
WORDS = [chr(number) for number in range(ord("a"), ord("z") + 1)]
TOKENS = ["<unk>", "<s>", "</s>", "Ġ", *WORDS, *(f"Ġ{word}" for word in WORDS)]


def tiny_llama(seed=0):
    """A random model, of a vocabulary of letters with and without a space before them."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=D_MODEL,
        intermediate_size=D_MLP,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.5,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.{letter}_proj": f"attn_{letter}" for letter in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")},
}


def _paired(weight, n_heads):
    """Rows of a head as GGUF has them for rotation: halves side by side become pairs."""
    rows = weight.reshape(n_heads, 2, -1, weight.shape[1])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def _tensors(model):
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    yield "output_norm.weight", weights["model.norm.weight"]
    yield "output.weight", weights["lm_head.weight"]
    for layer in range(model.config.num_hidden_layers):
        for ours, theirs in NAMES.items():
            weight = weights[f"model.layers.{layer}.{ours}.weight"]
            heads = {"attn_q": N_HEADS, "attn_k": 2}.get(theirs)
            weight = _paired(weight, heads) if heads else weight
            yield f"blk.{layer}.{theirs}.weight", np.ascontiguousarray(weight)


def write_gguf(path, model, kind="F32", *, architecture="llama"):
    """Write the model there, its matrices quantised as `kind`; returns the path."""
    config, as_kind = model.config, gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([2, 3, 3, *[1] * (len(TOKENS) - 3)])
    writer.add_token_merges([f"Ġ {word}" for word in WORDS])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, weight in _tensors(model):
        if weight.ndim == 2 and kind != "F32":
            writer.add_tensor(name, gguf.quants.quantize(weight, as_kind), raw_dtype=as_kind)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
