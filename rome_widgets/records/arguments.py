"""Checks of arguments by their kind: functions, flags, paths, texts. Numbers are in `numbers`.

A public function says the kinds of its arguments in one line, `@takes(progress=callback)`, and gets
them checked, and converted, before anything of it runs. What is particular to a function (which
layers there are, what a subject is) it checks itself.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rome_widgets.errors import ArgumentError, RomeWidgetsError, said

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Listener = Callable[[T], None] | bool | None
"""Who hears how far a call is: a function; None, a progress bar where the call lasts; False, nobody
(True is None)."""
Check = Callable[[Any, str], Any]
"""Gives a value, of the argument of that name, as it is wanted; raises where it is not that."""


def takes(**kinds: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check arguments before a function runs.

    Args:
        **kinds: By argument, what it has to be. Defaults are not checked.

    Example:
        >>> @takes(progress=callback)
        ... def work(steps, progress=None): ...
        >>> work(3, progress=5)
        Traceback (most recent call last):
        ...
        rome_widgets.errors.ArgumentError: progress is 5. A function of one argument was wanted, ...
    """

    def checked(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        unknown = set(kinds) - set(parameters)
        assert not unknown, f"{function.__qualname__} has no {unknown}"
        places = [name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY]
        inner: Any = function

        def fitting(name: str, value: Any) -> Any:
            return kinds[name](value, name) if name in kinds else value

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = [fitting(name, value) for name, value in zip(places, args, strict=False)]
            named = {name: fitting(name, value) for name, value in kwargs.items()}
            # What is beyond the signature goes on to it, for Python's own words.
            return inner(*given, *args[len(given) :], **named)

        return call

    return checked


def optional(check: Check) -> Check:
    """The same kind, or None."""
    return lambda value, name: None if value is None else check(value, name)


def callback(value: Any, name: str) -> Any:
    """A `Listener`: a function that is called with one thing, or whether there is to be a bar."""
    if value is None or isinstance(value, bool) or (callable(value) and _takes_one(value)):
        return value
    raise ArgumentError(
        f"{name} is {said(value)}.",
        "A function of one argument was wanted, or False for no progress bar.",
    )


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # of some builtins nobody knows it
        return True
    except TypeError:
        return False
    return True


def cancel_flag(value: Any, name: str) -> Any:
    """Anything with `is_set`, or None."""
    if value is None or (callable(getattr(value, "is_set", None)) and not isinstance(value, type)):
        return value
    raise ArgumentError(
        f"{name} is {said(value)}.", "Something with is_set, as a threading.Event, was wanted."
    )


def truth(value: Any, name: str) -> bool:
    """Yes or no, by whatever Python takes for that."""
    try:
        return bool(value)
    except Exception:  # an array has no truth
        raise ArgumentError(f"{name} is {said(value)}.", "True or False was wanted.") from None


def text(value: Any, name: str) -> str:
    """A text, perhaps an empty one."""
    if isinstance(value, str):
        return value
    raise ArgumentError(f"{name} is {said(value)}.", "A text was wanted.")


def texts(value: Any, name: str) -> list[str]:
    """Several texts, or one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        found = several(value, name)
        if all(isinstance(each, str) for each in found):
            return found
    raise ArgumentError(f"{name} is {said(value)}.", "A text, or several, was wanted.")


def several(value: Any, name: str) -> list[Any]:
    """What can be gone through, as a list."""
    try:
        return list(value)
    except Exception:
        raise ArgumentError(f"{name} is {said(value)}.", "A list was wanted.") from None


def a_path(error: type[RomeWidgetsError], what: str = "path") -> Check:
    """A kind of argument: the path of a file or folder.

    Args:
        error: What to raise where it cannot be one.
        what: What to call it in the message: a "file", a "folder".
    """

    def path(value: Any, name: str) -> Path:
        try:
            name_of_it = os.fspath(value)
            if isinstance(name_of_it, str) and name_of_it and "\0" not in name_of_it:
                os.fsencode(name_of_it)
                if what != "file" or Path(name_of_it).name:
                    return Path(name_of_it)
        except Exception:  # no path at all, or a name that the system cannot write
            pass
        raise error(
            f"{name} is {said(value)}.", f"The path of a {what} was wanted, as text or a Path."
        )

    return path
