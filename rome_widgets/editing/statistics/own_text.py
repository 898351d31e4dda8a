"""Text that a model writes itself: drawn token by token at temperature 1 from its start token.

It is what the model takes for likely, in whatever languages and forms it was trained on, so that
statistics of the keys can be had without a data set. It is written without the edits that the
model carries, once, and kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rome_widgets.errors import Cancelled, EditFileError, SaveFailed
from rome_widgets.files import checksummed_file
from rome_widgets.files.atomic_write import make_folder
from rome_widgets.files.cache_folder import cache_folder
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.model.generation import FIRST_WORDS, IncrementalDecoder, start_ids
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.memory import in_pieces
from rome_widgets.model.unedited_model import UneditedModel
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.trace import CancelFlag

logger = logging.getLogger(__name__)

FORMAT = FileKind("rome_widgets.own_text", EditFileError, "numpy", finite=False)
AT_ONCE = 64
"""Most texts that are written side by side: each step reads all weights, for however many."""
BLOCK = 512
"""Tokens of the vocabulary that are summed together."""
MOST_CACHE = 2 * 2**30
"""Bytes that the keys and values of the texts written side by side may take."""


def own_text(
    lm: LanguageModel,
    n_tokens: int,
    longest: int,
    seed: int = 0,
    progress: Callable[[EditProgress], None] = lambda step: None,
    cancel: CancelFlag | None = None,
) -> list[list[int]]:
    """Texts of `n_tokens` in all, start tokens included; the last one is cut to fit.

    Args:
        lm: The model.
        n_tokens: How many tokens.
        longest: Of one text, in tokens; one ends sooner where the model ends it.
        seed: Of the draws. The same seed gives the same texts.
        progress: Called after each token of the texts that are written side by side.
        cancel: Checked at the same time.

    Raises:
        Cancelled: `cancel` was set.
        ModelChanged: Somebody wrote the weights meanwhile.
    """
    base = UneditedModel(lm)
    about = {
        "weights": base.digest,
        "built": lm.identity.built,
        "dtype": str(lm.dtype),
        "start": [start_ids(lm, number) for number in range(len(FIRST_WORDS))],
        "ends": sorted(_ends(lm)),
        "n_tokens": n_tokens,
        "longest": longest,
        "seed": seed,
    }
    path = None if lm.foreign else _place_in_cache(about)
    if path is not None and path.exists():
        try:
            return _read(path)
        except EditFileError as error:
            logger.warning("The model's own text is written again: %s", error)
    texts = _Writer(base, lm, n_tokens, longest, seed, progress, cancel).texts()
    if path is not None:
        _keep(path, texts)
    return texts


@dataclass
class _Writer:
    base: UneditedModel
    lm: LanguageModel
    n_tokens: int
    longest: int
    seed: int
    progress: Callable[[EditProgress], None]
    cancel: CancelFlag | None
    done: int = 0
    """Tokens of the texts that are finished."""

    def texts(self) -> list[list[int]]:
        """As many as it takes."""
        found: list[list[int]] = []
        at_once = min(self._that_fit(), -(-self.n_tokens // self.longest))
        while self.done < self.n_tokens:
            numbers = range(len(found), len(found) + at_once)
            for _, texts in in_pieces(
                at_once,
                at_once,
                lambda some, numbers=numbers: self._without_edits(numbers[some]),
                "write one text",
            ):
                found += texts
                self.done += sum(map(len, texts))
        return list(first_tokens(found, self.n_tokens))

    def _that_fit(self) -> int:
        lm = self.lm
        each = 2 * lm.n_layers * lm.geometry.d_model * self.longest * lm.dtype.itemsize
        return min(AT_ONCE, max(1, MOST_CACHE // each))

    def _without_edits(self, numbers: Sequence[int]) -> list[list[int]]:
        return self.base.run(
            lambda visitors: self.lm.run(
                lambda: run_hooked(lambda: self._side_by_side(numbers), visitors)
            )
        )

    def _side_by_side(self, numbers: Sequence[int]) -> list[list[int]]:
        """The texts of these numbers; each has random numbers of its own."""
        seed = self.seed % 2**32
        draws = np.stack([np.random.RandomState([seed, n]).rand(self.longest) for n in numbers])
        ids = self.lm.rows(start_ids(self.lm, number) for number in numbers)
        decoder, ends = IncrementalDecoder(self.lm), _ends(self.lm)
        lengths = [self.longest] * len(numbers)
        for at in range(ids.shape[1], self.longest):
            self._tell(sum(min(length, at) for length in lengths))
            chosen = _drawn(decoder.logits(ids), draws[:, at])
            ids = torch.cat([ids, chosen[:, None]], dim=1)
            ended = [token in ends for token in chosen.tolist()]
            lengths = [min(n, at) if end else n for n, end in zip(lengths, ended, strict=True)]
            if max(lengths) <= at:
                break
        return [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]

    def _tell(self, more: int) -> None:
        done, total = min(self.done + more, self.n_tokens), self.n_tokens
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(f"Cancelled after {done} of {total} tokens of the model's own text.")
        self.progress(EditProgress("own text", done, total))


def _drawn(logits: Tensor, draws: np.ndarray) -> Tensor:
    """`[row]`: a token of each row, by a number in [0, 1) for each, at temperature 1.

    First which `BLOCK` of the vocabulary, then which token of it: sums over all of a large one,
    in float64, would take longer than the model.
    """
    shares = logits.float().softmax(dim=-1)
    blocks = pad(shares, (0, -shares.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    wanted = torch.from_numpy(draws).to(shares.device)
    block, rest = _where(blocks.sum(dim=-1), wanted)
    token, _ = _where(blocks[torch.arange(len(blocks), device=shares.device), block], rest)
    return (block * BLOCK + token).clamp(max=logits.shape[1] - 1)


def _where(shares: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """In which of `[row, n]` shares of a whole a number in [0, 1) falls, and where in it."""
    sums = shares.double().cumsum(dim=-1)
    wanted = wanted[:, None] * sums[:, -1:]
    found = torch.searchsorted(sums, wanted, right=True).clamp(max=shares.shape[1] - 1)
    width = shares.double().gather(1, found)
    rest = (wanted - sums.gather(1, found) + width) / width
    return found[:, 0], rest[:, 0].clamp(0, 1)


def _ends(lm: LanguageModel) -> set[int]:
    """The tokens that end a text."""
    config: Any = getattr(lm.model, "generation_config", None)
    found = (getattr(lm.tokenizer, "eos_token_id", None), getattr(config, "eos_token_id", None))
    lists = (each if isinstance(each, list) else [each] for each in found)
    return {token for some in lists for token in some if token is not None}


def first_tokens(texts: Iterable[list[int]], n_tokens: int | None) -> Iterator[list[int]]:
    """The texts up to so many tokens, the last one cut to fit; None: all."""
    left = math.inf if n_tokens is None else n_tokens
    for text in texts:
        yield text if len(text) <= left else text[: int(left)]
        left -= len(text)
        if left <= 0:
            return


# ------------------------------------------------------------------------------ its file


def _place_in_cache(about: dict[str, Any]) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return folder / "own_texts" / f"{key}.safetensors"


def _keep(path: Path, texts: Sequence[Sequence[int]]) -> None:
    arrays = {
        "ids": np.array([token for text in texts for token in text], dtype=np.int64),
        "lengths": np.array([len(text) for text in texts], dtype=np.int64),
    }
    try:
        make_folder(path.parent)
        checksummed_file.write(path, FORMAT, {}, arrays)
    except SaveFailed as error:
        logger.warning("The model's own text is not kept for another time: %s", error)


def _read(path: Path) -> list[list[int]]:
    _, arrays = checksummed_file.read(path, FORMAT)
    try:
        ids, lengths = arrays["ids"], arrays["lengths"]
        if lengths.sum() != len(ids) or not len(lengths) or lengths.min() < 1:
            raise ValueError("its lengths do not agree")
        return [text.tolist() for text in np.split(ids, np.cumsum(lengths)[:-1])]
    except Exception as error:  # checksummed, yet not what we write: one name for it
        raise EditFileError(f"{path} holds no text: {error}.") from None
