"""One session per model: the worker its widgets share, news of its edits, and their history."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rome_widgets.records.staying import Stays
from rome_widgets.widgets.edit.engine import EditRequest
from rome_widgets.widgets.live.engine import EditListener
from rome_widgets.widgets.live.worker import OwnLock, Worker

if TYPE_CHECKING:
    from rome_widgets.model.language_model import LanguageModel

logger = logging.getLogger(__name__)


@dataclass
class KnownEdit:
    """An edit that a model holds or held, and what its panels know of it besides."""

    edit: Any
    request: EditRequest | None = None
    """What was asked for; None of an edit that was made elsewhere."""
    scores: Mapping[str, float | None] = field(default_factory=dict)


class Session(Stays):
    """What the widgets of one model share. It goes with the model; the worker's thread with it.

    Args:
        name: What to call the model.
        edits: Gives the edits that the model holds now, oldest first.
    """

    def __init__(self, name: str = "model", edits: Callable[[], Iterable[Any]] = tuple) -> None:
        self.worker = Worker(name)
        weakref.finalize(self, self.worker.close)
        self._edits = edits
        # Reentrant: a collection while it is held may take a listener.
        self._lock = OwnLock()
        self._listeners: weakref.WeakSet[EditListener] = weakref.WeakSet()
        self._history: dict[str, KnownEdit] | None = None

    @property
    def edited(self) -> int:
        """How many edits the model holds now."""
        return len(list(self._edits()))

    def listen(self, listener: EditListener) -> None:
        """Tell `listener` of edits from now on, for as long as somebody else holds it."""
        with self._lock:
            self._listeners.add(listener)

    def leave(self, listener: EditListener) -> None:
        """Tell `listener` nothing more; with the last one, the worker's thread comes to rest."""
        with self._lock:
            self._listeners.discard(listener)
            if not self._listeners:
                self.worker.rest()

    def edits_changed(self) -> None:
        """Note the edits there are, and tell all who listen.

        Whoever changes the model calls it, in the thread that did, without a widget's lock.
        """
        with self._lock:
            if self._history is not None:
                self._note(self._history)
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener._model_edited()
            except Exception:
                logger.exception("A widget could not be told of an edit")

    def history(self) -> dict[str, KnownEdit]:
        """Every edit since this was first asked for, by its id, oldest first.

        Those of a `with` block are passing, and not in it.
        """
        with self._lock:
            if self._history is None:
                self._history = {}
            self._note(self._history)
            return dict(self._history)

    def know(self, edit: Any, request: EditRequest, scores: Mapping[str, float | None]) -> None:
        """Keep what a panel asked for, and what it measured, with the edit that was made."""
        self.history()
        with self._lock:
            assert self._history is not None
            self._history[edit.id] = KnownEdit(edit, request, scores)

    def _note(self, history: dict[str, KnownEdit]) -> None:
        for edit in self._edits():
            if not edit.temporary:
                history.setdefault(edit.id, KnownEdit(edit))


def session_of(lm: LanguageModel) -> Session:
    """The one session of a model, whoever wraps it: its ledger keeps it."""
    from rome_widgets.model.ledger import ledger_of

    ledger = ledger_of(lm.model)
    with _making:
        if not isinstance(ledger.listener, Session):
            known = weakref.ref(ledger)
            ledger.listener = Session(lm.name, lambda: getattr(known(), "edits", ()))
        return ledger.listener


_making = threading.Lock()


class Flag:
    """A function that says whether to stop, as the engine's cancel flag."""

    def __init__(self, is_set: Callable[[], bool]) -> None:
        self.is_set = is_set
