"""Protocols of the engine behind any widget, so that widgets never import a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from rome_widgets.widgets.live.worker import Worker

Told = TypeVar("Told")
Tell = Callable[[Told], None]
"""Takes what a computation tells on its way."""
Stop = Callable[[], bool]
"""Says whether to stop; a computation asks it between its steps."""


class EditListener(Protocol):
    """Whoever wants to know when the edits of a model change."""

    def _model_edited(self) -> None:
        """Called after every change, on the thread that made it, with no widget's lock held."""


class ModelSession(Protocol):
    """What all widgets of one model share; `rome_widgets.session` has the one there is."""

    @property
    def worker(self) -> Worker:
        """The one thread that asks the model."""
        ...

    @property
    def edited(self) -> int:
        """How many edits the model holds now."""
        ...

    def listen(self, listener: EditListener) -> None:
        """Tell `listener` of edits from now on, for as long as somebody else holds it."""

    def leave(self, listener: EditListener) -> None:
        """Tell `listener` nothing more."""


class Engine(Protocol):
    """A model as a widget sees it."""

    @property
    def model_name(self) -> str:
        """What to call the model on screen."""
        ...

    @property
    def session(self) -> ModelSession:
        """What this model's widgets share."""
        ...
