"""The settings of an editor: numbers that say their bounds and are checked when they are made.

Each family of editors has a class of its own beside its code. This page holds what they share: the
base class, what is known of one model, and which models the published tables have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Self

from rome_widgets.errors import SettingsError, said
from rome_widgets.records.numbers import as_float, as_whole

MODELS: Mapping[str, tuple[str, int]] = {
    "gpt2-medium": (r"gpt2-medium", 24),
    "gpt2-large": (r"gpt2-large", 36),
    "gpt2-xl": (r"gpt2-xl", 48),
    "gpt-j-6b": (r"gpt-j-6b", 28),
    "gpt-neox-20b": (r"gpt-neox-20b", 44),
    "7b": (r"llama-?2-7b|llama-?3(\.1)?-8b|mistral-7b|baichuan2-7b|internlm-7b", 32),
    "3b": (r"llama-?3\.2-3b|qwen2(\.5)?-7b", 28),
}
"""Models, and groups of alike ones, that numbers are published for: how the name reads, and the
depth, as a name alone is not believed."""


def published_model(name: str, n_layers: int) -> str | None:
    """Which of `MODELS` this is; None for any other."""
    for model, (pattern, depth) in MODELS.items():
        if depth == n_layers and re.search(pattern, name.casefold()):
            return model
    return None


SEEDS = (-(2**63), 2**64 - 1)
"""What torch's generator takes."""
LARGEST = 1e30
"""Of any number: far beyond what is of use, and still finite in the dtypes of edits."""


def number(
    default: float | None,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float = LARGEST,
) -> Any:
    """A numeric setting and its bounds; None is a value where it is the default.

    A whole number is wanted where the default is one; NaN and infinity are none.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most}
    return field(default=default, metadata=bounds)


def one_of(*choices: str) -> Any:
    """A setting that is one of some words, by default the first."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class Settings:
    """Base of the numbers that a family of editors goes by; every one is checked when it is made.

    A subclass is a frozen dataclass, its fields made by `number` and `one_of` or plain defaults.

    Raises:
        SettingsError: A value outside its bounds.

    Example:
        >>> @dataclass(frozen=True)
        ... class Mine(Settings):
        ...     steps: int = number(20, at_least=1)
        >>> Mine(steps=3).changed({"steps": 5})
        Mine(steps=5)
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(each, getattr(self, each.name)))

    @classmethod
    def names(cls) -> list[str]:
        """The names of the settings."""
        return [each.name for each in fields(cls)]

    @classmethod
    def numeric(cls) -> list[str]:
        """The names of those that are numbers."""
        return [each.name for each in fields(cls) if _is_numeric(each)]

    def changed(self, given: Settings | Mapping[str, Any] | None) -> Self:
        """These settings with what the user said in their place.

        Args:
            given: Some settings by name, or all of them as an object. Of an object of another
                family, what differs from its defaults counts.

        Raises:
            SettingsError: There is no such setting, or it has no such value.
        """
        if given is None:
            return self
        if type(given) is type(self):
            return given
        if isinstance(given, Settings):
            given = {
                each.name: value
                for each in fields(given)
                if (value := getattr(given, each.name)) != each.default
            }
        if not isinstance(given, Mapping):
            raise SettingsError(
                f"The settings are {type(given).__name__}.", "A mapping of names was wanted."
            )
        unknown = sorted(said(name) for name in set(given) - set(self.names()))
        if unknown:
            raise SettingsError(
                f"This method has no setting {', '.join(unknown)}.",
                f"Its settings are {', '.join(sorted(self.names())) or 'none'}.",
            )
        return replace(self, **given)


@dataclass(frozen=True)
class Known:
    """What is known about editing one model by one method."""

    settings: Settings
    source: str
    """Where they are from, a clause."""
    layer: int | None = None
    """The layer that goes with them."""


def _is_numeric(each: Field[Any]) -> bool:
    return "at_least" in each.metadata or not math.isnan(as_float(each.default))


def _checked(each: Field[Any], value: Any) -> Any:
    if choices := each.metadata.get("choices"):
        if not isinstance(value, str) or value not in choices:
            raise SettingsError(
                f"{each.name} is {said(value)}.",
                f"One of {', '.join(map(repr, choices))} was wanted.",
            )
        return value
    return _number(each, value) if _is_numeric(each) else value


def _number(each: Field[Any], value: Any) -> float | None:
    at_least, above = each.metadata.get("at_least"), each.metadata.get("above")
    at_most = each.metadata.get("at_most", LARGEST)
    if value is None and each.default is None:
        return None
    found = as_float(value)
    if math.isnan(found) or (at_least is not None and found < at_least):
        wanted = "A number" if at_least is None else f"At least {at_least:g}"
    elif above is not None and found <= above:
        wanted = f"A number above {above:g}"
    elif abs(found) > at_most:
        wanted = f"At most {at_most:g}"
    elif as_whole(each.default) is None:
        return found
    elif found.is_integer():
        return int(found)
    else:
        wanted = "A whole number"
    more = ", or None," if each.default is None else ""
    raise SettingsError(f"{each.name} is {said(value)}.", f"{wanted}{more} was wanted.")
