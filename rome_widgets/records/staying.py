"""What cannot leave its process says so, where Python would name a lock that it stumbled over."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from rome_widgets.errors import StaysHere


class Stays:
    """Base of objects that hold a model, or a thread: neither sent away nor copied in depth.

    `copy.copy` gives another name for the same model, as it always did.
    """

    _instead: ClassVar[str] = "Make it there, from a model that is loaded there."
    """What to do instead, a sentence."""

    def __copy__(self) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(vars(self))
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse: whoever serializes or deep-copies an object asks for it."""
        raise stays_here(self, self._instead)

    def __deepcopy__(self, memo: Any) -> Any:
        raise stays_here(self, self._instead)


def stays_here(thing: object, instead: str) -> StaysHere:
    """The error for what was to be serialized or copied in depth."""
    return StaysHere(
        f"A {type(thing).__name__} was to be serialized, or copied with all that it holds.",
        "It stays in its process: it holds a model, which may be on a GPU and be edited.",
        instead,
    )
