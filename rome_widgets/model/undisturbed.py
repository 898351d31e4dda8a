"""Compute as if the caller had told torch nothing: autocast, inference mode, gradients, device.

All that is set here torch keeps for each thread by itself, so a user's other threads see none of
it, and it is put back whenever an interrupt comes (see `interrupts`). What torch keeps for the
whole process is left alone: the precision of float32 products (see `precision`), default dtype,
deterministic algorithms. Our own tensors name their dtype and device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn, overrides
from torch._C import _get_function_stack_at, _len_torch_function_stack
from torch.amp.autocast_mode import is_autocast_available
from torch.utils._device import DeviceContext

from rome_widgets.model.interrupts import run_between
from rome_widgets.model.threads import run_in_threads_for

P = ParamSpec("P")
T = TypeVar("T")

CPU = torch.device("cpu")
_DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "maia", "xla", "ipu")


def undisturbed(work: Callable[P, T]) -> Callable[P, T]:
    """Decorates what computes for a caller; see `run_undisturbed`.

    With a model, its first argument or the `lm` of that, the small steps between passes are done in
    as many threads as the passes (see `threads`), and the number is set once.
    """

    @wraps(work)
    def apart(*args: P.args, **kwargs: P.kwargs) -> T:
        model = _model_of(args[0] if args else kwargs.get("lm"))
        return run_undisturbed(lambda: run_in_threads_for(model, lambda: work(*args, **kwargs)))

    return apart


def _model_of(given: Any) -> nn.Module | None:
    model = getattr(getattr(given, "lm", given), "model", None)
    return model if isinstance(model, nn.Module) else None  # what else it is, the work will say


def run_undisturbed(
    call: Callable[[], T], *, gradients: bool = False, device: torch.device = CPU
) -> T:
    """Run `call()` outside the caller's autocast and inference mode, with or without gradients.

    The caller's default device stays where it is of the kind of `device`: a model's own code may
    count on it. Else it is the CPU, as where nobody has set one.
    """
    gradients_before = torch.is_grad_enabled()
    autocast = [kind for kind in _with_autocast() if torch.is_autocast_enabled(kind)]
    inference = torch.inference_mode(False) if torch.is_inference_mode_enabled() else None
    modes = _function_modes()
    others = [mode for mode in modes if not _puts_elsewhere(mode, device)]
    if gradients_before == gradients and not (autocast or inference or len(others) < len(modes)):
        return call()

    def set_up() -> None:
        if inference:
            inference.__enter__()
        torch.set_grad_enabled(gradients)
        for kind in autocast:
            torch.set_autocast_enabled(kind, False)
        if len(others) < len(modes):
            _set_function_modes(others)

    def put_back() -> None:
        for kind in autocast:
            torch.set_autocast_enabled(kind, True)
        if _function_modes() != modes:
            _set_function_modes(modes)
        if inference and not torch.is_inference_mode_enabled():
            inference.__exit__(None, None, None)
        torch.set_grad_enabled(gradients_before)

    return run_between(set_up, call, put_back)


def _function_modes() -> list[Any]:
    """What torch asks, in this thread, about every call; a default device is one of them."""
    return [_get_function_stack_at(at) for at in range(_len_torch_function_stack())]


def _set_function_modes(modes: list[Any]) -> None:
    for _ in range(_len_torch_function_stack()):
        overrides._pop_mode()
    for mode in modes:
        overrides._push_mode(mode)


def _puts_elsewhere(mode: Any, device: torch.device) -> bool:
    return isinstance(mode, DeviceContext) and mode.device.type not in ("cpu", device.type)


@cache
def _with_autocast() -> tuple[str, ...]:
    return tuple(filter(is_autocast_available, _DEVICES))
