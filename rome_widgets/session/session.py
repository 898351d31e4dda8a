"""The worker of a model's widgets, told of every edit, wherever it is made."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.ledger import Ledger, ledger_of
from rome_widgets.widgets.live.edit_events import announce_edits
from rome_widgets.widgets.live.worker import Worker, worker_for

_heard: weakref.WeakSet[Ledger] = weakref.WeakSet()
_by_a_widget: ContextVar[bool] = ContextVar("by_a_widget", default=False)


def model_worker(lm: LanguageModel) -> Worker:
    """The one worker of this model. From the first widget on, edits made in code are announced."""
    worker, ledger = worker_for(lm.model, lm.name), ledger_of(lm.model)
    if ledger not in _heard:
        _heard.add(ledger)
        ledger.tell(lambda count: None if _by_a_widget.get() else announce_edits(worker, count))
        announce_edits(worker, len(lm.edits))
    return worker


@contextmanager
def by_a_widget() -> Iterator[None]:
    """A change that a widget makes, which it announces itself."""
    token = _by_a_widget.set(True)
    try:
        yield
    finally:
        _by_a_widget.reset(token)


class Flag:
    """A function that says whether to stop, as the engines' cancel flag."""

    def __init__(self, is_set: Callable[[], bool]) -> None:
        self.is_set = is_set
