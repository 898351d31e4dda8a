"""Run a model in eval mode: stand-ins of its modules, in torch's own state, in this thread only.

Nothing of the user's is set: neither the modules' modes nor anything torch keeps for the process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from rome_widgets.model.stand_in import run_on_stand_ins
from rome_widgets.model.threads import run_in_threads_for
from rome_widgets.model.undisturbed import run_undisturbed

P = ParamSpec("P")
T = TypeVar("T")


def run_in_eval_mode(model: nn.Module, call: Callable[[], T], *, gradients: bool = False) -> T:
    """Run `call()` with stand-ins of the model in eval mode, with or without gradients.

    Within it, `standing_in` gives what to run in place of a module. It is outside any autocast or
    inference mode; on a CPU a small model computes with one thread; see `threads`. What the user
    has compiled runs as it is written, where hooks act: the numbers are the same up to rounding.
    """
    return run_undisturbed(
        lambda: run_in_threads_for(model, lambda: run_on_stand_ins(model, call)),
        gradients=gradients,
        device=device_of(model),
    )


def in_eval_mode(
    work: Callable[Concatenate[nn.Module, P], T],
) -> Callable[Concatenate[nn.Module, P], T]:
    """Decorates what runs a model, its first argument, and needs no gradients."""

    @wraps(work)
    def run(model: nn.Module, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_in_eval_mode(model, lambda: work(model, *args, **kwargs))

    return run


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
