"""Run a model in eval mode, and leave its modes and torch's own as they were.

Threads share a model: the first call in puts it into eval mode, the last one out puts it back.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

import torch
from torch import nn
from torch.amp.autocast_mode import is_autocast_available

from rome_widgets.model.hooks import Call

T = TypeVar("T")


def run_in_eval_mode(model: nn.Module, call: Callable[[], T], *, gradients: bool = False) -> T:
    """Run `call()` with the model in eval mode, with or without gradients, outside any autocast.

    On CUDA, float32 matrices multiply in TF32 meanwhile: what a trace shows needs no more.

    Afterwards all is as before, whenever an interrupt comes: like the hooks (see `hooks`), it is
    put back right here, by steps that can be repeated. A `with` would not do: what it calls on
    leaving is a function, and an interrupt on entering that one skips it.
    """
    eval_mode = _eval_mode_of(model)
    this = Call()
    device = device_of(model).type
    gradients_before = torch.is_grad_enabled()
    autocast = is_autocast_available(device) and torch.is_autocast_enabled(device)
    try:
        eval_mode.enter(model, this)
        if device == "cuda":
            _tf32.enter(model, this)
        _set_modes(device, gradients=gradients, autocast=False)
        return copy_context().run(call)  # transformers sets context variables of its own
    finally:
        try:
            eval_mode.leave(this)
            _tf32.leave(this)
            _set_modes(device, gradients=gradients_before, autocast=autocast)
        except BaseException:
            eval_mode.leave(this)
            _tf32.leave(this)
            _set_modes(device, gradients=gradients_before, autocast=autocast)
            raise


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes: where its first weight is, or will be brought to by accelerate."""
    for weight in module.parameters():
        if not weight.is_meta:
            return weight.device
    for inner in module.modules():
        found = getattr(getattr(inner, "_hf_hook", None), "execution_device", None)
        if found is not None:
            return torch.device(found)
    return torch.device("cpu")


def _set_modes(device: str, *, gradients: bool, autocast: bool) -> None:
    """Set this thread's own modes of torch."""
    torch.set_grad_enabled(gradients)
    if is_autocast_available(device):
        torch.set_autocast_enabled(device, autocast)


class _InUse:
    """A mode that the first call in sets and the last one out puts back.

    Each step notes first and acts then, so that it can be interrupted, left, and repeated. The
    locks here are reentrant: what the collector finds under one may leave a call of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._before: Any = None
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()

    def enter(self, model: nn.Module, call: Call) -> None:
        with self._lock:
            self._calls.add(call)
            self._before = self._before or self._read(model)
            self._set(self._before)

    def leave(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)
            if not self._calls and self._before:
                self._put_back(self._before)
                self._before = None

    def _read(self, model: nn.Module) -> Any:
        raise NotImplementedError

    def _set(self, before: Any) -> None:
        raise NotImplementedError

    def _put_back(self, before: Any) -> None:
        raise NotImplementedError


class _EvalMode(_InUse):
    """Eval mode of one model; what is noted are the modules that were not in it."""

    def _read(self, model: nn.Module) -> list[nn.Module]:
        return [module for module in model.modules() if module.training]

    def _set(self, before: list[nn.Module]) -> None:
        for module in before:
            module.training = False

    def _put_back(self, before: list[nn.Module]) -> None:
        for module in before:
            module.training = True


class _Tf32(_InUse):
    """TF32 for CUDA's matrix products, while any of our calls wants it; torch knows it no finer."""

    def _read(self, model: nn.Module) -> Any:
        return torch.backends.cuda.matmul.fp32_precision

    def _set(self, before: Any) -> None:
        torch.backends.cuda.matmul.fp32_precision = "tf32"

    def _put_back(self, before: Any) -> None:
        torch.backends.cuda.matmul.fp32_precision = before


_tf32 = _Tf32()
_eval_modes: weakref.WeakKeyDictionary[nn.Module, _EvalMode] = weakref.WeakKeyDictionary()
_eval_modes_lock = threading.RLock()


def _eval_mode_of(model: nn.Module) -> _EvalMode:
    with _eval_modes_lock:
        return _eval_modes.setdefault(model, _EvalMode())
