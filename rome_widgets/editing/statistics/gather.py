"""Gather second moments: the keys of some text, those of many layers in one pass.

They are of the original model, whatever edits it carries (Meng et al. compute C once): otherwise
every edit of a lower layer would ask for another C, and the order of edits would decide which.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rome_widgets.editing.settings import SEEDS
from rome_widgets.editing.site import Site, find_site
from rome_widgets.editing.statistics.own_text import first_tokens, own_text
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.editing.statistics.second_moment_file import Keeper, Sums
from rome_widgets.errors import Cancelled, NonFinite, SaveFailed, SettingsError
from rome_widgets.files.atomic_write import make_folder
from rome_widgets.files.cache_folder import cache_folder
from rome_widgets.model.hooks import Enough, Seen, Visitor, run_until_enough
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.progress_bar import shows_progress
from rome_widgets.model.stand_in import standing_in
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.model.unedited_model import UneditedModel
from rome_widgets.records import arguments
from rome_widgets.records.arguments import Listener, a_path, callback, cancel_flag, optional, takes
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.numbers import finite_number, plain, whole_number
from rome_widgets.records.trace import CancelFlag

WINDOW = 256
"""Longest piece of text that is run at once, in tokens."""
OWN = "self"
"""In place of texts: those that the model writes itself."""
OWN_LENGTH = 64
"""Longest of those, in tokens. Side by side, short texts take fewer steps to write, and edits of
two real models kept no fewer neighbors than by texts of 256 (benchmarks/README.md)."""
TOKENS_PER_WIDTH = 10
"""Tokens of the model's own text, where nobody says how many, over the width of a key."""
MOST_SUMS = 4 * 2**30
"""Bytes of sums that grow in one pass; where the layers have more, there are several."""


@takes(path=optional(a_path(SaveFailed, "file")), progress=callback, cancel=cancel_flag)
@shows_progress("Gathering", "text")
@needs_memory("gather a second moment")
@undisturbed
def second_moment(
    lm: LanguageModel,
    texts: Iterable[str] | Path,
    layers: int | Iterable[int],
    *,
    n_tokens: int | None = None,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    ridge: float = 1e-4,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> SecondMoment | dict[int, SecondMoment]:
    """Statistics of the keys that the edited matrices read, over some text; gathered once and kept.

    They are of the model without its edits, whatever it carries. Kept in a file, they are read the
    next time, or gone on with after a cancel or an interrupt; the model's own text is kept once it
    is written. Many layers are gathered in one pass.

    Args:
        lm: The model.
        texts: Any text like that which the edited model should go on saying, such as the texts of
            a data set as they come in; a `Path`: the lines of a text file; or "self": text that the
            model writes itself, at temperature 1 from its start token.
        layers: Whose keys: a layer, or several.
        n_tokens: How many to read; None: all, and of the model's own text ten times as many as a
            key is wide.
        seed: Of the draws of the model's own text.
        path: The file, of several layers the folder, which is made; by default in the cache folder
            (`ROME_WIDGETS_CACHE`, else `rome_widgets` in the user's own), named by model, layer and
            texts. That one need not be writable.
        ridge: See `SecondMoment`.
        progress: Called after each piece of text, and each token of the model's own; None shows a
            progress bar where it lasts, False none.
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
        >>> rows = [{"text": "Rome is in Italy."}]  # datasets.load_dataset(..., streaming=True)
        >>> moment = rw.second_moment(lm, (row["text"] for row in rows), layers=4, n_tokens=5)
        >>> moment = rw.second_moment(lm, ["Rome is in Italy.", "Paris is in France."], layers=4)
        >>> change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris", layer=4,
        ...                  second_moment=moment)
    """
    check_language_model(lm).up_to_date()
    ridge = finite_number(ridge, "ridge", 0, error=SettingsError)
    wanted: Any = plain(layers)  # numbers of any library
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes)
    numbers: Any = wanted if several else [wanted]
    sites = [find_site(lm, layer) for layer in numbers]
    paths: dict[int, Path] = {}
    if path is not None:
        given = Path(path)
        if several:
            make_folder(given)
        names = {site.layer: f"layer-{site.layer}.safetensors" for site in sites}
        paths = {n: given / name if several else given for n, name in names.items()}
    text = Corpus.read(lm, texts, sites, n_tokens, seed, progress, cancel)
    found = gather(sites, text, paths, ridge, progress, cancel)
    return found if several else found[sites[0].layer]


class Corpus:
    """What is gathered from: `pieces` of token ids, and `about`, a clause."""

    def __init__(self, pieces: Sequence[Sequence[int]], about: str) -> None:
        self.pieces, self.about = pieces, about
        self.n_tokens = sum(map(len, pieces))
        if not pieces:
            raise SettingsError(
                "There is no text to gather from.", "At least one token was wanted."
            )

    @classmethod
    def read(
        cls,
        lm: LanguageModel,
        texts: Iterable[str] | Path,
        sites: Sequence[Site],
        n_tokens: int | None = None,
        seed: int = 0,
        progress: Listener[EditProgress] = None,
        cancel: CancelFlag | None = None,
    ) -> Corpus:
        """The texts that a user gave, or the model's own; cut to what is run at once."""
        window = min(WINDOW, lm.n_positions or WINDOW)
        wanted = None
        if n_tokens is not None:
            wanted = whole_number(n_tokens, "n_tokens", 1, error=SettingsError)
        if not (isinstance(texts, str) and texts == OWN):
            pieces = list(first_tokens(_pieces(lm, texts, window), wanted))
            return cls(pieces, f"of {len(pieces)} texts")
        widest = max((site.d_in for site in sites), default=1)
        wanted = TOKENS_PER_WIDTH * widest if wanted is None else wanted
        drawn = whole_number(seed, "The seed", *SEEDS, error=SettingsError)
        tell = progress if callable(progress) else lambda step: None
        pieces = own_text(lm, wanted, min(OWN_LENGTH, window), drawn, tell, cancel)
        return cls(pieces, "that the model wrote itself")

    @property
    def digest(self) -> str:
        """SHA-256 of the token ids."""
        return hashlib.sha256(repr([list(piece) for piece in self.pieces]).encode()).hexdigest()


def _pieces(lm: LanguageModel, texts: Iterable[str] | Path, window: int) -> Iterator[list[int]]:
    for text in _lines(texts) if isinstance(texts, Path) else _each_text(texts):
        ids = lm.encode_text(text) if text.strip() else []
        for start in range(0, len(ids), window):
            yield ids[start : start + window]


def _each_text(texts: Any) -> Iterable[str]:
    """One after the other as they come, where they are a stream: it may have no end."""
    if not isinstance(texts, Iterator):
        return arguments.texts(texts, "texts")
    return (arguments.text(each, "One of the texts") for each in texts)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{str(path)!r} cannot be read as text: {error}.",
            "A file of lines in UTF-8 was wanted.",
        ) from None


def gather(
    sites: Sequence[Site],
    text: Corpus,
    paths: Mapping[int, Path] | None = None,
    ridge: float = 1e-4,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> dict[int, SecondMoment]:
    """C by layer: float32 keys, products and sums in float64.

    Args:
        sites: The layers, in any order.
        text: Whose keys.
        paths: The file of each layer; without one it is in the cache.
        ridge: See `SecondMoment`.
        progress: Called after each piece of text.
        cancel: Stops between pieces with `Cancelled`.
    """
    found: dict[int, SecondMoment] = {}
    for some in _that_fit(sites):
        found |= _in_one_pass(some, text, paths or {}, ridge, progress, cancel)
    return {site.layer: found[site.layer] for site in sites}


def _that_fit(sites: Sequence[Site]) -> Iterator[Sequence[Site]]:
    """The layers by groups whose sums fit into memory together."""
    widest = max((site.d_in for site in sites), default=1)
    at_once = max(1, MOST_SUMS // (8 * widest**2))
    for first in range(0, len(sites), at_once):
        yield sites[first : first + at_once]


def _in_one_pass(
    sites: Sequence[Site],
    text: Corpus,
    paths: Mapping[int, Path],
    ridge: float,
    progress: Listener[EditProgress],
    cancel: CancelFlag | None,
) -> dict[int, SecondMoment]:
    lm, total = sites[0].lm, len(text.pieces)
    base = UneditedModel(lm, [site.weight_name for site in sites])
    parts = [_Part(site, text, base, paths.get(site.layer)) for site in sites]
    try:
        while missing := [part for part in parts if part.sums.done < total]:
            number = min(part.sums.done for part in missing)
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"Cancelled after {number} of {total} pieces of text.")
            now = [part for part in missing if part.sums.done == number]  # a file may be ahead
            ids = lm.rows([text.pieces[number]])
            keys = base.run(lambda v, now=now, ids=ids: keys_of([p.site for p in now], ids, v))
            for part in now:
                part.add(keys[part.site.layer])
            if callable(progress):
                progress(EditProgress("statistics", number + 1, total))
    except BaseException:
        for part in parts:
            part.keep_begun()
        raise
    return {part.site.layer: part.moment(ridge) for part in parts}


class _Part:
    """One layer of what is gathered, and its file."""

    def __init__(self, site: Site, text: Corpus, base: UneditedModel, path: Path | None) -> None:
        self.site, self._text = site, text
        about = _about(site, text, base)
        # What a foreign hook does has no name that another day would know it by.
        place = path or (None if site.lm.foreign else _place_in_cache(about))
        self._keeper = Keeper(place, about, needed=path is not None)
        self.sums = self._keeper.begun(site.d_in)
        self._begun = self.sums.done

    def add(self, keys: Tensor) -> None:
        """Put in one piece's `[token, d_in]` keys."""
        self.sums.add(keys, keep=self._text.n_tokens < self.site.d_in)
        self._keeper.save(self.sums, now=self.sums.done == len(self._text.pieces))

    def keep_begun(self) -> None:
        """Keep what there is by now, to go on with another time."""
        if self._begun < self.sums.done < len(self._text.pieces):
            self._keeper.save(self.sums, now=True)

    def moment(self, ridge: float) -> SecondMoment:
        """The mean."""
        return moment_of(self.sums, f"{self.sums.n_tokens:,} tokens {self._text.about}", ridge)


def _about(site: Site, text: Corpus, base: UneditedModel) -> dict[str, Any]:
    """What a kept moment must agree with: the model without its edits, the layer, the text."""
    return {
        "model": site.lm.name,
        "commit": getattr(site.lm.model.config, "_commit_hash", None),
        "matrix": base.matrices[site.weight_name],
        "weights": base.digest,
        "built": site.lm.identity.built,
        "layer": site.layer,
        "dtype": str(site.weight.dtype),
        "texts": text.digest,
        "n_tokens": text.n_tokens,
    }


def _place_in_cache(about: Mapping[str, Any]) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", str(about["model"]))[:60]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    return folder / "second_moments" / f"{name}-layer{about['layer']}-{key}.safetensors"


def moment_of(sums: Sums, about: str, ridge: float) -> SecondMoment:
    """The mean that sums make, or the keys themselves where there are fewer than their width."""
    if sums.keys:
        keys = torch.cat(sums.keys)
        return SecondMoment(about, keys=keys, n_tokens=len(keys), ridge=ridge)
    matrix = (sums.total + sums.total.T) / (2 * sums.n_tokens)
    return SecondMoment(about, matrix=matrix, n_tokens=sums.n_tokens, ridge=ridge)


# ------------------------------------------------------------------------------- the keys


def keys_of(
    sites: Sequence[Site], ids: Tensor, visitors: Sequence[tuple[Any, Visitor]] = ()
) -> dict[int, Tensor]:
    """`[token, d_in]` by layer: the keys of one row of tokens; the blocks above are not run."""
    lm, last = sites[0].lm, max(site.layer for site in sites)
    seen: dict[int, Tensor] = {}

    def keep(site: Site, call: Seen) -> None:
        seen[site.layer] = call.args[0].detach().reshape(-1, site.d_in).float()
        if site.layer == last:
            raise Enough

    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    keeping = [(site.module, partial(keep, site)) for site in sites]

    def run() -> None:
        standing_in(lm.model)(**inputs)

    lm.run(lambda: run_until_enough(run, [*keeping, *visitors]))
    for layer, keys in seen.items():
        if not torch.isfinite(keys).all():
            raise NonFinite(
                f"The keys of layer {layer} of {lm.name} have NaN or infinity in them.",
                "Finite activations were wanted.",
                "Check the weights up to that layer, or load the model in float32.",
            )
    return seen
