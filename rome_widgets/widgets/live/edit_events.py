"""How many edits a model holds, told to every widget that shows that model.

Widgets of one model share its worker, so the worker stands for the model here. Whoever changes
the model says so once, with `announce_edits`; widgets made later hear the last word.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rome_widgets.widgets.live.base import RomeWidget
    from rome_widgets.widgets.live.worker import Worker


class _Audience:
    def __init__(self) -> None:
        self.count = 0
        self.widgets: weakref.WeakSet[RomeWidget] = weakref.WeakSet()


_audiences: weakref.WeakKeyDictionary[Worker, _Audience] = weakref.WeakKeyDictionary()
_lock = threading.RLock()
"""Reentrant: a garbage collection while it is held may close a widget, which unfollows."""


def follow_edits(worker: Worker, widget: RomeWidget) -> None:
    """Tell `widget` from now on how many edits the worker's model holds."""
    with _lock:
        audience = _audiences.setdefault(worker, _Audience())
        audience.widgets.add(widget)
    widget.edited = audience.count


def unfollow_edits(worker: Worker, widget: RomeWidget) -> None:
    """Tell `widget` nothing more."""
    with _lock:
        if worker in _audiences:
            _audiences[worker].widgets.discard(widget)


def announce_edits(worker: Worker, count: int, source: RomeWidget | None = None) -> None:
    """Tell every widget of the worker's model that `count` edits are active now.

    Call it without holding a widget's lock: it takes each of theirs in turn.

    Args:
        worker: `worker_for(model)` of the model that changed.
        count: Edits that are active now.
        source: The widget that made the change, which knows the rest already.
    """
    with _lock:
        audience = _audiences.setdefault(worker, _Audience())
        audience.count = count
        widgets = list(audience.widgets)
    for widget in widgets:
        widget._model_edited(count, source is widget)
