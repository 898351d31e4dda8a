"""The modules that run in place of the user's: the same weights and code, in eval mode, ours alone.

For each outermost call a tree of modules is made beside the user's: of the same classes, with the
same tensors, and with tables of hooks, children and weights of its own. Hooks go on it, eval mode
is its mode, what a pass notes in a module is noted in it; afterwards it is dropped. So there is
nothing to put back: nobody else ever sees it, and the user's modules are only read.

What a module holds that leads to modules of the tree, leads to stand-ins in the copy: in lists and
dicts, as methods, in `functools.partial`, in functions that somebody put there (by what they close
over, and by the global names that they read) and in objects of the user's own classes. What
`torch.compile` made runs as it was written. A hook of the user's own is given the user's module, as
in the user's own pass: it may know modules by which object they are.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rome_widgets.errors import ModelChanged
from rome_widgets.model.foreign_code import home_of

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
_WRITTEN = "_torchdynamo_orig_callable"
"""Where `torch.compile` notes what it compiled."""
_PLAIN = frozenset(
    {
        *(bool, int, float, complex, str, bytes, type(None), type, types.ModuleType, range, slice),
        *(types.BuiltinFunctionType, torch.dtype, torch.device, torch.Size, Tensor, nn.Parameter),
    }
)
"""Types that lead to no module."""
_DEEPEST = 12
_IN_AN_OBJECT = 6
"""Depth from which on no object is entered: one in another may lead to half the process."""
_LARGEST = 4096
"""Entries of a container that are looked at."""


class StandIns:
    """One tree of stand-ins.

    Args:
        model: The user's, which is only read.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.in_training = False
        """Whether the user has any of it in training mode."""
        self.calls_users_code = False
        """Whether there are hooks or objects that may call modules of the user's own."""
        self.compiled = False
        self.proved = False
        """Whether somebody has looked at what the user's code does; see `LanguageModel.run`."""
        self._by_id: dict[int, nn.Module] = {}
        self._made: set[int] = set()
        self._others: dict[int, tuple[Any, Any]] = {}
        """What else was looked at, by id, with what stands for it; held, so that ids stay."""
        pairs = list(self._shells(model))
        for module, stand_in in pairs:
            self._fill(module, stand_in)

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
            if type(held[name]) not in _PLAIN:
                held[name] = self._translated(held[name])
        self._take_compiling_out(stand_in, held)
        vars(stand_in).update(held)

    def _take_compiling_out(self, stand_in: nn.Module, held: dict[str, Any]) -> None:
        for name in _COMPILED & held.keys():
            self.compiled = held.pop(name) is not None or self.compiled
        written = getattr(type(stand_in).forward, _WRITTEN, None)
        if written is not None and "forward" not in held:
            self.compiled = True
            held["forward"] = types.MethodType(written, stand_in)

    # ------------------------------------------------------------------- what leads to modules

    def _translated(self, value: Any, depth: int = 0) -> Any:
        """The value, or a copy of it that leads to stand-ins."""
        if type(value) in _PLAIN or depth > _DEEPEST:
            return value
        if isinstance(value, nn.Module):
            return self._by_id.get(id(value), value)
        if id(value) not in self._others:
            self._others[id(value)] = value, value  # for what leads back to itself
            self._others[id(value)] = value, self._copied(value, depth + 1)
        return self._others[id(value)][1]

    def _copied(self, value: Any, depth: int) -> Any:
        if isinstance(value, types.FunctionType):
            return self._function(value, depth)
        if isinstance(value, types.MethodType):
            code, owner = (
                self._translated(part, depth) for part in (value.__func__, value.__self__)
            )
            unchanged = code is value.__func__ and owner is value.__self__
            return value if unchanged else types.MethodType(code, owner)
        if isinstance(value, functools.partial):
            return self._partial(value, depth)
        if isinstance(value, weakref.ref):
            inner = value()
            return weakref.ref(self._by_id[id(inner)]) if id(inner) in self._by_id else value
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._several(value, depth)
        return self._object(value, depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if len(value) > _LARGEST:
            return value
        pairs = [
            (self._translated(key, depth), self._translated(each, depth))
            for key, each in list(value.items())
        ]
        if all(
            new is key and to is each
            for (new, to), (key, each) in zip(pairs, value.items(), strict=False)
        ):
            return value
        found = copy.copy(value)
        found.clear()
        found.update(pairs)
        return found

    def _several(self, value: Any, depth: int) -> Any:
        items = list(value)
        if len(items) > _LARGEST:
            return value
        found = [self._translated(each, depth) for each in items]
        if all(new is each for new, each in zip(found, items, strict=True)):
            return value
        if isinstance(value, list):
            new = copy.copy(value)
            new[:] = found
            return new
        return type(value)(*found) if hasattr(value, "_fields") else type(value)(found)

    def _partial(self, value: functools.partial[Any], depth: int) -> Any:
        parts = (value.func, value.args, value.keywords)
        code, args, keywords = (self._translated(part, depth) for part in parts)
        if code is value.func and args is value.args and keywords is value.keywords:
            return value
        found = functools.partial(code, *args, **keywords)
        vars(found).update(self._translated(vars(value), depth))
        return found

    def _function(self, value: types.FunctionType, depth: int) -> Any:
        """Another function of the same code, where what it reads leads to modules."""
        written = vars(value).get(_WRITTEN)
        if written is not None:
            self.compiled = True
            return self._translated(written, depth)
        if not _is_of_a_large_library(home_of(value)):
            self.calls_users_code = True
        cells = tuple(self._cell(cell, depth) for cell in value.__closure__ or ())
        names = self._globals(value, depth)
        defaults = self._translated(value.__defaults__, depth)
        keywords = self._translated(value.__kwdefaults__, depth)
        if (
            cells == (value.__closure__ or ())
            and not names
            and defaults is value.__defaults__
            and keywords is value.__kwdefaults__
        ):
            return value
        around = _Globals(value.__globals__, names) if names else value.__globals__
        found = types.FunctionType(value.__code__, around, value.__name__, defaults, cells or None)
        found.__kwdefaults__ = keywords
        found.__qualname__, found.__doc__ = value.__qualname__, value.__doc__
        found.__module__ = value.__module__
        vars(found).update(self._translated(vars(value), depth))
        return found

    def _cell(self, cell: types.CellType, depth: int) -> types.CellType:
        try:
            inside = cell.cell_contents
        except ValueError:  # nothing yet
            return cell
        found = self._translated(inside, depth)
        return cell if found is inside else types.CellType(found)

    def _globals(self, value: types.FunctionType, depth: int) -> dict[str, Any]:
        """Those that code of a user's own reads and that lead to modules."""
        if _is_of_a_large_library(home_of(value)):
            return {}
        found = {}
        for name in _names_in(value.__code__):
            held = value.__globals__.get(name)
            if type(held) not in _PLAIN and not isinstance(held, type):
                new = self._translated(held, depth)
                if new is not held:
                    found[name] = new
        return found

    def _object(self, value: Any, depth: int) -> Any:
        """An object of a user's own class, copied where its attributes lead to modules."""
        held = getattr(value, "__dict__", None)
        if (
            not isinstance(held, dict)
            or depth > _IN_AN_OBJECT
            or isinstance(value, (type, Tensor))
            or _is_of_a_large_library(type(value).__module__)
        ):
            return value
        self.calls_users_code = self.calls_users_code or callable(value)
        found = self._dict(held, _IN_AN_OBJECT + 1)
        if found is held:
            return value
        try:
            new = object.__new__(type(value))
        except TypeError:
            return value
        vars(new).update(found)
        return new

    # ----------------------------------------------------------------------------------- hooks

    def _hook(
        self, module: nn.Module, stand_in: nn.Module, table: str, number: int, hook: Any
    ) -> Any:
        """A hook as it acts on the stand-in."""
        owner = getattr(hook, "__self__", None)
        if _is_of_a_large_library(home_of(hook)) or id(owner) in self._by_id:
            return self._translated(hook)
        self.calls_users_code = True

        def act(_: nn.Module, *rest: Any) -> Any:
            if number not in getattr(module, table):
                return None  # taken off since
            before = _holds(module)
            found = hook(module, *rest)
            for name, value in _holds(module).items():
                if before.get(name, before) is not value:  # for `forward` to read
                    setattr(stand_in, name, self._translated(value))
            return found

        return act


class _Globals(dict[str, Any]):
    """The global names of a function, some of which lead to stand-ins."""

    def __init__(self, real: dict[str, Any], some: dict[str, Any]) -> None:
        super().__init__(some, __builtins__=real.get("__builtins__"))
        self._real = real

    def __missing__(self, name: str) -> Any:
        return self._real[name]


def _names_in(code: types.CodeType) -> Iterator[str]:
    """Global names and attributes that code and the functions in it read."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _names_in(each)


@functools.cache
def _is_of_a_large_library(home: str) -> bool:
    """Whether code of this home knows modules by what it is given and what it closes over only."""
    return home.partition(".")[0] in _LARGE


_LARGE = frozenset(
    {
        *(
            "rome_widgets",
            "torch",
            "transformers",
            "accelerate",
            "peft",
            "safetensors",
            "tokenizers",
            "numpy",
        ),
        *("builtins", "functools", "collections", "logging", "threading", "weakref", "enum"),
        *("bitsandbytes", "kernels", "huggingface_hub", "re", "types", "_thread", "typing"),
    }
)


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
