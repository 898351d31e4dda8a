"""Which methods edit, how, and one after the other or all facts at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rome_widgets.editing.edit import Edit, edit
from rome_widgets.editing.methods import METHODS, find_editor, known_for
from rome_widgets.editing.settings import SEEDS
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.gather import OWN
from rome_widgets.editing.statistics.second_moment import SecondMoment
from rome_widgets.errors import ArgumentError, Cancelled, SettingsError, said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.arguments import texts
from rome_widgets.records.evaluation import Mode
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.numbers import whole_number
from rome_widgets.records.trace import CancelFlag

MODES: tuple[Mode, ...] = get_args(Mode)
Layer = int | str | None


class ChosenMethods:
    """Methods of editing, each with its layer and settings; what cannot be is refused at once.

    Args:
        lm: The model.
        methods: Names of `rome_widgets.methods()`.
        layer: Of all of them, or by method.
        settings: By method.
        second_moment: As of `rome_widgets.edit`.
        seed: As of `rome_widgets.edit`.
        cancel: Checked between steps.

    Raises:
        ArgumentError, SettingsError: There is no such method, layer, or setting.
    """

    def __init__(
        self,
        lm: LanguageModel,
        methods: Iterable[str],
        layer: Any,
        settings: Mapping[str, Any] | None,
        second_moment: Any,
        seed: Any,
        cancel: CancelFlag | None,
    ) -> None:
        self.lm, self._cancel = lm, cancel
        self.methods = tuple(dict.fromkeys(methods))
        if not self.methods:
            raise ArgumentError("There is no method.", "One of rome_widgets.methods() was wanted.")
        self._editors = {method: find_editor(method) for method in self.methods}
        given = self._by_method({} if settings is None else settings, "settings")
        self._known = {method: known_for(lm, method) for method in self.methods}
        self.settings = {
            method: known.settings.changed(given.get(method))
            for method, known in self._known.items()
        }
        layers = layer if isinstance(layer, Mapping) else dict.fromkeys(self.methods, layer)
        self.layers = {m: self._by_method(layers, "layer").get(m) for m in self.methods}
        for each in self.layers.values():
            if each is not None and not isinstance(each, str):
                find_site(lm, each)
        self._second_moment = _held(second_moment)
        self.seed = whole_number(seed, "The seed", *SEEDS, error=SettingsError)

    def _by_method(self, given: Any, name: str) -> Mapping[str, Any]:
        if isinstance(given, Mapping) and all(each in self._editors for each in given):
            return given
        raise SettingsError(
            f"{name} is {said(given)}.",
            f"A mapping by method was wanted, of {', '.join(map(repr, self.methods))}.",
            'Say settings={"rome": {"steps": 5}}, for one.' if name == "settings" else "",
        )

    def check_mode(self, mode: Any) -> None:
        """Refuse what is no mode, and one that a method does not have."""
        if not isinstance(mode, str) or mode not in MODES:
            raise ArgumentError(
                f"mode is {said(mode)}.", f"One of {', '.join(map(repr, MODES))} was wanted."
            )
        for method, editor in self._editors.items():
            if mode == "batch" and not editor.many_facts:
                able = [name for name, each in METHODS.items() if each.many_facts]
                raise SettingsError(
                    f"{editor.title} ({method!r}) writes one fact at a time.",
                    'A method that writes many at once was wanted for mode="batch".',
                    f"Choose {' or '.join(map(repr, able))}."
                    if able
                    else 'None does yet: say mode="sequential" to have the edits side by side.',
                )

    def edit(self, method: str, facts: FactRecord | list[FactRecord]) -> Edit:
        """The edit of one fact, or of all; nothing is applied."""
        return edit(
            self.lm,
            facts,
            method=method,
            layer=self.layers[method],
            settings=self.settings[method],
            second_moment=self._second_moment,
            neighbors=(),
            seed=self.seed,
            progress=False,
            cancel=self._cancel,
        )

    def check(self) -> None:
        """Stop where that was asked for."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("Cancelled.")

    @property
    def about(self) -> dict[str, Any]:
        """By method, what decides its edits; as JSON can hold it."""
        return {
            method: {
                "editor": type(editor).__qualname__,
                "layer": [said(self.layers[method]), self._known[method].layer],
                **{name: repr(value) for name, value in asdict(self.settings[method]).items()},
            }
            for method, editor in self._editors.items()
        }

    @property
    def sent(self) -> dict[str, Any]:
        """Arguments of the same methods in another process, which may know other settings."""
        return {
            "methods": self.methods,
            "layer": {
                method: self._known[method].layer if layer is None else layer
                for method, layer in self.layers.items()
            },
            "settings": self.settings,
            "second_moment": _with_whole_paths(self._second_moment),
            "seed": self.seed,
        }

    @property
    def about_statistics(self) -> Any:
        """What was given as the second moment."""
        return _about_moment(self._second_moment)


def _held(given: Any) -> Any:
    """A second moment as it was given, its texts in a list: each edit goes through them."""
    if isinstance(given, Mapping):
        return {layer: _held(each) for layer, each in given.items()}
    if isinstance(given, SecondMoment | str | os.PathLike | None):
        return given
    return texts(given, "second_moment")


def _with_whole_paths(given: Any) -> Any:
    """The same where the current folder is another one."""
    if isinstance(given, Mapping):
        return {layer: _with_whole_paths(each) for layer, each in given.items()}
    if isinstance(given, str | os.PathLike) and given not in ("identity", OWN):
        with suppress(OSError, ValueError):  # the edits say what is wrong with it
            return str(Path(given).expanduser().resolve())
    return given


def _about_moment(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {str(layer): _about_moment(each) for layer, each in given.items()}
    if isinstance(given, SecondMoment):
        matrix = given.matrix
        values = b"" if matrix is None else matrix.cpu().contiguous().numpy().tobytes()
        return [given.about, given.ridge, hashlib.sha256(values).hexdigest()]
    if isinstance(given, list):
        return digest_of(given)
    return given if given in (None, "identity", OWN) else _about_file(given)


def _about_file(path: str | os.PathLike[str]) -> str:
    """What the file holds, wherever it is; of one that cannot be read, its path."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # the edits say what is wrong with it
        return str(path)


def digest_of(value: Any) -> str:
    """SHA-256 of what JSON can hold, and of records."""
    return hashlib.sha256(json.dumps(value, default=asdict).encode()).hexdigest()
