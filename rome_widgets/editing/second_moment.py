"""The second moment of the keys, C = E[k kᵀ]: what else the edited matrix is used for.

Uncentred. Gathered over the tokens of some text; given by the user, kept in a file, shipped with
the bundled model, or replaced by the identity, and always said which.

Source:
    Meng et al. 2022, equation 2. The published code inverts it in float32 without a ridge; here it
    is factored in float64, because at a condition of 1e6 the former is off by half a percent.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from rome_widgets.edit_results import EditProgress
from rome_widgets.editing import sealed
from rome_widgets.editing.site import Site, find_site
from rome_widgets.errors import Cancelled, EditFileError, SettingsError, StatisticsMissing
from rome_widgets.model.hooks import Seen, run_hooked
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import ledger_of

Progress = Callable[[EditProgress], None]
FORMAT = "rome_widgets.second_moment"
WINDOW = 256
"""Longest piece of text that is run at once, in tokens."""
SAVE_EVERY = 64
"""Pieces between two savings of a moment that is being gathered."""


class SecondMoment:
    """C of one layer's keys, ready to be solved with.

    Args:
        about: What it was computed over, a clause.
        matrix: `[d, d]` mean of k kᵀ, float64; or
        keys: `[n, d]`, fewer than d of them; or neither, for the identity.
        n_tokens: How many keys went into it.
        ridge: Added to the diagonal, in units of its mean.
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
        self.about = about
        self.n_tokens = n_tokens
        self.ridge = ridge
        self._matrix, self._keys = matrix, keys
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

    def solve(self, key: Tensor) -> Tensor:
        """C⁻¹k: `[d]`, float64."""
        key = key.double()
        if self._keys is not None:
            return self._woodbury(key)
        if self._matrix is None:
            return key
        if len(self._matrix) != len(key):
            raise SettingsError(
                f"The second moment is of keys of width {len(self._matrix)}.",
                f"Width {len(key)} was wanted: is it of another model or layer?",
            )
        if self._factor is None or self._factor.device != key.device:
            self._factor = _cholesky(self._matrix.to(key.device), self.ridge)
        return torch.cholesky_solve(key[:, None], self._factor)[:, 0]

    def _woodbury(self, key: Tensor) -> Tensor:
        """The same with fewer keys than their width: no `[d, d]` matrix is made."""
        assert self._keys is not None
        keys = self._keys.to(key.device)
        n, width = keys.shape
        ridge = max(self.ridge, 1e-8) * float(keys.square().sum()) / n / width
        small = keys @ keys.T + n * ridge * torch.eye(n, dtype=keys.dtype, device=keys.device)
        inner = torch.linalg.solve(small, keys @ key)
        return (key - keys.T @ inner) / ridge


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


def keys_of(site: Site, ids: Tensor) -> Tensor:
    """`[token, d_in]`: the keys of one row of tokens; the blocks above are not run."""
    seen: list[Tensor] = []

    def stop(call: Seen) -> None:
        seen.append(call.args[0].detach().reshape(-1, site.d_in).float())
        raise _Enough

    model: Any = site.lm.model

    def call() -> None:
        mask = torch.ones_like(ids)
        model(input_ids=ids, attention_mask=mask, use_cache=False)

    with suppress(_Enough):
        site.lm.run(lambda: run_hooked(call, [(site.module, stop)]))
    return seen[0]


def gather(
    lm: LanguageModel,
    layer: int,
    texts: Iterable[str],
    *,
    path: str | os.PathLike[str] | None = None,
    ridge: float = 1e-4,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> SecondMoment:
    """C over the tokens of `texts`: float32 products per piece, summed in float64.

    Args:
        lm: The model, as its weights are now.
        layer: Whose keys.
        texts: Any text like that which the edited model should go on saying.
        path: Keep it there; a file that was begun with the same model, layer and texts is gone on
            with, and one that is finished is read.
        ridge: See `SecondMoment`.
        progress: Called after each piece.
        cancel: Stops between pieces with `Cancelled`; with a `path` nothing is lost.

    Raises:
        SettingsError: No text.
        Cancelled: `cancel` was set.
    """
    site = find_site(lm, layer)
    pieces = list(_pieces(lm, texts))
    if not pieces:
        raise SettingsError("There is no text to gather from.", "At least one token was wanted.")
    about = _identity(site, pieces)
    state = _load_begun(path, about, site)
    n_tokens = sum(map(len, pieces))
    few = n_tokens < site.d_in
    begun = state.done
    for number in range(begun, len(pieces)):
        if cancel is not None and cancel.is_set():
            state.save(path, about)
            raise Cancelled(f"Cancelled after {number} of {len(pieces)} pieces of text.")
        ids = torch.tensor([pieces[number]], device=lm.device)
        state.add(keys_of(site, ids), keep=few)
        if (number + 1 - begun) % SAVE_EVERY == 0:
            state.save(path, about)
        if progress is not None:
            progress(EditProgress("statistics", number + 1, len(pieces)))
    if begun < len(pieces):
        state.save(path, about)
    return state.result(f"{n_tokens:,} tokens of {len(pieces)} texts", ridge)


def _pieces(lm: LanguageModel, texts: Iterable[str]) -> Iterator[list[int]]:
    window = min(WINDOW, lm.n_positions or WINDOW)
    for text in texts:
        ids = lm.encode_alone(text) if text.strip() else []
        for start in range(0, len(ids), window):
            yield ids[start : start + window]


def _identity(site: Site, pieces: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What a kept moment must agree with: model, layer, text, dtype."""
    digest = hashlib.sha256(repr([list(piece) for piece in pieces]).encode()).hexdigest()
    return {
        "model": site.lm.name,
        "weights": ledger_of(site.lm.model).fingerprint(site.weight_name),
        "layer": site.layer,
        "dtype": str(site.weight.dtype),
        "texts": digest,
        "n_tokens": sum(map(len, pieces)),
    }


class _Begun:
    """A moment while it is gathered."""

    def __init__(self, width: int) -> None:
        self.done = 0
        self.total = torch.zeros(width, width, dtype=torch.float64)
        self.keys: list[Tensor] = []
        self.n_tokens = 0

    def add(self, keys: Tensor, *, keep: bool) -> None:
        """One piece; where there are few tokens in all, the keys themselves are kept."""
        if keep:
            self.keys.append(keys.double().cpu())
        else:
            self.total += (keys.T @ keys).double().cpu()
        self.n_tokens += len(keys)
        self.done += 1

    def save(self, path: str | os.PathLike[str] | None, about: dict[str, Any]) -> None:
        """Keep what there is, whole or not at all."""
        if path is None:
            return
        tensors = {"total": self.total} if not self.keys else {"keys": torch.cat(self.keys)}
        header = {"about": about, "done": self.done, "n_tokens": self.n_tokens}
        sealed.write(Path(path), FORMAT, header, tensors)

    def result(self, about: str, ridge: float) -> SecondMoment:
        """What was gathered."""
        if self.keys:
            keys = torch.cat(self.keys)
            return SecondMoment(about, keys=keys, n_tokens=len(keys), ridge=ridge)
        matrix = (self.total + self.total.T) / (2 * self.n_tokens)
        return SecondMoment(about, matrix=matrix, n_tokens=self.n_tokens, ridge=ridge)


def _load_begun(path: str | os.PathLike[str] | None, about: dict[str, Any], site: Site) -> _Begun:
    """What a file at `path` has of the same moment; a damaged one is put aside as `.bad`."""
    begun = _Begun(site.d_in)
    if path is None or not Path(path).exists():
        return begun
    try:
        header, tensors = sealed.read(Path(path), FORMAT)
    except EditFileError:
        Path(path).replace(f"{path}.bad")
        return begun
    if header["about"] != about:
        return begun
    begun.done, begun.n_tokens = header["done"], header["n_tokens"]
    if "keys" in tensors:
        begun.keys = [tensors["keys"]]
    else:
        begun.total = tensors["total"]
    return begun


# ------------------------------------------------------------------------------ choosing


def choose(
    site: Site,
    given: SecondMoment | str | os.PathLike[str] | Iterable[str] | None,
    *,
    wanted: bool,
    ridge: float,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> SecondMoment:
    """The second moment of an edit.

    Args:
        site: The matrix.
        given: What the user said: "identity", a file, texts, or one at hand.
        wanted: False where the settings say that none is used; what the user said goes first.
        ridge: See `SecondMoment`.
        progress: See `gather`.
        cancel: See `gather`.

    Raises:
        StatisticsMissing: Nothing was given and nothing is known for this model.
        EditFileError: The file is damaged, or of another model or layer.
    """
    if isinstance(given, SecondMoment):
        return given
    if given is None:
        return _known(site, ridge) if wanted else SecondMoment.identity()
    if given == "identity":
        return SecondMoment.identity()
    if isinstance(given, (str, os.PathLike)):
        return _from_file(site, Path(given), ridge)
    return gather(site.lm, site.layer, given, ridge=ridge, progress=progress, cancel=cancel)


def _known(site: Site, ridge: float) -> SecondMoment:
    from rome_widgets import bundled

    if is_bundled(site.lm):
        with safe_open(bundled.second_moment_file(), "pt") as file:
            matrix = file.get_tensor(f"layer.{site.layer}").double()
            n_tokens = int(file.metadata()["tokens"])
        about = f"{n_tokens:,} tokens of text, shipped with the model"
        return SecondMoment(about, matrix=matrix, n_tokens=n_tokens, ridge=ridge)
    raise StatisticsMissing(
        f"No second moment of the keys is known for {site.lm.name} at layer {site.layer}.",
        "The statistics of the matrix's inputs over ordinary text were wanted.",
        "Pass second_moment=[texts], a file written by "
        'rome_widgets.editing.second_moment.gather(..., path=...), or "identity" to do without.',
    )


def is_bundled(lm: LanguageModel) -> bool:
    """Whether this is the model that comes with the package."""
    from rome_widgets import bundled

    path = getattr(lm.model.config, "_name_or_path", "")
    return bool(path) and Path(path) == bundled.folder()


def _from_file(site: Site, path: Path, ridge: float) -> SecondMoment:
    header, tensors = sealed.read(path, FORMAT)
    begun = _Begun(site.d_in)
    try:
        about, begun.n_tokens = header["about"], int(header["n_tokens"])
        if "keys" in tensors:
            begun.keys = [tensors["keys"].double()]
        else:
            begun.total = tensors["total"].double()
        wrong = about["layer"] != site.layer or (begun.keys or [begun.total])[0].shape[1] != (
            site.d_in
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise EditFileError(f"{path} is not a second moment ({error}).") from None
    if wrong:
        raise EditFileError(
            f"{path} is of layer {about['layer']} of {about['model']}.",
            f"Layer {site.layer} of {site.lm.name} was wanted.",
        )
    return begun.result(f"{begun.n_tokens:,} tokens, from {path.name}", ridge)
