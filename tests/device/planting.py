"""Put a mistake into a module of the package for a while, as a change of its text."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any


@contextlib.contextmanager
def planted(module_name: str, right: str, wrong: str) -> Iterator[None]:
    """Functions of the module run as if `wrong` stood in its source in place of `right`.

    Raises:
        AssertionError: `right` does not stand there exactly once.
    """
    module = importlib.import_module(f"rome_widgets.{module_name}")
    source = inspect.getsource(module)
    assert source.count(right) == 1, f"{module_name} has {source.count(right)} times: {right}"
    path = str(module.__file__)
    before = codes_in(compile(source, path, "exec", dont_inherit=True))
    after = codes_in(compile(source.replace(right, wrong), path, "exec", dont_inherit=True))
    changed = {}
    for function in functions_of(module):
        name = function.__qualname__
        if name in after and _text(before[name]) != _text(after[name]):
            changed[function] = function.__code__
            function.__code__ = after[name]
    assert changed, f"no function of {module_name} is another with: {wrong}"
    try:
        yield
    finally:
        for function, code in changed.items():
            function.__code__ = code


def codes_in(code: CodeType, inside: str = "") -> dict[str, CodeType]:
    """By qualified name, the code of every function that is not within another."""
    found = {}
    for each in code.co_consts:
        if isinstance(each, CodeType):
            if each.co_flags & inspect.CO_OPTIMIZED:
                found[each.co_qualname] = each
            else:
                found |= codes_in(each)  # the body of a class
    return found


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Every function and method of a module, under its decorators too."""
    things: list[Any] = list(vars(module).values())
    while things:
        thing = things.pop()
        if isinstance(thing, type) and thing.__module__ == module.__name__:
            things += vars(thing).values()
        elif isinstance(thing, property):
            things += [thing.fget, thing.fset]
        elif isinstance(thing, (classmethod, staticmethod)):
            things.append(thing.__func__)
        elif isinstance(thing, FunctionType):
            if hasattr(thing, "__wrapped__"):
                things.append(thing.__wrapped__)
            if (
                thing.__module__ == module.__name__
                and thing.__code__.co_filename == module.__file__
            ):
                yield thing


def _text(code: CodeType) -> tuple[Any, ...]:
    """What a function does, wherever it stands."""
    inner = tuple(_text(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, repr(inner)
