"""The ledger of a model's edits: updates over bitwise copies of the matrices they change.

A matrix is always rebuilt from its copy: copy + Σ strength · update, in the order of the ledger
and in the wider of float32 and its own dtype, cast once; element by element, so that neither
autocast nor TF32 acts. So taking an edit away leaves exactly
what the others make, and taking the last one away puts the copy back, bit for bit; subtracting
an update would not (it is off in a tenth of the elements).

What the ledger says is noted first and written then. Writing can be interrupted at any moment
and is repeated right there and at the next entry, until the weights are what the ledger says.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rome_widgets.errors import FingerprintMismatch, ModelChanged
from rome_widgets.model.threads import run_in_threads_for
from rome_widgets.model.undisturbed import run_undisturbed, undisturbed
from rome_widgets.records.edit import WeightsState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LowRank:
    """A change Σ v uᵀ of a matrix, as factors."""

    name: str
    """The parameter, such as "transformer.h.3.mlp.c_proj.weight"."""
    u: Tensor = field(repr=False)
    """`[rank, d_in]`: what is read from the matrix's input."""
    v: Tensor = field(repr=False)
    """`[rank, d_out]`: what is written per unit of it."""
    transposed: bool
    """Whether the weight is stored `[d_in, d_out]`, as in `Conv1D`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight as it is stored."""
        d_in, d_out = self.u.shape[1], self.v.shape[1]
        return (d_in, d_out) if self.transposed else (d_out, d_in)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What the file keeps."""
        return {"u": self.u, "v": self.v}

    def delta(self, strength: float, like: Tensor) -> Tensor:
        """The change in the weight's own orientation, in the dtype and place of `like`."""
        u, v = self.u.to(like), strength * self.v.to(like)
        rows, columns = (u, v) if self.transposed else (v, u)
        total = rows[0][:, None] * columns[0]
        for row, column in zip(rows[1:], columns[1:], strict=True):
            total += row[:, None] * column  # element by element: never in TF32
        return total

    def act(self, keys: Tensor) -> Tensor:
        """`[..., d_out]`: what the change adds to the output for `[..., d_in]` keys."""
        u, v = self.u.to(keys.device, torch.float64), self.v.to(keys.device, torch.float64)
        return ((keys.double() @ u.T) @ v).to(keys.dtype)


@dataclass(frozen=True, eq=False)
class Dense:
    """A change of a parameter without structure, as fine-tuning makes it."""

    name: str
    value: Tensor = field(repr=False)
    """As the parameter is stored."""
    transposed: bool = False
    """Whether the weight is stored `[d_in, d_out]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameter."""
        return tuple(self.value.shape)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What the file keeps."""
        return {"value": self.value}

    def delta(self, strength: float, like: Tensor) -> Tensor:
        """The change in the parameter's own orientation, in the dtype and place of `like`."""
        return strength * self.value.to(like)

    def act(self, keys: Tensor) -> Tensor:
        """`[..., d_out]`: what the change adds to the output for `[..., d_in]` keys."""
        value = self.value.to(keys.device, torch.float64)
        if value.ndim == 1:
            return value.to(keys.dtype).expand(*keys.shape[:-1], -1)
        return (keys.double() @ (value if self.transposed else value.T)).to(keys.dtype)


Update = LowRank | Dense


class HasUpdates(Protocol):
    """What the ledger needs to know of an edit."""

    @property
    def id(self) -> str:
        """Names the edit; the same for a copy that was saved and loaded."""
        ...

    @property
    def updates(self) -> Sequence[Update]:
        """What it changes."""
        ...

    @property
    def bases(self) -> dict[str, str]:
        """Fingerprint, by parameter, of the weights without any edit when it was computed."""
        ...


class LedgerListener(Protocol):
    """What the ledger needs to know of whoever hears of its changes."""

    def edits_changed(self) -> None:
        """The edits are others than before."""
        ...


class Entry(NamedTuple):
    """One applied edit."""

    edit: Any
    strength: float


class Ledger:
    """The edits of one model, in the order they were applied."""

    def __init__(self, model: nn.Module) -> None:
        self._model = weakref.ref(model)
        self._lock = threading.RLock()
        self._entries: tuple[Entry, ...] = ()
        self._bases: dict[str, Tensor] = {}
        """Bitwise copies, on the CPU, of every parameter that an edit changes."""
        self._unsettled: set[str] = set()
        """Parameters whose values may not be what the entries say."""
        self._originals: dict[str, str] = {}
        """Fingerprint of every parameter that was ever edited, as it was before its first edit."""
        self.listener: LedgerListener | None = None
        """Told after every change of the weights, in the thread that made it, without the lock."""

    def __deepcopy__(self, memo: Any) -> None:
        """A copy of an edited model is a model with those weights, and no edits."""

    def __reduce__(self) -> tuple[Any, ...]:
        """The same of one that goes to a file or to another process."""
        return type(None), ()

    @property
    def edits(self) -> tuple[Any, ...]:
        """The applied edits, oldest first."""
        return tuple(entry.edit for entry in self._entries)

    @contextmanager
    def standing(self) -> Iterator[tuple[Entry, ...]]:
        """The applied edits with their strengths, while the weights are what they make of them.

        Nobody changes them through the ledger until the block ends: it should be short.
        """
        with self._lock:
            self._settled()
            yield self._entries

    @property
    def ever_edited(self) -> frozenset[str]:
        """Parameters that an edit changes or once changed."""
        return frozenset(self._originals)

    @property
    def original_values(self) -> tuple[tuple[str, str], ...] | None:
        """By matrix that an edit ever changed a digest of what it holds; None if that is edited."""
        with self._lock:
            noted = self._originals
            if all(fingerprint(self._weight(name)) == each for name, each in noted.items()):
                return tuple(sorted(noted.items()))
            return None

    def strength_of(self, edit: HasUpdates) -> float | None:
        """With what strength the edit is applied; None where it is not."""
        return next((e.strength for e in self._entries if e.edit.id == edit.id), None)

    @undisturbed
    def apply(self, edit: HasUpdates, strength: float, *, force: bool = False) -> None:
        """Apply the edit with this strength, or change the strength it is applied with.

        Args:
            edit: What to apply.
            strength: 1 is the edit as it was computed.
            force: Apply it to a matrix with other values than it was computed on.

        Raises:
            ModelChanged: Somebody else has written a matrix.
            FingerprintMismatch: It was computed on another matrix.
        """
        before = self._entries
        try:
            with self._lock:
                self._apply(Entry(edit, strength), force=force)
        finally:
            self._announce_since(before)

    @undisturbed
    def revert(self, edits: Iterable[HasUpdates], *, force: bool = False) -> None:
        """Take these edits away; those that are not applied are passed over.

        Args:
            edits: What to revert.
            force: Overwrite matrices that somebody else has written since.

        Raises:
            ModelChanged: Somebody else has written a matrix.
        """
        before = self._entries
        try:
            with self._lock:
                self._revert({edit.id for edit in edits}, force=force)
        finally:
            self._announce_since(before)

    @property
    @undisturbed
    def bases(self) -> dict[str, Tensor]:
        """By parameter that an edit changes, a copy of it without any; never to be written."""
        with self._lock:
            self._settled()
            return dict(self._bases)

    @undisturbed
    def fingerprint(self, name: str) -> str:
        """SHA-256 of a parameter as it is without any edit."""
        with self._lock:
            self._settled()
            base = self._bases.get(name)
            return fingerprint(self._weight(name) if base is None else base)

    @undisturbed
    def weights_match(self) -> bool:
        """Whether every matrix ever edited is what the applied edits make of it, bit for bit."""
        with self._lock:
            self._settled()
            return all(self._is_as_noted(name) for name in self._originals)

    @undisturbed
    def state(self) -> WeightsState:
        """Whether the weights are the original ones, or what the applied edits make of them."""
        with self._lock:
            matches = self.weights_match()
            return WeightsState(len(self._entries), matches, self.original_values is not None)

    def _is_as_noted(self, name: str) -> bool:
        base, weight = self._bases.get(name), self._weight(name)
        if base is None:
            return fingerprint(weight) == self._originals[name]
        return torch.equal(weight.cpu(), self._rebuilt(name, base, self._entries))

    # ------------------------------------------------------------------------------ writing

    def _apply(self, entry: Entry, *, force: bool) -> None:
        edit, entries = entry.edit, self._entries
        strength = self.strength_of(edit)
        if strength == entry.strength:
            return
        if strength is None:
            self._check_bases(edit, force=force)
            entries = (*entries, entry)
        else:
            entries = tuple(entry if e.edit.id == edit.id else e for e in entries)
        self._commit(entries, [update.name for update in edit.updates])

    def _revert(self, ids: set[str], *, force: bool) -> None:
        gone = [entry.edit for entry in self._entries if entry.edit.id in ids]
        if not gone and not self._unsettled:
            return
        entries = tuple(entry for entry in self._entries if entry.edit.id not in ids)
        names = [update.name for edit in gone for update in edit.updates]
        self._commit(entries, names, force=force)

    def _announce_since(self, before: tuple[Entry, ...]) -> None:
        """Also after a change that an interrupt followed."""
        if self._entries is not before and self.listener is not None:
            try:
                self.listener.edits_changed()
            except Exception:
                logger.exception("An edit could not be announced")

    def _commit(
        self, entries: tuple[Entry, ...], names: Iterable[str], *, force: bool = False
    ) -> None:
        """Make the weights what `entries` says; all of it, or after an interrupt none or all."""
        model = self._model()
        assert model is not None
        names = dict.fromkeys(names)
        self._settled()
        if not force:
            for name in names:
                run_in_threads_for(model, lambda name=name: self._check_unchanged(name))
        interrupts_later(lambda: self._note_and_write(entries, names))

    def _note_and_write(self, entries: tuple[Entry, ...], names: Iterable[str]) -> None:
        try:
            for name in names:
                self._unsettled.add(name)
                if name not in self._bases:
                    base = copied(self._weight(name))
                    self._originals[name] = fingerprint(base)
                    self._bases[name] = base
            self._entries = entries
        finally:
            # Repeated right here: an interrupt may hit on entering what is called to write.
            try:
                self._settled()
            except BaseException:
                self._settled()
                raise

    def _settled(self) -> None:
        """Write what may not have been written; may be interrupted, is repeated."""
        model = self._model()
        if model is not None and self._unsettled:
            run_undisturbed(lambda: run_in_threads_for(model, self._settle))

    def _settle(self) -> None:
        for name in list(self._unsettled):
            base = self._bases.get(name)
            if base is not None:
                weight = self._weight(name)
                wanted = self._rebuilt(name, base, self._entries)
                if not torch.equal(weight.cpu(), wanted):
                    _write(weight, wanted)
                if not self._touching(name, self._entries):
                    self._bases.pop(name, None)
            self._unsettled.discard(name)

    def _check_bases(self, edit: HasUpdates, *, force: bool) -> None:
        for update in edit.updates:
            weight = self._weight(update.name)
            if tuple(weight.shape) != tuple(update.shape):
                raise FingerprintMismatch(
                    f"{update.name} has the shape {list(weight.shape)}.",
                    f"The edit changes a matrix of the shape {list(update.shape)}.",
                    "Load the model that the edit was computed on.",
                )
            if not force and self.fingerprint(update.name) != edit.bases[update.name]:
                raise FingerprintMismatch(
                    f"{update.name} has other values than when the edit was computed.",
                    "The very same matrix was wanted.",
                    "Load the model that the edit was computed on, compute the edit again, or say "
                    "apply(force=True).",
                )

    def _check_unchanged(self, name: str) -> None:
        if name in self._bases and not self._is_as_noted(name):
            raise ModelChanged(
                f"{name} was written by somebody else since it was edited.",
                "The values that the applied edits make were wanted; nothing was overwritten.",
                "Undo that change, or say revert_all(force=True), which writes the values from "
                "before the first edit over it.",
            )

    def _rebuilt(self, name: str, base: Tensor, entries: tuple[Entry, ...]) -> Tensor:
        """The parameter that `entries` make of its copy, in its dtype.

        On the CPU, where the copy is: a full device can be reverted, and an edit is the same bits
        on every one.
        """
        touching = self._touching(name, entries)
        if not touching:
            return base
        dtype = self._weight(name).dtype
        total = base.to(torch.promote_types(torch.float32, dtype), copy=True)
        for update, strength in touching:
            total += update.delta(strength, total)
        return total.to(dtype)

    def _touching(self, name: str, entries: tuple[Entry, ...]) -> list[tuple[Update, float]]:
        return [
            (update, strength)
            for edit, strength in entries
            for update in edit.updates
            if update.name == name
        ]

    def _weight(self, name: str) -> Tensor:
        model = self._model()
        assert model is not None
        try:
            return model.get_parameter(name)
        except AttributeError:
            raise FingerprintMismatch(
                f"{type(model).__name__} has no parameter {name}.",
                "The model that the edit was computed on was wanted.",
                "Load that model.",
            ) from None


_LEDGER = "_rome_widgets_ledger"
_ledgers_lock = threading.Lock()


def ledger_of(model: nn.Module) -> Ledger:
    """The one ledger of a model, whoever wraps it.

    It stands in the model's own `__dict__`: edits hold the model, so a table of ours that held
    the edits would keep every edited model for good.
    """
    with _ledgers_lock:
        ledger = vars(model).get(_LEDGER)
        if ledger is None or ledger._model() is not model:  # or that of what it was copied from
            ledger = vars(model)[_LEDGER] = Ledger(model)
        return ledger


def _write(weight: Tensor, wanted: Tensor) -> None:
    """In place; a weight that was made in inference mode can be written in that mode only."""
    if not weight.is_inference():
        weight.copy_(wanted)
        return
    with torch.inference_mode():
        weight.copy_(wanted)


def copied(weight: Tensor) -> Tensor:
    """A bitwise copy on the CPU."""
    return weight.detach().to("cpu", copy=True)


def fingerprint(weight: Tensor) -> str:
    """SHA-256 over dtype, shape and bytes."""
    digest = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)}".encode())
    flat = weight.detach().cpu().contiguous().flatten()
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def interrupts_later(call: Callable[[], None]) -> None:
    """Run `call()` with an interrupt of the kernel kept waiting; in the main thread only.

    `call` must be able to stand an interrupt all the same: one can land while this sets up.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if in_main else None
    if not callable(before):
        call()
        return
    waiting: list[tuple[int, Any]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
        call()
    finally:
        try:
            signal.signal(signal.SIGINT, before)
        except BaseException:
            signal.signal(signal.SIGINT, before)
            raise
    if waiting:
        before(*waiting[0])
