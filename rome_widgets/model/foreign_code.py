"""Code of somebody else on a module: hooks and replaced forwards that are not the model's own."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

_LIBRARIES = ("transformers", "accelerate", "peft")
"""Their hooks and forwards are part of a model; they come and go with what a pass is asked for."""


class ForeignHook(NamedTuple):
    """A hook that is not of a library."""

    kind: str
    key: int
    """Under which the module keeps it."""
    hook: Any
    words: str


def foreign_hooks(module: nn.Module) -> Iterator[ForeignHook]:
    """Each hook of a module that is not of a library."""
    around = vars(module).get("_hf_hook")
    for hook in getattr(around, "hooks", () if around is None else (around,)):
        if not is_of_a_library(hook):
            yield ForeignHook("accelerate", 0, hook, f"the hook of accelerate {name_of(hook)}")
    for kind, table in (
        ("forward hook", module._forward_hooks),
        ("forward pre-hook", module._forward_pre_hooks),
    ):
        for number, hook in list(table.items()):
            if not is_of_a_library(hook):
                yield ForeignHook(kind, number, hook, f"the {kind} {name_of(hook)}")


def has_replaced_forward(module: nn.Module) -> bool:
    """Whether somebody put another `forward` on a module than its class's, or a library's."""
    forward = vars(module).get("forward")
    if forward is None or type(module).__name__ == "OptimizedModule":
        return False
    forward = getattr(forward, "_torchdynamo_orig_callable", forward)
    if "_hf_hook" in vars(module) and home_of(forward).startswith("accelerate."):
        forward = getattr(module, "_old_forward", forward)  # what that calls
    its_own = getattr(forward, "__self__", None) is module
    if its_own and getattr(forward, "__func__", None) is type(module).forward:
        return False  # put back as it was, for one
    return not is_of_a_library(forward) or home_of(forward).startswith("transformers.models.")


def _innermost(code: Any) -> Any:
    while isinstance(code, functools.partial):
        code = code.func
    return getattr(code, "__func__", code)


def home_of(code: Any) -> str:
    """Where code was written: not what `functools.wraps` made it say."""
    code = _innermost(code)
    written = getattr(code, "__globals__", None)
    if written is not None:
        return written.get("__name__") or ""
    return getattr(code, "__module__" if isinstance(code, type) else "", None) or (
        type(code).__module__ or ""
    )


def is_of_a_library(code: Any) -> bool:
    """Whether code was written in transformers, accelerate or peft."""
    return home_of(code).partition(".")[0] in _LIBRARIES


def name_of(code: Any) -> str:
    """What a function or hook is called, and the module of Python that it was written in."""
    code = _innermost(code)
    written = getattr(code, "__code__", code)  # whatever `functools.wraps` made it say
    name = getattr(written, "co_qualname", None) or getattr(written, "__qualname__", None)
    name = name or type(code).__qualname__
    name = name.rpartition("<locals>.")[2]
    return f"'{name}' of {home_of(code) or 'unknown'}"
