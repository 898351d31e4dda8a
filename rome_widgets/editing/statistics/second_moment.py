"""The second moment of the keys, C = E[k kᵀ]: what else the edited matrix is used for.

Uncentred. Gathered over the tokens of some text, once, and kept in a file; shipped with the bundled
model; or replaced by the identity; and always said which.

It is of the original model, whatever edits it carries (Meng et al. compute C once): otherwise
every edit of a lower layer would ask for another C, and the order of edits would decide which.

Source:
    Meng et al. 2022, equation 2. The published code inverts it in float32 without a ridge; here it
    is factored in float64, because at a condition of 1e6 the former is off by half a percent.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from rome_widgets import bundled
from rome_widgets.editing.site import Site, find_site
from rome_widgets.editing.statistics import second_moment_file
from rome_widgets.editing.statistics.second_moment_file import Keeper, Sums, symmetric
from rome_widgets.errors import (
    Cancelled,
    EditFileError,
    ModelChanged,
    NonFinite,
    SaveFailed,
    SettingsError,
    StatisticsMissing,
    said,
)
from rome_widgets.files.cache_folder import cache_folder
from rome_widgets.model.base_weights import digest_without_edits, without_edits
from rome_widgets.model.hooks import Seen, Visitor, run_hooked
from rome_widgets.model.identity_changes import what_changed
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.ledger import ledger_of
from rome_widgets.model.memory import Lacking, attempt, needs_memory
from rome_widgets.model.progress_bar import shows_progress
from rome_widgets.model.stand_in import standing_in
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records import arguments
from rome_widgets.records.arguments import (
    Listener,
    a_path,
    callback,
    cancel_flag,
    optional,
    takes,
)
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.numbers import finite_number, plain, whole_number
from rome_widgets.records.trace import CancelFlag

WINDOW = 256
"""Longest piece of text that is run at once, in tokens."""


class SecondMoment:
    """C = E[k kᵀ] of one layer's keys, ready to be solved with; `second_moment` gathers one.

    Args:
        about: What it was computed over, a clause.
        matrix: `[d, d]` mean of k kᵀ, float64; or
        keys: `[n, d]`, fewer than d of them; or neither, for the identity.
        n_tokens: How many keys went into it.
        ridge: Added to the diagonal, in units of its mean.

    Raises:
        EditFileError: The matrix is not positive.

    Example:
        >>> moment = rw.SecondMoment.identity()
        >>> change = rw.edit(lm, rw.bundled.facts()[0], second_moment=moment)
        >>> change.report.second_moment
        'the identity: no statistics were used'
    """

    def __init__(
        self,
        about: str,
        *,
        matrix: Tensor | None = None,
        keys: Tensor | None = None,
        n_tokens: int = 0,
        ridge: float = 1e-4,
    ) -> None:
        self.about = arguments.text(about, "about")
        self.n_tokens = whole_number(n_tokens, "n_tokens", 0, error=SettingsError)
        self.ridge = finite_number(ridge, "ridge", 0, error=SettingsError)
        self._matrix, self._keys = _rows(matrix, "matrix"), _rows(keys, "keys")
        if self._matrix is not None and self._matrix.shape[0] != self._matrix.shape[1]:
            raise SettingsError(
                f"matrix has the shape {list(self._matrix.shape)}.", "A square one was wanted."
            )
        self._factor: Tensor | None = None

    def __repr__(self) -> str:
        return f"SecondMoment({self.about})"

    @classmethod
    def identity(cls) -> SecondMoment:
        """As if all keys were equally likely in all directions."""
        return cls("the identity: no statistics were used")

    @property
    def matrix(self) -> Tensor | None:
        """`[d, d]`, float64, without the ridge; None for the identity."""
        if self._matrix is not None or self._keys is None:
            return self._matrix
        return self._keys.T @ self._keys / len(self._keys)

    @needs_memory("solve with the second moment")
    def solve(self, keys: Tensor) -> Tensor:
        """C⁻¹K, float64: `[d, u]`, or `[d]` for one key."""
        if not isinstance(keys, Tensor) or keys.ndim not in (1, 2) or keys.is_meta:
            raise SettingsError(f"The keys are {said(keys)}.", "A tensor [d, u] or [d] was wanted.")
        if keys.ndim == 1:
            return self.solve(keys[:, None])[:, 0]
        keys = keys.double()
        of = self._matrix if self._keys is None else self._keys
        if of is None:
            return keys
        if of.shape[1] != len(keys):
            raise SettingsError(
                f"The second moment is of keys of width {of.shape[1]}.",
                f"Width {len(keys)} was wanted: is it of another model or layer?",
            )
        try:
            solved = self._solved(keys)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # Singular: keys of length 0, for one.
            solved = torch.zeros_like(keys)
        if not torch.isfinite(solved).all() or not solved.any():
            raise EditFileError(
                "The second moment cannot be solved with: its numbers are too large or too small.",
                "A mean of k kᵀ was wanted.",
            )
        return solved

    def _solved(self, keys: Tensor) -> Tensor:
        """Where the keys are; by the CPU where that has no room for it."""
        found = attempt(lambda: self._solved_there(keys))
        if isinstance(found, Lacking):
            self._factor = None
            return self._solved_there(keys.cpu()).to(keys.device)
        return found

    def _solved_there(self, keys: Tensor) -> Tensor:
        if self._keys is not None:
            return self._woodbury(keys)
        assert self._matrix is not None
        if self._factor is None or self._factor.device != keys.device:
            self._factor = _cholesky(self._matrix.to(keys.device), self.ridge)
        return torch.cholesky_solve(keys, self._factor)

    def _woodbury(self, wanted: Tensor) -> Tensor:
        """The same with fewer keys than their width: no `[d, d]` matrix is made."""
        assert self._keys is not None
        keys = self._keys.to(wanted.device)
        n, width = keys.shape
        ridge = max(self.ridge, 1e-8) * float(keys.square().sum()) / n / width
        small = keys @ keys.T + n * ridge * torch.eye(n, dtype=keys.dtype, device=keys.device)
        inner = torch.linalg.solve(small, keys @ wanted)
        return (wanted - keys.T @ inner) / ridge


def _rows(given: Any, name: str) -> Tensor | None:
    """A tensor of two axes with numbers in it, or None."""
    if given is None:
        return None
    real = isinstance(given, np.ndarray) and given.dtype.kind == "f"
    rows = torch.from_numpy(given) if real else given
    if not (
        isinstance(rows, Tensor)
        and rows.ndim == 2
        and rows.is_floating_point()
        and rows.numel()
        and not rows.is_meta
        and torch.isfinite(rows).all()
    ):
        raise SettingsError(
            f"{name} is {said(given)}.", "A tensor of finite numbers with two axes was wanted."
        )
    return rows.double()


Statistics = (
    SecondMoment | Mapping[int, SecondMoment] | str | os.PathLike[str] | Iterable[str] | None
)
"""One, several by layer, "identity", a file, or texts; None for what is known of the model."""


def _cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """The lower factor of C + ridge · mean diagonal; more ridge where that is not positive."""
    mean = float(matrix.diagonal().mean())
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for add in (ridge, *(10.0**power for power in range(-8, 0) if 10.0**power > ridge)):
        factor, failed = torch.linalg.cholesky_ex(matrix + add * mean * identity)
        if not int(failed):
            return factor
    raise EditFileError("The second moment is not positive.", "A mean of k kᵀ was wanted.")


# ----------------------------------------------------------------------------- gathering


class _Enough(Exception):
    """Ends a forward pass where the key is known."""


def keys_of(site: Site, ids: Tensor, visitors: Sequence[tuple[Any, Visitor]] = ()) -> Tensor:
    """`[token, d_in]`: the keys of one row of tokens; the blocks above are not run."""
    seen: list[Tensor] = []

    def stop(call: Seen) -> None:
        seen.append(call.args[0].detach().reshape(-1, site.d_in).float())
        raise _Enough

    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}

    def run() -> None:
        standing_in(site.lm.model)(**inputs)

    with suppress(_Enough):
        site.lm.run(lambda: run_hooked(run, [(site.module, stop), *visitors]))
    if not torch.isfinite(seen[0]).all():
        raise NonFinite(
            f"The keys of layer {site.layer} of {site.lm.name} have NaN or infinity in them.",
            "Finite activations were wanted.",
            "Check the weights up to that layer, or load the model in float32.",
        )
    return seen[0]


@takes(path=optional(a_path(SaveFailed, "file")), progress=callback, cancel=cancel_flag)
@shows_progress("Gathering", "text")
@needs_memory("gather a second moment")
@undisturbed
def second_moment(
    lm: LanguageModel,
    texts: Iterable[str],
    layers: int | Iterable[int],
    *,
    path: str | os.PathLike[str] | None = None,
    ridge: float = 1e-4,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> SecondMoment | dict[int, SecondMoment]:
    """Statistics of the keys that the edited matrices read, over some text; gathered once and kept.

    They are of the model without its edits, whatever it carries. Kept in a file, they are read the
    next time, or gone on with after a cancel or an interrupt.

    Args:
        lm: The model.
        texts: Any text like that which the edited model should go on saying. About ten times as
            many tokens as a key is wide are a good start.
        layers: Whose keys: a layer, or several.
        path: The file, of several layers the folder; by default in the cache folder
            (`ROME_WIDGETS_CACHE`, else `rome_widgets` in the user's own), named by model, layer and
            texts. That one need not be writable.
        ridge: See `SecondMoment`.
        progress: Called after each piece of text; None shows a progress bar where it lasts, False
            none.
        cancel: Stops between pieces with `Cancelled`.

    Returns:
        Of one layer its `SecondMoment`; of several `{layer: SecondMoment}`.

    Raises:
        SettingsError: No text.
        ModelChanged: Somebody wrote the weights meanwhile. Edits may come and go.
        EditFileError: The file at `path` is of another model, layer or text.
        SaveFailed: The file at `path` could not be written.
        Cancelled: `cancel` was set.

    Example:
        >>> moment = rw.second_moment(lm, ["Rome is in Italy.", "Paris is in France."], layers=4)
        >>> change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris", layer=4,
        ...                  second_moment=moment)
    """
    check_language_model(lm).up_to_date()
    ridge = finite_number(ridge, "ridge", 0, error=SettingsError)
    wanted: Any = plain(layers)  # numbers of any library
    if not isinstance(wanted, Iterable) or isinstance(wanted, str | bytes):
        return _gathered(find_site(lm, cast("int", wanted)), texts, path, ridge, progress, cancel)
    texts, found = arguments.texts(texts, "texts"), {}
    for site in [find_site(lm, layer) for layer in wanted]:
        kept = None if path is None else Path(path) / f"layer-{site.layer}.safetensors"
        found[site.layer] = _gathered(site, texts, kept, ridge, progress, cancel)
    return found


def _gathered(
    site: Site,
    texts: Iterable[str],
    path: str | os.PathLike[str] | None,
    ridge: float,
    progress: Listener[EditProgress],
    cancel: CancelFlag | None,
) -> SecondMoment:
    """C of one layer: float32 products per piece of text, summed in float64."""
    lm = site.lm
    pieces = list(_pieces(lm, texts))
    if not pieces:
        raise SettingsError("There is no text to gather from.", "At least one token was wanted.")
    base = _BaseModel(site)
    about = _identity(site, pieces, base)
    # What a foreign hook does has no name that another day would know it by.
    place = Path(path) if path is not None else None if lm.foreign else _place_in_cache(about)
    keeper = Keeper(place, about, needed=path is not None)
    sums = keeper.begun(site.d_in)
    begun = sums.done
    try:
        while sums.done < len(pieces):
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"Cancelled after {sums.done} of {len(pieces)} pieces of text.")
            ids = lm.rows([pieces[sums.done]])
            sums.add(base.keys(ids), keep=about["n_tokens"] < site.d_in)
            keeper.save(sums, now=sums.done == len(pieces))
            if callable(progress):
                progress(EditProgress("statistics", sums.done, len(pieces)))
    except BaseException:
        if begun < sums.done < len(pieces):
            keeper.save(sums, now=True)
        raise
    return _moment(sums, f"{sums.n_tokens:,} tokens of {len(pieces)} texts", ridge)


class _BaseModel:
    """The model without its edits, though edits may come and go in other threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.weights = self._look()
        """Digests that tell it apart, by what they are of."""

    def _look(self) -> dict[str, str]:
        lm = self._site.lm
        self._identity, self._visitors = lm.identity, without_edits(lm)
        matrix = ledger_of(lm.model).fingerprint(self._site.weight_name)
        return {"matrix": matrix, "weights": digest_without_edits(lm)}

    def keys(self, ids: Tensor) -> Tensor:
        """`[token, d_in]`."""
        while True:
            keys = keys_of(self._site, ids, self._visitors)
            begun, now = self._identity, self._site.lm.identity
            if now == begun:
                return keys
            if now.without_weights != begun.without_weights or self._look() != self.weights:
                raise ModelChanged(
                    "The model changed while statistics were gathered: "
                    f"{what_changed(begun, now)}.",
                    "One and the same model was wanted; edits may come and go.",
                    "Gather them again.",
                )


def _pieces(lm: LanguageModel, texts: Iterable[str]) -> Iterator[list[int]]:
    window = min(WINDOW, lm.n_positions or WINDOW)
    for text in arguments.texts(texts, "texts"):
        ids = lm.encode_text(text) if text.strip() else []
        for start in range(0, len(ids), window):
            yield ids[start : start + window]


def _identity(site: Site, pieces: Sequence[Sequence[int]], base: _BaseModel) -> dict[str, Any]:
    """What a kept moment must agree with: the model without its edits, the layer, the text."""
    texts = hashlib.sha256(repr([list(piece) for piece in pieces]).encode()).hexdigest()
    return {
        "model": site.lm.name,
        "commit": getattr(site.lm.model.config, "_commit_hash", None),
        **base.weights,
        "built": site.lm.identity.built,
        "layer": site.layer,
        "dtype": str(site.weight.dtype),
        "texts": texts,
        "n_tokens": sum(map(len, pieces)),
    }


def _place_in_cache(about: Mapping[str, Any]) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", str(about["model"]))[:60]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    return folder / "second_moments" / f"{name}-layer{about['layer']}-{key}.safetensors"


def _moment(sums: Sums, about: str, ridge: float) -> SecondMoment:
    if sums.keys:
        keys = torch.cat(sums.keys)
        return SecondMoment(about, keys=keys, n_tokens=len(keys), ridge=ridge)
    matrix = (sums.total + sums.total.T) / (2 * sums.n_tokens)
    return SecondMoment(about, matrix=matrix, n_tokens=sums.n_tokens, ridge=ridge)


# ------------------------------------------------------------------------------ choosing


def second_moment_of(
    site: Site,
    given: Statistics,
    *,
    wanted: bool,
    ridge: float,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> SecondMoment:
    """The second moment of an edit: what the user gave, or what is known of the model.

    None is `wanted` where the settings say that it is not used; what the user gave goes first.

    Raises:
        StatisticsMissing: Nothing was given and nothing is known for this model.
        EditFileError: The file is damaged, or of another layer or width.
        SettingsError: Something else was given, or no text.
    """
    if isinstance(given, Mapping):
        given = cast("Mapping[int, SecondMoment]", given).get(site.layer)
    if isinstance(given, SecondMoment):
        return given
    if given is None:
        return _known(site, ridge) if wanted else SecondMoment.identity()
    if isinstance(given, str) and given == "identity":
        return SecondMoment.identity()
    if isinstance(given, (str, os.PathLike)):
        return _from_file(site, a_path(EditFileError, "file")(given, "second_moment"), ridge)
    if not isinstance(given, Iterable):
        raise SettingsError(
            f"The second moment is {said(given)}.",
            'Texts, a file, "identity" or a SecondMoment was wanted.',
        )
    return _gathered(site, given, None, ridge, progress, cancel)


def _known(site: Site, ridge: float) -> SecondMoment:
    if bundled.is_bundled(site.lm):
        return read_shipped(bundled.second_moment_file(), site.layer, ridge)
    raise StatisticsMissing(
        f"No second moment of the keys is known for {site.lm.name} at layer {site.layer}.",
        "The statistics of the matrix's inputs over ordinary text were wanted.",
        "Pass second_moment=[texts], which are gathered from once, a file written by "
        'rome_widgets.second_moment(..., path=...), or "identity" to do without.',
    )


def read_shipped(path: Path, layer: int, ridge: float) -> SecondMoment:
    """The second moment of a layer from the file that a training writes beside its model."""
    with safe_open(path, "pt") as file:
        matrix = symmetric(file.get_tensor(f"layer.{layer}")).double()
        n_tokens = int(file.metadata()["tokens"])
    about = f"{n_tokens:,} tokens of text, shipped with the model"
    return SecondMoment(about, matrix=matrix, n_tokens=n_tokens, ridge=ridge)


def _from_file(site: Site, path: Path, ridge: float) -> SecondMoment:
    about, sums = second_moment_file.read(path)
    layer, model = about.get("layer"), about.get("model")
    if layer != site.layer or len(sums.total) != site.d_in:
        raise EditFileError(
            f"{path} is of layer {layer} of {model}, whose keys have the width {len(sums.total)}.",
            f"Layer {site.layer} of {site.lm.name}, width {site.d_in}, was wanted.",
        )
    wanted = about.get("n_tokens") or sums.n_tokens
    of = "" if sums.n_tokens == wanted else f" of {wanted:,}"
    return _moment(sums, f"{sums.n_tokens:,}{of} tokens, from {path.name}", ridge)
