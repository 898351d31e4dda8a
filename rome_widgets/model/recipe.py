"""How another process gets the model that this one has: not the weights, but where they come from.

A recipe is a few words, so it costs nothing to send along with every piece of work. The process
that it reaches loads the model by it once, sees by a digest that it is the same one, and keeps it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

from rome_widgets import bundled
from rome_widgets.errors import ModelChanged, RomeWidgetsError, StaysHere, WorkersLost
from rome_widgets.model.base_weights import digest_of_weights
from rome_widgets.model.generation import end_tokens
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.load import load, source_of
from rome_widgets.model.precision import reduced_precision, setting_of
from rome_widgets.records.html import and_more

READ = 64
"""Subjects of the bundled list by whose ids tokenizers are told apart."""
_loading = threading.Lock()
_kept: dict[ModelRecipe, LanguageModel] = {}
"""The latest model that was loaded by a recipe in this process."""


@dataclass(frozen=True)
class ModelRecipe:
    """Where a model comes from, and how to know it; the arguments are those of `rome_widgets.load`.

    Example:
        >>> ModelRecipe.of(rw.load(device="cpu")).source is None      # the bundled model
        True
    """

    source: str | None
    """A folder, a file or a name on the hub; None: the bundled model."""
    revision: str | None
    """The commit on the hub."""
    dtype: str
    device: str
    """The kind of device: which one of several, each process knows by itself."""
    own_code: bool
    """Whether code that came with the checkpoint runs, which the user has allowed here."""
    precision: str
    """In which narrower format float32 is multiplied (`reduced_precision`). It is a setting of each
    process, which none inherits."""
    digest: str
    """Of weights, modules and tokenizer, and of where a text ends."""

    @classmethod
    def of(cls, lm: LanguageModel) -> ModelRecipe:
        """The recipe of a model.

        Raises:
            StaysHere: It is not, or no longer, what any folder or hub has; or it has hooks, or is
                spread over several devices.
        """
        source = None if bundled.is_bundled(lm) else source_of(lm)
        if source and Path(source).expanduser().exists():  # which another process finds elsewhere
            source = str(Path(source).expanduser().resolve())
        if reason := _why_none(lm, source):
            raise StaysHere(
                f"Other processes cannot load this model: {reason}.",
                "One as a folder or the hub has it was wanted.",
                "Save it, lm.save_pretrained(folder), and take rome_widgets.load(folder).",
            )
        own_code = type(lm.model).__module__.startswith("transformers_modules")
        revision = getattr(lm.model.config, "_commit_hash", None)
        dtype = str(lm.dtype).removeprefix("torch.")
        narrower = reduced_precision(lm.device, lm.dtype)
        return cls(source, revision, dtype, lm.device.type, own_code, narrower, _digest(lm))

    def model(self) -> LanguageModel:
        """The model, loaded when a process asks for the first time.

        Raises:
            WorkersLost: This process multiplies in another precision.
            ModelChanged: What was loaded is another model.
            ModelNotFound, DeviceUnavailable, OutOfMemory: See `rome_widgets.load`.
        """
        self._check_precision()
        with _loading:
            if self not in _kept:
                _kept.clear()
                _kept[self] = self._loaded()
            return _kept[self]

    def own_model(self, name: str) -> LanguageModel:
        """One that nobody else in this process has, to be edited; it is called as in the other.

        Raises:
            As `model`.
        """
        self._check_precision()
        with _loading:
            lm = self._loaded()
        lm.name = name  # by which settings that belong to a model are found
        return lm

    def _check_precision(self) -> None:
        device = torch.device(self.device)
        found = reduced_precision(device, getattr(torch, self.dtype))
        if found != self.precision:
            raise WorkersLost(
                f"A worker multiplies float32 matrices in {found or 'float32'}.",
                f"{self.precision or 'float32'} was wanted, as in the process that sent the work.",
                f"Run {setting_of(device, self.precision)} in each worker: in the initializer of a "
                "pool of processes, in a module that Dask's workers --preload.",
            )

    def _loaded(self) -> LanguageModel:
        lm = load(
            self.source,
            device=self.device,
            dtype=self.dtype,
            revision=self.revision,
            trust_remote_code=self.own_code,
            progress=False,
        )
        if _digest(lm) != self.digest:
            raise ModelChanged(
                f"{lm.name} was loaded in another process, and is another model there.",
                "The same weights and tokenizer were wanted.",
                "Was it changed after it was loaded? Save it, lm.save_pretrained(folder), and take "
                "rome_widgets.load(folder).",
            )
        return lm


def _why_none(lm: LanguageModel, source: str | None) -> str:
    """Why a model has no recipe, a clause; empty where it has one."""
    if lm.edits:
        return "it carries edits"
    if foreign := lm.foreign:
        return f"it has {and_more(foreign)}"
    if len({weight.device for weight in lm.model.parameters()}) > 1:
        return "it is spread over several devices"
    if source == "":
        return "it was made in memory, or its folder is gone"
    return ""


def _digest(lm: LanguageModel) -> str:
    ids = [_ids(lm, subject) for subject in bundled.subjects()[:READ]]
    code = [lm.engine, str(lm.dtype)]
    ends = [sorted(end_tokens(lm)), lm.n_positions]
    about = json.dumps([digest_of_weights(lm), lm.identity.built, *code, ids, *ends])
    return hashlib.sha256(about.encode()).hexdigest()


def _ids(lm: LanguageModel, subject: str) -> tuple[int, ...] | str:
    try:
        return lm.prompt_ids(subject)
    except RomeWidgetsError as error:  # of a token without an embedding: the same everywhere
        return str(error)
