"""Which second moment an edit uses: what the user gave, or what is known of the model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from safetensors import safe_open

from rome_widgets import bundled
from rome_widgets.editing.site import Site
from rome_widgets.editing.statistics import second_moment_file
from rome_widgets.editing.statistics.gather import OWN, Corpus, gather, moment_of
from rome_widgets.editing.statistics.second_moment import SecondMoment, Statistics
from rome_widgets.editing.statistics.second_moment_file import symmetric
from rome_widgets.errors import EditFileError, SettingsError, StatisticsMissing, said
from rome_widgets.records.arguments import Listener, a_path
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.trace import CancelFlag


def second_moment_of(
    site: Site,
    given: Statistics,
    *,
    wanted: bool,
    ridge: float,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> SecondMoment:
    """The second moment of an edit: what the user gave, else what the model's makers did.

    Else, where it is `wanted` by the settings, that of text which the model writes itself.

    Raises:
        StatisticsMissing: Those that were given are of other layers.
        EditFileError: The file is damaged, or of another layer or width.
        SettingsError: Something else was given, or no text.
    """
    if isinstance(given, Mapping):
        given = _of_layer(cast("Mapping[int, SecondMoment]", given), site)
    if isinstance(given, SecondMoment):
        return given
    if given is None and not wanted:
        given = "identity"
    if given is None and bundled.is_bundled(site.lm):
        return read_shipped(bundled.second_moment_file(), site.layer, ridge)
    if isinstance(given, str) and given == "identity":
        return SecondMoment.identity()
    if isinstance(given, (str, os.PathLike)) and given != OWN:
        return _from_file(site, a_path(EditFileError, "file")(given, "second_moment"), ridge)
    if given is not None and not isinstance(given, Iterable):
        raise SettingsError(
            f"The second moment is {said(given)}.",
            'Texts, "self", a file, "identity" or a SecondMoment was wanted.',
        )
    texts = OWN if given is None else given
    text = Corpus.read(site.lm, texts, [site], progress=progress, cancel=cancel)
    return gather([site], text, None, ridge, progress, cancel)[site.layer]


def _of_layer(given: Mapping[int, SecondMoment], site: Site) -> SecondMoment | None:
    found = given.get(site.layer)
    if found is None and not bundled.is_bundled(site.lm):
        layers = ", ".join(map(str, given)) or "none"
        raise StatisticsMissing(
            f"The second moments are of these layers: {layers}.",
            f"That of layer {site.layer} of {site.lm.name} was wanted.",
            "Gather it, too, or leave second_moment out.",
        )
    return found


def read_shipped(path: Path, layer: int, ridge: float) -> SecondMoment:
    """The second moment of a layer from the file that a training writes beside its model."""
    with safe_open(path, "pt") as file:
        matrix = symmetric(file.get_tensor(f"layer.{layer}")).double()
        n_tokens = int(file.metadata()["tokens"])
    about = f"{n_tokens:,} tokens of text, shipped with the model"
    return SecondMoment(about, matrix=matrix, n_tokens=n_tokens, ridge=ridge)


def _from_file(site: Site, path: Path, ridge: float) -> SecondMoment:
    if not os.path.exists(path):
        raise EditFileError(
            f"There is no file {str(path)!r}.",
            'A file of second_moment(..., path=...), a list of texts, "self" or "identity" was '
            "wanted.",
            "Check the path.",
        )
    about, sums = second_moment_file.read(path)
    layer, model = about.get("layer"), about.get("model")
    if layer != site.layer or len(sums.total) != site.d_in:
        raise EditFileError(
            f"{path} is of layer {layer} of {model}, whose keys have the width {len(sums.total)}.",
            f"Layer {site.layer} of {site.lm.name}, width {site.d_in}, was wanted.",
        )
    wanted = about.get("n_tokens") or sums.n_tokens
    of = "" if sums.n_tokens == wanted else f" of {wanted:,}"
    return moment_of(sums, f"{sums.n_tokens:,}{of} tokens, from {path.name}", ridge)
