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

from rome_widgets.errors import ModelChanged
from rome_widgets.model.hooks import Call, surely
from rome_widgets.model.threads import put_threads_back, set_threads_here, threads_for

T = TypeVar("T")


def run_in_eval_mode(model: nn.Module, call: Callable[[], T], *, gradients: bool = False) -> T:
    """Run `call()` with the model in eval mode, with or without gradients, outside any autocast.

    On a CPU a small model computes with one thread; see `threads`.
    What the user has compiled runs as it is written, where hooks act: the numbers are the same up
    to rounding.

    Afterwards all is as before, whenever an interrupt comes: like the hooks (see `hooks`), it is
    put back right here, by steps that can be repeated. A `with` would not do: what it calls on
    leaving is a function, and an interrupt on entering that one skips it.
    """
    if torch.is_inference_mode_enabled():  # the user's: its tensors would know no gradients
        with torch.inference_mode(False):
            return run_in_eval_mode(model, call, gradients=gradients)
    eval_mode = _eval_mode_of(model)
    this = Call()
    device = device_of(model).type
    gradients_before = torch.is_grad_enabled()
    autocast = is_autocast_available(device) and torch.is_autocast_enabled(device)
    threads = torch.get_num_threads()
    ours = threads if device == "cuda" else threads_for(model)

    def put_back() -> None:
        eval_mode.leave(this)
        _eager.leave(this)
        _set_modes(device, gradients=gradients_before, autocast=autocast)
        put_threads_back(threads, ours)

    try:
        eval_mode.enter(model, this)
        set_threads_here(ours)
        if any(map(is_compiled, model.modules())):
            _eager.enter(model, this)
        _set_modes(device, gradients=gradients, autocast=False)
        found = copy_context().run(call)  # transformers sets context variables of its own
        if _in_training(model):
            raise ModelChanged(
                "The model was put in training mode while it ran, by other code.",
                "Eval mode was wanted until the end: in training mode, values are dropped.",
                "Run it again when the other code is done.",
            )
        return found
    finally:
        try:
            surely(put_back)
        except BaseException:
            surely(put_back)
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


def is_compiled(module: nn.Module) -> bool:
    """Whether calling it goes through `torch.compile`."""
    return (
        getattr(module, "_compiled_call_impl", None) is not None
        or type(module).__name__ == "OptimizedModule"
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
    )


def _set_modes(device: str, *, gradients: bool, autocast: bool) -> None:
    """Set this thread's own modes of torch."""
    torch.set_grad_enabled(gradients)
    if is_autocast_available(device):
        torch.set_autocast_enabled(device, autocast)


class _InUse:
    """A mode that the first call in sets and the last one out puts back.

    Each step notes first and acts then, so that it can be interrupted, left, and repeated. The
    locks here are reentrant: what the collector finds under one may leave a call of its own.

    Args:
        read: What has to be put back, of a model.
        write: Sets the mode, or with True puts back what was read.
    """

    def __init__(
        self, read: Callable[[nn.Module], Any], write: Callable[[Any, bool], None]
    ) -> None:
        self._lock = threading.RLock()
        self._read, self._write = read, write
        self._before: Any = None
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()

    def enter(self, model: nn.Module, call: Call) -> None:
        with self._lock:
            self._calls.add(call)
            self._before = self._before or self._read(model)
            self._write(self._before, False)

    def leave(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)
            if not self._calls and self._before:
                self._write(self._before, True)
                self._before = None


def _in_training(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if module.training]


def _set_training(modules: list[nn.Module], training: bool) -> None:
    for module in modules:
        module.training = training


def _stop_compiling(model: nn.Module) -> Any:
    """Torch acts when it is asked, and what it gives puts back what was before."""
    return torch.compiler.set_stance("force_eager")


def _compile_again(stance: Any, back: bool) -> None:
    if back:
        stance.__exit__(None, None, None)


_eager = _InUse(_stop_compiling, _compile_again)
"""Nothing compiled, while any of our calls runs a model with compiled parts; torch knows one
setting for all threads."""
_eval_modes: weakref.WeakKeyDictionary[nn.Module, _InUse] = weakref.WeakKeyDictionary()
_eval_modes_lock = threading.RLock()


def _eval_mode_of(model: nn.Module) -> _InUse:
    with _eval_modes_lock:
        return _eval_modes.setdefault(model, _InUse(_in_training, _set_training))
