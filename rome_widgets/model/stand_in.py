"""The modules that run in place of the user's: the same weights and code, in eval mode, ours alone.

For each outermost call a tree of modules is made beside the user's: of the same classes, with the
same tensors, and with tables of hooks, children and weights of its own. Hooks go on it, eval mode
is its mode, what a pass notes in a module is noted in it; afterwards it is dropped. So there is
nothing to put back: nobody else ever sees it, and the user's modules are only read.

What a module holds that leads to modules of the tree by other ways leads to stand-ins in the copy
(see `references`). What `torch.compile` made runs as it was written. A hook of the user's own is
given the user's module, as in the user's own pass: it may know modules by which object they are.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from torch import nn

from rome_widgets.errors import ModelChanged
from rome_widgets.model.foreign_code import home_of
from rome_widgets.model.references import PLAIN, WRITTEN, References, is_of_a_large_library

T = TypeVar("T")

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_COPIED = (
    *("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set", *_HOOKS),
    *("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks_with_kwargs",
)
"""Torch's tables that a stand-in has of its own."""
_OF_TORCH = frozenset(vars(nn.Module()))
_COMPILED = frozenset({"_compiled_call_impl", "_compiled_call"})


class StandIns:
    """One tree of stand-ins.

    Args:
        model: The user's, which is only read.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.in_training = False
        """Whether the user has any of it in training mode."""
        self.proved = False
        """Whether somebody has looked at what the user's code does; see `LanguageModel.run`."""
        self._by_id: dict[int, nn.Module] = {}
        self._made: set[int] = set()
        self._references = References(self._by_id)
        pairs = list(self._shells(model))
        for module, stand_in in pairs:
            self._fill(module, stand_in)

    @property
    def calls_users_code(self) -> bool:
        """Whether there are hooks or objects that may call modules of the user's own."""
        return self._references.calls_users_code

    @property
    def compiled(self) -> bool:
        """Whether something in it was compiled."""
        return self._references.compiled

    def of(self, module: nn.Module) -> nn.Module:
        """What stands for a module; a stand-in stands for itself.

        Raises:
            ModelChanged: It is not among the modules that the model had when the call began.
        """
        found = self._by_id.get(id(module))
        if found is not None:
            return found
        if id(module) in self._made:
            return module
        raise ModelChanged(
            f"A {type(module).__name__} came into the model while it ran, by other code.",
            "The same modules were wanted until the end.",
            "Run it again when the other code is done.",
        )

    def _shells(self, model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Each module once, with an empty object of its class."""
        waiting, by_id = [model], self._by_id
        while waiting:
            module = waiting.pop()
            if id(module) in by_id:
                continue
            stand_in = by_id[id(module)] = object.__new__(type(module))
            self._made.add(id(stand_in))
            waiting += [child for child in module._modules.values() if child is not None]
            yield module, stand_in

    def _fill(self, module: nn.Module, stand_in: nn.Module) -> None:
        held, by_id = vars(module).copy(), self._by_id
        self.in_training = self.in_training or module.training  # where wrapped, what it wraps says
        held["training"] = False
        if children := held["_modules"]:
            held["_modules"] = {
                name: None if child is None else by_id[id(child)]
                for name, child in children.items()
            }
        for name in _COPIED:
            held[name] = held[name].copy()
        for table in _HOOKS:
            for number, hook in held[table].items():
                held[table][number] = self._hook(module, stand_in, table, number, hook)
        for name in held.keys() - _OF_TORCH:
            if type(held[name]) not in PLAIN:
                held[name] = self._references.of(held[name])
        self._take_compiling_out(stand_in, held)
        vars(stand_in).update(held)

    def _take_compiling_out(self, stand_in: nn.Module, held: dict[str, Any]) -> None:
        for name in _COMPILED & held.keys():
            self._references.compiled |= held.pop(name) is not None
        written = getattr(type(stand_in).forward, WRITTEN, None)
        if written is not None and "forward" not in held:
            self._references.compiled = True
            held["forward"] = types.MethodType(written, stand_in)

    def _hook(
        self, module: nn.Module, stand_in: nn.Module, table: str, number: int, hook: Any
    ) -> Any:
        """A hook as it acts on the stand-in."""
        owner = getattr(hook, "__self__", None)
        if is_of_a_large_library(home_of(hook)) or id(owner) in self._by_id:
            return self._references.of(hook)
        self._references.calls_users_code = True

        def act(_: nn.Module, *rest: Any) -> Any:
            if number not in getattr(module, table):
                return None  # taken off since
            before = _holds(module)
            found = hook(module, *rest)
            for name, value in _holds(module).items():
                if before.get(name, before) is not value:  # for `forward` to read
                    setattr(stand_in, name, self._references.of(value))
            return found

        return act


def _holds(module: nn.Module) -> dict[str, Any]:
    """All but the modules and torch's own: what a hook may set for `forward` to read."""
    own = {name: value for name, value in vars(module).items() if name not in _OF_TORCH}
    return own | module._parameters | module._buffers


# --------------------------------------------------------------------------- the running call

_running: ContextVar[StandIns | None] = ContextVar("rome_widgets_stand_ins", default=None)


def run_on_stand_ins(model: nn.Module, call: Callable[[], T]) -> T:
    """`call()` with stand-ins of the model's modules; those of a call around it where there are.

    In a copied context: transformers sets context variables of its own, and an interrupt at any
    moment throws all of them away.
    """
    running = _running.get()
    if running is not None and running.model is model:
        return call()
    return copy_context().run(_run_on, StandIns(model), call)


def _run_on(stand_ins: StandIns, call: Callable[[], T]) -> T:
    _running.set(stand_ins)
    return call()


def running_stand_ins() -> StandIns | None:
    """Those of the running call."""
    return _running.get()


def standing_in(module: Any) -> Any:
    """What runs in place of a module of the user's, in a call of ours.

    Raises:
        ModelChanged: The model did not have it when the call began.
    """
    running = _running.get()
    if running is None:
        raise RuntimeError("modules run within run_in_eval_mode only")
    return running.of(module)
