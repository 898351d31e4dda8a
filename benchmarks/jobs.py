"""The models and prompts that are measured: known shapes, random weights, random words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    PreTrainedTokenizerFast,
)

import rome_widgets as rw
from benchmarks import naive

SAMPLES, WINDOW = 10, 10
KINDS: tuple[Literal["hidden", "mlp", "attn"], ...] = ("hidden", "mlp", "attn")


@dataclass(frozen=True)
class Shape:
    """The size of a model; rotary ones have the layout of GPT-J, the others that of GPT-2."""

    n_layers: int
    d_model: int
    n_heads: int
    vocabulary: int = 50257
    rotary: int = 0
    """Dimensions of a head that are rotated; 0: learned positions."""

    def __str__(self) -> str:
        return f"{self.n_layers} layers × {self.d_model}"


GPT2_SMALL = Shape(12, 768, 12)
SIX_LAYERS = Shape(6, 768, 12)
DEEP = Shape(24, 768, 12)
GPT2_XL = Shape(48, 1600, 25)
GPTJ = Shape(28, 4096, 16, vocabulary=50400, rotary=64)


def make_lm(
    shape: Shape, *, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> rw.LanguageModel:
    """A model with random weights, made on `device` in `dtype`, and a tokenizer of words."""
    return attached(make_model(shape, device=device, dtype=dtype, seed=seed), shape)


def attached(model: Any, shape: Shape) -> rw.LanguageModel:
    """A model of this shape with a tokenizer of words."""
    return rw.LanguageModel(model, _tokenizer(shape.vocabulary), name=str(shape))


def make_model(shape: Shape, *, device: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """A model with random weights, made on `device` in `dtype`."""
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return _model(shape).eval()
    finally:
        torch.set_default_dtype(before)


def _model(shape: Shape) -> Any:
    sizes: dict[str, Any] = {
        "n_layer": shape.n_layers,
        "n_embd": shape.d_model,
        "n_head": shape.n_heads,
        "vocab_size": shape.vocabulary,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    if shape.rotary:
        return GPTJForCausalLM(GPTJConfig(**sizes, rotary_dim=shape.rotary))
    return GPT2LMHeadModel(GPT2Config(**sizes))


def _tokenizer(n_words: int) -> PreTrainedTokenizerFast:
    """One token per word: `w0`, `w1`, ..."""
    vocabulary = {f"w{number}": number for number in range(n_words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0")


class Cell(NamedTuple):
    """One cell of one grid."""

    pos: int
    layer: int
    kind: Literal["hidden", "mlp", "attn"]


@dataclass
class Job:
    """One prompt of one model: random words, some of them the subject, and the noise on it."""

    lm: rw.LanguageModel
    length: int = 12
    span: tuple[int, int] = (1, 5)
    seed: int = 0
    samples: int = SAMPLES
    ids: list[int] = field(init=False)
    noise: np.ndarray = field(init=False)
    """`[samples, span, d_model]`: three standard deviations of the embeddings."""

    def __post_init__(self) -> None:
        random = np.random.RandomState(self.seed)
        n_words = len(self.lm.tokenizer)
        self.ids = random.choice(n_words, self.length, replace=False).tolist()
        embedded = self.lm.embed(self.ids).float()
        n_subject = self.span[1] - self.span[0]
        draws = random.randn(self.samples, n_subject, embedded.shape[1])
        self.noise = draws * 3 * float(embedded.std())

    def tracer(self) -> rw.CausalTracer:
        """Ours: both runs made, ready to restore."""
        words = [f"w{number}" for number in self.ids]
        start = len(" ".join(words[: self.span[0]])) + bool(self.span[0])
        stop = len(" ".join(words[: self.span[1]]))
        return rw.CausalTracer(
            self.lm, " ".join(words), (start, stop), noise=self.noise, window=WINDOW
        )

    def naive(self, way: type[naive.Published] = naive.Published) -> naive.Published:
        """The naive way over the same rows."""
        return way(self.lm.model, self.ids, self.span, torch.from_numpy(self.noise))

    def states(self, cell: Cell) -> list[naive.State]:
        """What the cell restores."""
        return naive.cell_states(*cell, WINDOW, self.lm.n_layers)

    def cells(self, per_kind: int) -> Iterator[Cell]:
        """Random cells, the kinds in turn."""
        random = np.random.RandomState(self.seed + 1)
        for _ in range(per_kind):
            for kind in KINDS:
                yield Cell(
                    int(random.randint(self.length)), int(random.randint(self.lm.n_layers)), kind
                )

    @property
    def cells_per_kind(self) -> int:
        """How many cells a grid has."""
        return self.length * self.lm.n_layers
