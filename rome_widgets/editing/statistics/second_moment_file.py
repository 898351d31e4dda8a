"""The file of a second moment: kept while it is gathered, to go on with, or to read.

A file is written whole or not at all. One that is damaged is put aside as `.bad` and made anew; so
is one in the cache that is of something else, while one of the user's own is left alone.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rome_widgets.errors import EditFileError, SaveFailed
from rome_widgets.files import checksummed_file
from rome_widgets.files.atomic_write import make_folder
from rome_widgets.files.checksummed_file import FileKind
from rome_widgets.files.schema import NATURAL, POSITIVE, Unfit, mapping_of, plain, unfit
from rome_widgets.model.memory import Lacking, attempt
from rome_widgets.records.arguments import Check, optional, text

logger = logging.getLogger(__name__)

FORMAT = FileKind("rome_widgets.second_moment", EditFileError, "torch")
FIELDS: Mapping[str, Check] = {"about": mapping_of(plain), "done": POSITIVE, "n_tokens": POSITIVE}
"""What the fields of a second moment must be."""
ABOUT: Mapping[str, Check] = {
    "model": optional(text),
    "layer": optional(NATURAL),
    "n_tokens": optional(POSITIVE),
}
"""What is read of what it is about."""
LARGEST = 1e150
"""Of the sums, whose squares are numbers then."""
SAVE_EVERY = 20.0
"""Least seconds between two savings; and saving takes a tenth of the time at most."""


class Sums:
    """What a mean of k kᵀ is made of, of keys of one width."""

    def __init__(self, width: int) -> None:
        self.done = self.n_tokens = 0
        """Pieces of text and keys that are in."""
        self.total = torch.zeros(width, width, dtype=torch.float64, device="cpu")
        """`[width, width]` sum of k kᵀ."""
        self.keys: list[Tensor] = []
        """The keys themselves, where there are fewer than `width` in all."""
        self.whole = True
        """False while a piece is put in: an interrupt then leaves half of it."""

    def add(self, keys: Tensor, *, keep: bool) -> None:
        """Put in one piece's `[token, width]` keys; `keep` them where there are few in all."""
        more = keys.double().cpu() if keep else _products(keys)
        self.whole = False
        if keep:
            self.keys.append(more)
        else:
            self.total += more
        self.n_tokens += len(keys)
        self.done += 1
        self.whole = True

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        return {"keys": torch.cat(self.keys)} if self.keys else {"total": self.total}


def _products(keys: Tensor) -> Tensor:
    """KᵀK, float64; by the CPU where the keys' device has no room for it."""
    found = attempt(lambda: _product(keys).cpu())
    return _product(keys.cpu()) if isinstance(found, Lacking) else found


def _product(keys: Tensor) -> Tensor:
    wide = keys.double()  # before: torch may multiply float32 in TF32
    return wide.T @ wide


def read(path: Path, width: int | None = None) -> tuple[Mapping[str, Any], Sums]:
    """What the moment is of, and its sums; keys of another `width` are an error.

    Raises:
        EditFileError: It cannot be read, is damaged, or holds something else.
    """
    header, tensors = checksummed_file.read(path, FORMAT)
    try:
        known = {name: check(header.get(name), name) for name, check in FIELDS.items()}
        stated = known["about"].items()
        about = {name: ABOUT.get(name, plain)(each, name) for name, each in stated}
        sums = _sums(known["done"], known["n_tokens"], tensors)
        found = sums.total.shape[0] if not sums.keys else sums.keys[0].shape[1]
        if width is not None and found != width:
            raise Unfit(f"Its keys have the width {found}.", f"{width} was wanted.")
    except Exception as error:  # checksummed, yet not what we write: one name for it
        raise unfit(path, error, "second_moment", EditFileError) from None
    return about, sums


def _sums(done: int, n_tokens: int, tensors: Mapping[str, Tensor]) -> Sums:
    (name, tensor), *more = tensors.items()
    if more or name not in ("keys", "total") or tensor.ndim != 2 or not tensor.numel():
        raise Unfit(f"It holds {', '.join(tensors)}.", "Keys, or their total, was wanted.")
    sums = Sums(tensor.shape[1])
    sums.done, sums.n_tokens = done, n_tokens
    if name == "keys":
        sums.keys = [tensor.double()]
        fits = len(tensor) == n_tokens
    else:
        sums.total = tensor.double()
        fits = len(tensor) == tensor.shape[1]
    if not fits or n_tokens < done or tensor.abs().max() > LARGEST:
        raise Unfit("Its numbers do not agree, or are too large.")
    return sums


class Keeper:
    """Keeps sums in one file while they grow; where there is no path, nothing.

    A file must agree with `about` to be gone on with. Failing to write is an error where it is
    `needed`, else it is logged, once.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any], *, needed: bool) -> None:
        self._path, self._about, self._needed = path, about, needed
        self._next = time.monotonic() + SAVE_EVERY

    def begun(self, width: int) -> Sums:
        """What the file has; nothing where there is none, or one of something else."""
        if self._path is None or not os.path.exists(self._path):
            return Sums(width)
        try:
            about, sums = read(self._path, width)
        except EditFileError as error:
            wrong = str(error)
        else:
            if {**self._about, **about} == self._about:  # older files say less
                return sums
            if self._needed:
                raise EditFileError(
                    f"{self._path} holds the statistics of another model, layer or text.",
                    "A new file, or one begun with the same, was wanted.",
                    "Give another path, or remove the file.",
                )
            wrong = f"{self._path} is of another model, layer or text."
        self._put_aside(self._path, wrong)
        return Sums(width)

    def save(self, sums: Sums, *, now: bool) -> None:
        """Write the file; where it need not be now, only every so often.

        Raises:
            SaveFailed: It was not written, and was needed.
        """
        started = time.monotonic()
        if self._path is None or not sums.whole or not (now or started >= self._next):
            return
        header = {"about": self._about, "done": sums.done, "n_tokens": sums.n_tokens}
        try:
            if not self._needed:
                make_folder(self._path.parent)
            checksummed_file.write(self._path, FORMAT, header, sums.tensors)
        except SaveFailed as error:
            if self._needed:
                raise
            logger.warning("Statistics are not kept for another time: %s", error)
            self._path = None
        stopped = time.monotonic()
        self._next = stopped + max(SAVE_EVERY, 9 * (stopped - started))

    def _put_aside(self, path: Path, why: str) -> None:
        bad = path.with_name(f"{path.name}.bad")
        logger.warning("Statistics are gathered again: %s The file is now %s.", why, bad.name)
        try:
            path.replace(bad)
        except OSError as error:
            logger.warning("%s was not put aside: %s", path, error.strerror or error)


# -------------------------------------------------- the file that a training writes beside a model


def upper_triangle(matrix: Tensor) -> Tensor:
    """Half of a symmetric matrix, for half the bytes: `[d, d]` -> `[d (d + 1) / 2]`, row by row."""
    rows, columns = torch.triu_indices(*matrix.shape, device=matrix.device)
    return matrix[rows, columns].contiguous()


def symmetric(triangle: Tensor) -> Tensor:
    """The matrix whose `upper_triangle` it is."""
    d = (math.isqrt(8 * len(triangle) + 1) - 1) // 2
    rows, columns = torch.triu_indices(d, d, device=triangle.device)
    matrix = triangle.new_zeros(d, d)
    matrix[rows, columns] = triangle
    matrix[columns, rows] = triangle
    return matrix
