"""Tiny random models and small tokenizers, made from configs; nothing is downloaded.

No two axes have the same length (5 layers, 7 tokens, 4 samples, width 8, MLP 20, vocabulary 29),
so that a transposition cannot pass a test.
"""

import copy
import functools
import json

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.tracer import CausalTracer

N_LAYERS, N_POSITIONS, D_MODEL, D_MLP, VOCAB = 5, 16, 8, 20, 29
PROMPT, SUBJECT = "w3 w14 w15 w9 w26 w5 w8", "w14 w15"
SAMPLES = 4

_special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
_gpt = {"n_layer": N_LAYERS, "n_embd": D_MODEL, "n_head": 2, "n_inner": D_MLP, "vocab_size": VOCAB}
_common = {
    "num_hidden_layers": N_LAYERS,
    "hidden_size": D_MODEL,
    "num_attention_heads": 2,
    "intermediate_size": D_MLP,
    "vocab_size": VOCAB,
    "max_position_embeddings": N_POSITIONS,
}

FAMILIES = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**_gpt, n_positions=N_POSITIONS, **_special)),
    "gptj": lambda: GPTJForCausalLM(
        GPTJConfig(**_gpt, n_positions=N_POSITIONS, rotary_dim=2, **_special)
    ),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_common, rotary_pct=0.5, **_special)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_common, num_key_value_heads=1, **_special)),
}

NAMES = {
    "gpt2": {
        "embedding": "transformer.wte",
        "hidden": "transformer.h.{}",
        "attn": "transformer.h.{}.attn",
        "mlp": "transformer.h.{}.mlp",
    },
    "neox": {
        "embedding": "gpt_neox.embed_in",
        "hidden": "gpt_neox.layers.{}",
        "attn": "gpt_neox.layers.{}.attention",
        "mlp": "gpt_neox.layers.{}.mlp",
    },
    "llama": {
        "embedding": "model.embed_tokens",
        "hidden": "model.layers.{}",
        "attn": "model.layers.{}.self_attn",
        "mlp": "model.layers.{}.mlp",
    },
}
NAMES["gptj"] = NAMES["gpt2"]


def tiny_model(family, *, scale=1.0, dtype=torch.float32, seed=0):
    """A random model of `family`; `scale` multiplies its matrices, so that effects are large."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(scale)
    return model.to(dtype)


def word_tokenizer(n_words=VOCAB):
    """One token per word: `w0`, `w1`, ...; offsets are the words' own."""
    vocabulary = {f"w{i}": i for i in range(n_words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0")


def tiny_lm(family="gpt2", **options):
    """A `LanguageModel` over `tiny_model(family, ...)`."""
    return LanguageModel(tiny_model(family, **options), word_tokenizer(), name=f"tiny {family}")


_caches = []


def kept_for_a_file(make):
    """As `functools.cache`, but what is made goes when the tests of a file are over."""
    cached = functools.cache(make)
    _caches.append(cached)
    return cached


@kept_for_a_file
def _attached(family, options):
    return tiny_lm(family, **dict(options))


def shared_lm(family="gpt2", *, engine="replay", **options):
    """As `tiny_lm`, attached once for all tests of a file: for tests that leave it as it was.

    Args:
        engine: "replay", or "whole passes" for one that restores states by these.
    """
    lm = _attached(family, tuple(options.items()))
    assert lm.engine == "replay"
    if engine != "replay":
        lm = copy.copy(lm)
        lm.replay = None
    return lm


def forget_shared_lms():
    """Let them go; `conftest.py` does after each file, so that nobody looks at them any more."""
    for cached in _caches:
        cached.cache_clear()


def tiny_tracer(lm, **options):
    """A `CausalTracer` of `SUBJECT` in `PROMPT`, with strong noise and few samples."""
    options = {"noise": Noise.absolute(2.0), "samples": SAMPLES} | options
    return CausalTracer(lm, PROMPT, SUBJECT, **options)


# ------------------------------------------------------------------------------ tokenizers

TEXT = ["The Space Needle is in the city of Seattle. Café naïve 東京 приве́т 👩‍🚀 {}<|x|>"] * 20


def _byte_level(*, prefix_space, bos=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def _metaspace():
    """SentencePiece's manner: `▁` for a space, bytes as `<0xF0>`, a BOS in front."""
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(
        ["The Space Needle is in the city of Seattle."] * 5,
        trainers.BpeTrainer(vocab_size=360, special_tokens=specials, show_progress=False),
    )
    vocabulary = trained.get_vocab()
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in specials[:3]])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


CHAT_TOKENS = ("<|start|>", "<|end|>", "<s>", "</s>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def chat_tokenizer(*, before="", after="", begins=False):
    """Byte-level, with special tokens of a chat and a template for it.

    `before` and `after` are tokens it adds at the ends of a text; where it `begins`, the template
    writes `<s>` first.
    """
    tokenizer = copy.deepcopy(TOKENIZERS["byte-level"]())
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": [*CHAT_TOKENS[:2]]}
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(filter(None, (before, "$A", after))),
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in CHAT_TOKENS],
    )
    tokenizer.chat_template = ("<s>" if begins else "") + CHAT_TEMPLATE
    return tokenizer


CHATS = {
    "adds nothing": functools.cache(chat_tokenizer),
    "adds a start": functools.cache(lambda: chat_tokenizer(before="<s>")),
    "adds a start that the template writes": functools.cache(
        lambda: chat_tokenizer(before="<s>", begins=True)
    ),
    "adds an end": functools.cache(lambda: chat_tokenizer(before="<s>", after="</s>", begins=True)),
    "begins with its template only": functools.cache(lambda: chat_tokenizer(begins=True)),
}
"""Tokenizers with a chat template, by what they add to a text."""


@kept_for_a_file
def chat_lm(kind="adds a start"):
    """A tiny model that reads chats, attached once: for tests that leave it as it was."""
    torch.manual_seed(1)
    tokenizer = CHATS[kind]()
    config = {**_gpt, "vocab_size": len(tokenizer), "n_positions": 256}
    model = GPT2LMHeadModel(GPT2Config(**config, **_special)).eval()
    return LanguageModel(model, tokenizer, name="tiny chat")


TOKENIZERS = {
    "byte-level": functools.cache(lambda: _byte_level(prefix_space=False)),
    "byte-level with prefix space": functools.cache(lambda: _byte_level(prefix_space=True)),
    "byte-level with BOS": functools.cache(lambda: _byte_level(prefix_space=False, bos=True)),
    "metaspace with byte fallback": functools.cache(_metaspace),
    "words": functools.cache(word_tokenizer),
}
