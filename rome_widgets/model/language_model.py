"""A causal language model as the rest of the package sees it: parts, tokens, and one way to run.

The user's model is never changed: it is put in eval mode while something runs and put back
afterwards, and hooks are attached for one call at a time.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model import tokens
from rome_widgets.model.geometry import (
    Geometry,
    accepts,
    check_kind_of_model,
    find_geometry,
    non_finite,
)
from rome_widgets.model.hooks import Visitor, run_hooked
from rome_widgets.results import Kind

_UNLIMITED = 1_000_000
"""A tokenizer without a limit states a huge number; anything above this is no limit."""


class LanguageModel:
    """A model and its tokenizer, checked and ready to trace.

    Args:
        model: A causal language model of transformers; `torch.compile`, nnsight and PEFT
            wrappers are unwrapped.
        tokenizer: Its tokenizer; never changed.
        name: What to call it on screen; its own name or path by default.

    Raises:
        UnsupportedModel: The parts could not be found, or the probe pass disproved them.

    Example:
        >>> lm = LanguageModel(model, tokenizer)
        >>> lm.n_layers, lm.device
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str | None = None) -> None:
        if tokenizer is None or not callable(tokenizer):
            raise UnsupportedModel(
                f"The tokenizer is {type(tokenizer).__name__}.",
                "The model's own tokenizer was wanted.",
                "Load it with AutoTokenizer.from_pretrained.",
            )
        self.model = unwrap(model)
        check_kind_of_model(self.model)
        self.tokenizer: Any = tokenizer
        # A copy for our own encoding: reading special-token text as text sets a flag in the
        # tokenizer, which the user's code, in another thread perhaps, must never see.
        self._encoder: Any = copy.deepcopy(tokenizer)
        self.name = name or _own_name(self.model)
        with quiet(self.model), torch.inference_mode():
            self.geometry: Geometry = find_geometry(self.model)
        self._last_only = {"logits_to_keep": 1} if accepts(self.model, "logits_to_keep") else {}

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return (
            f"LanguageModel({self.name!r}: {self.n_layers} layers, "
            f"d_model {self.geometry.d_model}, {dtype} on {self.device})"
        )

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.geometry.n_layers

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where token ids go: the device of the input embedding."""
        return self._embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the input embedding, in which noise is added."""
        return self._embedding.weight.dtype

    @property
    def n_positions(self) -> int | None:
        """Longest prompt in tokens: the smaller of what tokenizer and model state."""
        config = self.model.config.get_text_config()
        limits = [
            getattr(config, "max_position_embeddings", None),
            getattr(self.tokenizer, "model_max_length", None),
        ]
        known = [int(limit) for limit in limits if limit and limit < _UNLIMITED]
        return min(known, default=None)

    @property
    def _embedding(self) -> nn.Embedding:
        return self.model.get_submodule(self.geometry.embedding)

    # ------------------------------------------------------------------------------- text

    def encode(self, prompt: str, subject: str | tuple[int, int]) -> tokens.EncodedPrompt:
        """The prompt as positions, with the subject's span; see `tokens.encode_prompt`."""
        return tokens.encode_prompt(
            self._encoder,
            prompt,
            subject,
            max_tokens=self.n_positions,
            n_embeddings=self._embedding.num_embeddings,
        )

    def token_text(self, token_id: int) -> str:
        """Printable text of a token id; ids beyond the vocabulary are named, never fatal."""
        return tokens.token_text(self._encoder, token_id)

    def encode_alone(self, text: str) -> list[int]:
        """Token ids of a text by itself, without special tokens, such as a subject for σ.

        Raises:
            VocabMismatch: A token id without an embedding row.
        """
        ids = tokens.encode_bare(self._encoder, text)
        tokens.check_ids(ids, n_embeddings=self._embedding.num_embeddings)
        return ids

    def answer_ids(self, prompt: str, word: str) -> list[int]:
        """The tokens with which `prompt` goes on to `word`; see `tokens.answer_ids`.

        Raises:
            VocabMismatch: A token id without an embedding row.
        """
        ids = tokens.answer_ids(self._encoder, prompt, word)
        tokens.check_ids(ids, n_embeddings=self._embedding.num_embeddings)
        return ids

    # -------------------------------------------------------------------------------- runs

    def next_token_probabilities(
        self, ids: Tensor, visitors: Iterable[tuple[str, Visitor]] = ()
    ) -> Tensor:
        """Probabilities of the next token after each row, with visitors at named modules.

        Args:
            ids: `[batch, pos]` token ids; rows are of one length, so nothing is padded.
            visitors: Module name and visitor; see `hooks.run_hooked`.

        Returns:
            `[batch, vocab]`, softmax taken in float32, or float64 where the logits are.

        Raises:
            NonFinite: NaN or infinity in the logits, with the first module that makes it.
        """
        with torch.inference_mode():
            return self._finite_logits(ids, visitors).softmax(dim=-1)

    def next_token_log_probabilities(
        self, ids: Tensor, visitors: Iterable[tuple[str, Visitor]] = ()
    ) -> Tensor:
        """`[batch, vocab]`, in the caller's grad mode; else as `next_token_probabilities`."""
        return self._finite_logits(ids, visitors).log_softmax(dim=-1)

    def _finite_logits(self, ids: Tensor, visitors: Iterable[tuple[str, Visitor]]) -> Tensor:
        """`[batch, vocab]` after the last position, in float32 or float64."""
        ids = ids.to(self.device)
        named = [(self.model.get_submodule(name), visitor) for name, visitor in visitors]
        with quiet(self.model), _full_precision(self.device):
            logits = run_hooked(lambda: self._last_logits(ids), named)
            if not torch.isfinite(logits).all():
                raise non_finite(self.model, lambda: self._last_logits(ids), named)
        return logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)

    def _last_logits(self, ids: Tensor) -> Tensor:
        mask = torch.ones_like(ids)
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **self._last_only)
        return output.logits[:, -1]

    def embed(self, ids: Iterable[int]) -> Tensor:
        """`[pos, d_model]`: what the input-embedding module puts out for `ids`."""
        row = torch.tensor([list(ids)], device=self.device)
        with torch.inference_mode():
            return self._embedding(row)[0]

    @property
    def weights_version(self) -> tuple[Any, ...]:
        """Changes whenever a weight is written in place, replaced, moved or cast."""
        return tuple((id(weight), _version(weight)) for weight in self.model.parameters())

    def sites(self, kind: Kind) -> tuple[str, ...]:
        """Module names, by layer, whose outputs are the states of `kind`."""
        return self.geometry.names(kind)


def check_language_model(lm: Any) -> LanguageModel:
    """`lm`, if it is one.

    Raises:
        UnsupportedModel: Something else, such as the transformers model itself.
    """
    if not isinstance(lm, LanguageModel):
        raise UnsupportedModel(
            f"{type(lm).__name__} is not a LanguageModel.",
            "What rome_widgets.load returns was wanted.",
            f"Load it: rome_widgets.load({lm!r})."
            if isinstance(lm, str)
            else "Wrap it: rome_widgets.LanguageModel(model, tokenizer).",
        )
    return lm


def _version(weight: Tensor) -> int:
    """How often a tensor was written in place; tensors of inference mode do not count."""
    return 0 if weight.is_inference() else weight._version


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A float64 array on the CPU."""
    return tensor.detach().double().cpu().numpy()


def unwrap(model: Any) -> Any:
    """The transformers model inside `torch.compile`, nnsight or PEFT; anything else as it is."""
    for attribute in ("_orig_mod", "_module"):
        inner = getattr(model, "__dict__", {}).get(attribute)
        inner = inner if inner is not None else getattr(model, "_modules", {}).get(attribute)
        if isinstance(inner, nn.Module):
            return unwrap(inner)
    if hasattr(model, "get_base_model") and hasattr(model, "peft_config"):
        return model.get_base_model()
    return model


def _own_name(model: nn.Module) -> str:
    path = getattr(model.config, "_name_or_path", "")
    return str(path).rstrip("/").rsplit("/", 1)[-1] or type(model).__name__


# ------------------------------------------------------------------- leaving a model as it was

_quiet_lock = threading.Lock()
_quiet: weakref.WeakKeyDictionary[nn.Module, list[Any]] = weakref.WeakKeyDictionary()


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; the training flags that were there before, afterwards.

    Threads share it: the first one in switches, the last one out switches back.
    """
    with _quiet_lock:
        entry = _quiet.setdefault(model, [0, {}])
        if entry[0] == 0:
            entry[1] = {name: True for name, module in model.named_modules() if module.training}
            _set_training(model, entry[1], training=False)
        entry[0] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            entry[0] -= 1
            if entry[0] == 0:
                _set_training(model, entry[1], training=True)


def _set_training(model: nn.Module, names: Mapping[str, bool], *, training: bool) -> None:
    for name in names:
        model.get_submodule(name).training = training


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Outside any autocast the caller may be in: numbers must not depend on it."""
    with torch.autocast(device.type, enabled=False):
        yield
