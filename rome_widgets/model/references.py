"""What leads to a model's modules, copied so that it leads to their stand-ins.

People put methods, functions and objects on modules that reach modules by other ways than as
children: a forward that calls the one before it, a hook of accelerate, a list. Each is followed as
far as code goes, and is itself where it leads to no module of the model.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rome_widgets.model.foreign_code import home_of

PLAIN = frozenset(
    {
        *(bool, int, float, complex, str, bytes, type(None), type, types.ModuleType, range, slice),
        *(types.BuiltinFunctionType, torch.dtype, torch.device, torch.Size, Tensor, nn.Parameter),
    }
)
"""Types that lead to no module."""
WRITTEN = "_torchdynamo_orig_callable"
"""Where `torch.compile` notes what it compiled."""
_DEEPEST = 12
_IN_AN_OBJECT = 6
"""Depth from which on no object is entered: one in another may lead to half the process."""
_LARGEST = 4096
"""Entries of a container that are looked at."""


class References:
    """Copies of what leads to some modules, which lead to others.

    Args:
        stand_ins: By the id of a module, what stands for it.
    """

    def __init__(self, stand_ins: Mapping[int, nn.Module]) -> None:
        self.calls_users_code = False
        """Whether there is code of the user's own, which may call modules by ways not followed."""
        self.compiled = False
        """Whether something was compiled; it is taken as it was written."""
        self._stand_ins = stand_ins
        self._others: dict[int, tuple[Any, Any]] = {}
        """What was looked at, by id, with what stands for it; held, so that ids stay."""

    def of(self, value: Any, depth: int = 0) -> Any:
        """The value, or a copy of it that leads to stand-ins."""
        if type(value) in PLAIN or depth > _DEEPEST:
            return value
        if isinstance(value, nn.Module):
            return self._stand_ins.get(id(value), value)
        if id(value) not in self._others:
            self._others[id(value)] = value, value  # for what leads back to itself
            self._others[id(value)] = value, self._copied(value, depth + 1)
        return self._others[id(value)][1]

    def _copied(self, value: Any, depth: int) -> Any:
        if isinstance(value, types.FunctionType):
            return self._function(value, depth)
        if isinstance(value, types.MethodType):
            code, owner = (self.of(part, depth) for part in (value.__func__, value.__self__))
            unchanged = code is value.__func__ and owner is value.__self__
            return value if unchanged else types.MethodType(code, owner)
        if isinstance(value, functools.partial):
            return self._partial(value, depth)
        if isinstance(value, weakref.ref):
            found = self._stand_ins.get(id(value()))
            return value if found is None else weakref.ref(found)
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._several(value, depth)
        return self._object(value, depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if len(value) > _LARGEST:
            return value
        pairs = [(self.of(key, depth), self.of(each, depth)) for key, each in list(value.items())]
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
        found = [self.of(each, depth) for each in items]
        if all(new is each for new, each in zip(found, items, strict=True)):
            return value
        if isinstance(value, list):
            new = copy.copy(value)
            new[:] = found
            return new
        return type(value)(*found) if hasattr(value, "_fields") else type(value)(found)

    def _partial(self, value: functools.partial[Any], depth: int) -> Any:
        parts = (value.func, value.args, value.keywords)
        code, args, keywords = (self.of(part, depth) for part in parts)
        if code is value.func and args is value.args and keywords is value.keywords:
            return value
        found = functools.partial(code, *args, **keywords)
        vars(found).update(self.of(vars(value), depth))
        return found

    def _function(self, value: types.FunctionType, depth: int) -> Any:
        """Another function of the same code, where what it reads leads to modules."""
        written = vars(value).get(WRITTEN)
        if written is not None:
            self.compiled = True
            return self.of(written, depth)
        if not is_of_a_large_library(home_of(value)):
            self.calls_users_code = True
        cells = tuple(self._cell(cell, depth) for cell in value.__closure__ or ())
        names = self._globals(value, depth)
        defaults = self.of(value.__defaults__, depth)
        keywords = self.of(value.__kwdefaults__, depth)
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
        vars(found).update(self.of(vars(value), depth))
        return found

    def _cell(self, cell: types.CellType, depth: int) -> types.CellType:
        try:
            inside = cell.cell_contents
        except ValueError:  # nothing yet
            return cell
        found = self.of(inside, depth)
        return cell if found is inside else types.CellType(found)

    def _globals(self, value: types.FunctionType, depth: int) -> dict[str, Any]:
        """Those that code of a user's own reads and that lead to modules."""
        if is_of_a_large_library(home_of(value)):
            return {}
        found = {}
        for name in _names_in(value.__code__):
            held = value.__globals__.get(name)
            if type(held) not in PLAIN and not isinstance(held, type):
                new = self.of(held, depth)
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
            or is_of_a_large_library(type(value).__module__)
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
def is_of_a_large_library(home: str) -> bool:
    """Whether code of this home knows modules by what it is given and what it closes over only."""
    return home.partition(".")[0] in _LARGE


_LARGE = frozenset(
    {
        *("rome_widgets", "torch", "transformers", "accelerate", "peft", "safetensors"),
        *("tokenizers", "bitsandbytes", "kernels", "huggingface_hub", "numpy", "builtins"),
        *("collections", "enum", "functools", "logging", "re", "threading", "_thread", "types"),
        *("typing", "weakref"),
    }
)
