"""The contract of a method of editing: what it is given, gives back, and says of itself.

CONTRIBUTING.md has a whole method in thirty lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rome_widgets.editing.choose_layer import choose_layer
from rome_widgets.editing.request import Request
from rome_widgets.editing.settings import Known, Settings
from rome_widgets.editing.site import Site, find_site
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import Update
from rome_widgets.records.edit import EditProgress, EditStep


@dataclass(frozen=True)
class Task:
    """Everything a method is given."""

    lm: LanguageModel
    requests: tuple[Request, ...]
    """The facts to write: one, unless the method takes many."""
    settings: Any
    """An object of the method's own class of settings."""
    known: Known
    """What is known of this model, and the layer that goes with it."""
    layer: int | str | None
    """The layer that the user asked for, or "trace"."""
    second_moment: Any
    """What the user gave; see `second_moment_of`."""
    seed: int
    check: Callable[[], None]
    """Raises where the work should stop."""
    progress: Callable[[EditProgress], None]
    cancel: Any = None

    @property
    def request(self) -> Request:
        """The one fact, or the first of many."""
        return self.requests[0]

    def choose_site(self) -> tuple[Site, str]:
        """The matrix of one layer, and who chose the layer: the user, a table, else a rule.

        Raises:
            SettingsError: The model has no such layer.
            EditRefused: No edit is possible there, with the reason.
        """
        asked = self.lm, self.request, self.layer, self.known
        layer, why = choose_layer(*asked, self.check, self.progress)
        return find_site(self.lm, layer), why

    def step_done(self, number: int, step: EditStep) -> None:
        """Tell of one pass of an optimisation of `settings.steps`, and stop where asked to."""
        self.progress(EditProgress("value", number + 1, self.settings.steps, step))
        self.check()


@dataclass(frozen=True, eq=False)
class Found:
    """What a method computed; nothing is written yet."""

    updates: Sequence[Update]
    """The changes, by parameter; everything else stays bit for bit."""
    layers: tuple[int, ...]
    why_layer: str
    """Who chose them, a sentence."""
    steps: tuple[EditStep, ...] = ()
    """The passes of an optimisation."""
    stopped: str = ""
    """"loss" where it got small enough, "steps" where the steps ran out; "" without one."""
    details: Any = None
    """The method's part of the report: an object of its `details` class, or a mapping of what JSON
    can hold."""
    warnings: tuple[str, ...] = ()
    """Sentences that a reader should see before applying the edit."""
    remedies: tuple[str, ...] = ()
    """What to try where the model does not say the target, such as "a larger clamp"."""
    texts: tuple[str, ...] = ()
    """Texts that the model wrote on the way, for its perplexity to be measured on."""


class Editor(ABC):
    """A method of editing. Say what it is in the class, and how it is computed in `edit`.

    Example:
        >>> class Constant(Editor):
        ...     title, changes, source = "Constant", "one matrix", "an example"
        ...     def edit(self, task): ...
        >>> register("constant", Constant())
    """

    title: str
    """What a person calls it, such as "ROME"."""
    changes: str
    """Which parameters it can change, a clause. Of an edit, `updates` names them."""
    source: str
    """Who published it."""
    needs: tuple[str, ...] = ()
    """What must be there first: "statistics" of the keys, "training"."""
    many_facts: bool = False
    """Whether it writes many facts at once."""
    settings: type[Settings] = Settings
    """The class of its settings."""
    details: ClassVar[type | None] = None
    """The record class of its part of the report; None: a mapping, or nothing."""
    proposals: Sequence[Mapping[str, Any]] = ({},)
    """Settings that `tune` tries, each by what differs from those known for the model."""

    @abstractmethod
    def edit(self, task: Task) -> Found:
        """Compute the updates; change nothing."""

    @property
    def numbers(self) -> Sequence[str]:
        """The numeric settings that a panel shows, those a person changes first first."""
        return self.settings.numeric()

    def known(self, lm: LanguageModel, card: Mapping[str, Any] | None = None) -> Known:
        """The settings of a model: its card's where it has one, else the defaults.

        Args:
            lm: The model.
            card: This method's part of what the model's own card says: a layer, and settings.
        """
        if card is None:
            return Known(self.settings(), "the defaults")
        numbers = dict(card)
        layer = numbers.pop("layer", None)
        return Known(self.settings().changed(numbers), "the model's card", layer)
