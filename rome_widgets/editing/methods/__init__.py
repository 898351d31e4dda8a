"""The methods of editing, one file each; a file that defines `EDITORS` joins by being here."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from rome_widgets.editing.request import Request
from rome_widgets.editing.settings import EditSettings
from rome_widgets.editing.site import Site
from rome_widgets.errors import SettingsError
from rome_widgets.model.ledger import Update
from rome_widgets.records.edit import EditProgress, EditStep


@dataclass(frozen=True)
class Task:
    """Everything a method needs."""

    site: Site
    request: Request
    settings: EditSettings
    second_moment: Any
    """What the user gave; see `second_moment.choose`."""
    seed: int
    check: Callable[[], None]
    """Raises where the work should stop."""
    progress: Callable[[EditProgress], None]
    cancel: Any = None

    def step_done(self, number: int, step: EditStep) -> None:
        """Tell of one pass of the optimisation, and stop where asked to."""
        self.progress(EditProgress("value", number + 1, self.settings.steps, step))
        self.check()


@dataclass(frozen=True, eq=False)
class Found:
    """What a method computed."""

    updates: Sequence[Update]
    steps: tuple[EditStep, ...]
    stopped: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the report."""
    warnings: tuple[str, ...] = ()


class Editor(Protocol):
    """Computes the updates of one edit; changes nothing."""

    @property
    def numbers(self) -> Sequence[str]:
        """Names of the numeric settings that it goes by, the ones a person changes first first."""
        ...

    def __call__(self, task: Task) -> Found:
        """The updates."""
        ...


@cache
def editors() -> dict[str, Editor]:
    """Every method by name."""
    found: dict[str, Editor] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= import_module(f"{__name__}.{module.name}").EDITORS
    return found


def find_editor(method: str) -> Editor:
    """The method of this name.

    Raises:
        SettingsError: There is none.
    """
    known = editors()
    if method not in known:
        raise SettingsError(
            f"There is no method {method!r}.", f"Methods are {', '.join(map(repr, known))}."
        )
    return known[method]
