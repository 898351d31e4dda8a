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
    asleep = _asleep_of(model)
    this = Call()
    device = device_of(model).type
    gradients_before = torch.is_grad_enabled()
    autocast = is_autocast_available(device) and torch.is_autocast_enabled(device)
    try:
        asleep.enter(model, this)
        if device == "cuda":
            _tf32.enter(this)
        _set_modes(device, gradients=gradients, autocast=False)
        return copy_context().run(call)  # transformers sets context variables of its own
    finally:
        try:
            asleep.leave(this)
            _tf32.leave(this)
            _set_modes(device, gradients=gradients_before, autocast=autocast)
        except BaseException:
            asleep.leave(this)
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


class _Asleep:
    """Which modules of one model are in eval mode for our calls, and were not before.

    Each step notes first and acts then, so that it can be interrupted, left, and repeated. The
    locks here are reentrant: what the collector finds under one may leave a call of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._modules: list[nn.Module] = []
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()

    def enter(self, model: nn.Module, call: Call) -> None:
        with self._lock:
            self._calls.add(call)
            if not self._modules:
                self._modules = [module for module in model.modules() if module.training]
            for module in self._modules:
                module.training = False

    def leave(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)
            if not self._calls:
                for module in self._modules:
                    module.training = True
                self._modules = []


_sleeping: weakref.WeakKeyDictionary[nn.Module, _Asleep] = weakref.WeakKeyDictionary()
_sleeping_lock = threading.RLock()


def _asleep_of(model: nn.Module) -> _Asleep:
    with _sleeping_lock:
        return _sleeping.setdefault(model, _Asleep())


class _Tf32:
    """TF32 for CUDA's matrix products, while any of our calls wants it; torch knows it no finer."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._before: Any = None
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()

    def enter(self, call: Call) -> None:
        with self._lock:
            self._calls.add(call)
            if self._before is None:
                self._before = torch.backends.cuda.matmul.fp32_precision
            torch.backends.cuda.matmul.fp32_precision = "tf32"

    def leave(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)
            if not self._calls and self._before is not None:
                torch.backends.cuda.matmul.fp32_precision = self._before
                self._before = None


_tf32 = _Tf32()
