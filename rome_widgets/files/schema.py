"""What the fields of a file must be: read off the annotations of the record that they make.

A checksum tells an altered file from one that is as it was sealed; it does not tell who sealed it,
or with what. So every field is checked when a file is read, and a record that was loaded is what
its class says, as one that was computed. Where a class says too little, such as that a probability
is at most 1, whoever reads the file says it in one line: `fields_of(CausalTrace, stated,
clean=PROBABILITY)`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rome_widgets.errors import ArgumentError, RomeWidgetsError, said
from rome_widgets.records.arguments import Check, optional, text
from rome_widgets.records.numbers import as_float, finite_number, whole_number

MOST = 2**64
"""Whole numbers stay below it, either way."""
DEEPEST = 8
"""Levels of lists and mappings in a value of which nothing more is known."""
ROUNDING = 1e-3
"""By how much a mean of probabilities may be off."""


class Unfit(ArgumentError):
    """A field of a file that is another thing than was wanted."""


def whole(value: Any, name: str, least: int = -MOST, most: int = MOST) -> int:
    """A whole number."""
    return whole_number(value, name, least, most, error=Unfit)


def number(value: Any, name: str) -> float:
    """A number, perhaps infinite or NaN: what was measured may be."""
    found = as_float(value)
    if isinstance(value, int | float) and (found == found or value != value):
        return found
    raise Unfit(f"{name} is {said(value)}.", "A number was wanted.")


def flag(value: Any, name: str) -> bool:
    """True or False."""
    if isinstance(value, bool):
        return value
    raise Unfit(f"{name} is {said(value)}.", "True or False was wanted.")


def finite(least: float = -math.inf, most: float = math.inf) -> Check:
    """A finite number between these."""
    return lambda value, name: finite_number(value, name, least, most, error=Unfit)


NATURAL: Check = partial(whole, least=0, most=2**53)
POSITIVE: Check = partial(whole, least=1, most=2**53)
PROBABILITY = finite(-ROUNDING, 1 + ROUNDING)


def listed(value: Any, name: str) -> list[Any]:
    """A list, as JSON has it."""
    if isinstance(value, list | tuple):
        return list(value)
    raise Unfit(f"{name} is {said(value)}.", "A list was wanted.")


def several(check: Check, least: int = 0) -> Check:
    """A tuple of things of one kind."""

    def checked(value: Any, name: str) -> tuple[Any, ...]:
        found = listed(value, name)
        if len(found) < least:
            raise Unfit(f"{name} has {len(found)} elements.", f"At least {least} were wanted.")
        return tuple(check(each, f"{name}[{at}]") for at, each in enumerate(found))

    return checked


def row(*checks: Check, makes: Callable[..., Any] | None = None, least: int | None = None) -> Check:
    """So many things, each of its own kind, as a tuple; or as what `makes` makes of them."""

    def checked(value: Any, name: str) -> Any:
        found = listed(value, name)
        if not (len(checks) if least is None else least) <= len(found) <= len(checks):
            raise Unfit(f"{name} has {len(found)} elements.", f"{len(checks)} were wanted.")
        each = [
            check(one, f"{name}[{at}]")
            for at, (check, one) in enumerate(zip(checks, found, strict=False))
        ]
        return tuple(each) if makes is None else makes(*each)

    return checked


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """A mapping, as JSON has it: its keys are texts."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    raise Unfit(f"{name} is {said(value)}.", "A mapping was wanted.")


def mapping_of(check: Check, key: Check = text) -> Check:
    """A mapping to things of one kind; whole numbers as keys are texts in JSON."""

    def checked(value: Any, name: str) -> dict[Any, Any]:
        return {
            key(each, f"a key of {name}"): check(one, f"{name}[{said(each)}]")
            for each, one in mapping(value, name).items()
        }

    return checked


def number_in_text(value: Any, name: str) -> int:
    """A whole number that is the key of a mapping, which JSON writes as a text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)
    raise Unfit(f"{name} is {said(value)}.", "A whole number was wanted.")


def plain(value: Any, name: str, depth: int = DEEPEST) -> Any:
    """What JSON can hold, lists as tuples, not too deep."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return whole(value, name)
    if isinstance(value, float):
        return value
    if not depth:
        raise Unfit(f"{name} is too deep.", f"At most {DEEPEST} levels were wanted.")
    inside = partial(plain, depth=depth - 1)
    return (several if isinstance(value, list | tuple) else mapping_of)(inside)(value, name)


def one_of(choices: Collection[Any]) -> Check:
    """One of these."""

    def checked(value: Any, name: str) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        wanted = ", ".join(map(repr, choices))
        raise Unfit(f"{name} is {said(value)}.", f"One of {wanted} was wanted.")

    return checked


def fields_of(
    made: type, stated: Any, without: Collection[str] = (), **checks: Check
) -> dict[str, Any]:
    """The fields of a record as a file states them, each as its class says.

    Args:
        made: A dataclass.
        stated: What the file states, by name.
        without: Fields that are not among it.
        **checks: What a field must be, where its annotation says too little.

    Raises:
        RomeWidgetsError: A field is missing or is another kind of thing, or there are others.
    """
    stated, known = mapping(stated, "the content"), {**_checks_of(made), **checks}
    wanted = [each for each in fields(made) if each.init and each.name not in without]
    others = {*stated} - {each.name for each in wanted}
    lacking = [
        each.name
        for each in wanted
        if each.name not in stated and each.default is each.default_factory is MISSING
    ]
    if others or lacking:
        raise Unfit(
            f"There is {said(sorted(others))}." if others else f"There is no {lacking[0]}.",
            f"The fields of {made.__name__} were wanted.",
        )
    return {name: known[name](value, name) for name, value in stated.items()}


@cache
def _checks_of(made: type) -> dict[str, Check]:
    return {name: check_of(hint) for name, hint in get_type_hints(made).items()}


SIMPLE: Mapping[Any, Check] = {
    str: text,
    int: whole,
    float: number,
    bool: flag,
    type(None): optional(flag),
    Any: plain,
}


def check_of(hint: Any) -> Check:
    """What an annotation asks for: numbers, texts, records, tuples and mappings of them, None."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (kind,) = [each for each in inside if each is not type(None)]
        return optional(check_of(kind))
    if origin is Literal:
        return one_of(inside)
    if origin is tuple and inside[-1:] == (...,):
        return several(check_of(inside[0]))
    if origin is tuple:
        return row(*map(check_of, inside))
    if origin is not None and issubclass(origin, Mapping):
        key = number_in_text if inside[0] is int else check_of(inside[0])
        return mapping_of(check_of(inside[1]), key)
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value, name: hint(**fields_of(hint, value))
    if hasattr(hint, "_fields"):  # a NamedTuple
        least = len(hint._fields) - len(hint._field_defaults)
        hints = get_type_hints(hint)
        checks = [check_of(hints[name]) for name in hint._fields]
        return row(*checks, makes=hint, least=least)
    return _not_in_json


def _not_in_json(value: Any, name: str) -> Any:
    raise Unfit(
        f"{name} is {said(value)}.", "An array was wanted, which is not kept in the header."
    )


def unfit(path: Any, error: Exception, maker: str, kind: type[RomeWidgetsError]) -> Exception:
    """The error for a file with a right checksum that does not hold what `maker` writes.

    Where it was memory that did not suffice, that is the error.
    """
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return error
    why = str(error) if isinstance(error, RomeWidgetsError) else f"{type(error).__name__}: {error}"
    return kind(f"{path} does not hold what was wanted. {why}", f"A file of {maker} was wanted.")
