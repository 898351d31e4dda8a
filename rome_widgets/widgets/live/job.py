"""The one way in which a widget has something slow done: computed without it, told to it."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rome_widgets.errors import Cancelled, RomeWidgetsError
from rome_widgets.widgets.live.engine import Stop, Tell, Told

logger = logging.getLogger(__name__)

PROGRESS_EVERY = 0.1
"""Seconds between two messages of progress, at least."""

Asked = TypeVar("Asked")
Made = TypeVar("Made")


class Job(Generic[Asked, Told, Made]):
    """A task of the worker that holds its widget only while it writes to it.

    Which thread does what, here and in all widgets:

    - The host and the user's cell set traits, on any thread. Observers of those turn them into
      jobs and return; they never compute and never wait.
    - The worker's thread runs jobs. `ready` and `compute` ask the engine, without a widget and
      without a lock. The methods given as `on_...` write to the widget, with its `_writing` held.
    - Whoever edits the model tells every widget of it on the thread that did so, with no widget's
      lock held (`LiveWidget._model_edited`).

    What a widget's own methods change besides traits, they change with `_writing` held. An engine
    computes on the worker's thread only; what it says without computing is asked on any.

    Every job ends in one of `on_done`, `on_cancelled` and `on_failed`. Where that raises, as an
    observer of the user's may, `on_failed` is told in turn, and `_show_failed` of the widget last.

    Args:
        asked: What was asked for; the first argument of everything below.
        compute: Makes the answer. It is given a function to tell progress to, which drops what
            comes too soon after the last, and one that says whether to stop.
        on_done: A method of the widget, as all that follow: takes the answer.
        on_failed: Takes the error.
        on_cancelled: Takes what `compute` raised when it was told to stop; None: `on_failed` does.
        on_started: Called before `compute`.
        on_progress: Takes what `compute` tells.
        is_current: Whether the widget still wants to know of what was asked.
        latest: Tell nothing once another job of the same slot was asked for, or none any more.
        ready: Returns when the time has come to start.
        needed: Whether to go on when the widget is gone.
    """

    def __init__(
        self,
        asked: Asked,
        compute: Callable[[Asked, Tell[Told], Stop], Made],
        *,
        on_done: Callable[[Asked, Made], None],
        on_failed: Callable[[Asked, Exception], None],
        on_cancelled: Callable[[Asked, Cancelled], None] | None = None,
        on_started: Callable[[Asked], None] | None = None,
        on_progress: Callable[[Asked, Told], None] | None = None,
        is_current: Callable[[Asked], bool] | None = None,
        latest: bool = True,
        ready: Callable[[Asked, Stop], None] | None = None,
        needed: bool = False,
    ) -> None:
        self._asked, self._compute, self._ready = asked, compute, ready
        self._done, self._failed = weakref.WeakMethod(on_done), weakref.WeakMethod(on_failed)
        self._cancelled = _weak(on_cancelled) or self._failed
        self._started, self._progressed = _weak(on_started), _weak(on_progress)
        self._is_current = _weak(is_current)
        self._latest, self._needed = latest, needed

    def __call__(self, cancelled: Stop) -> None:
        """Run it, on the worker's thread."""
        last = float("-inf")

        def tell(method: weakref.WeakMethod[Any] | None, *what: Any) -> None:
            there = None if method is None else method()
            if there is not None:
                with there.__self__._writing:
                    if self._wanted(cancelled):
                        there(self._asked, *what)

        def progress(told: Told) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= PROGRESS_EVERY:
                last = now
                tell(self._progressed, told)

        def stop() -> bool:
            return cancelled() or (self._done() is None and not self._needed)

        try:
            if self._ready is not None:
                self._ready(self._asked, stop)
            tell(self._started)
            made = self._compute(self._asked, progress, stop)
        except Cancelled as stopped:
            end, what = self._cancelled, stopped
        except Exception as error:
            log_unexpected(error)
            end, what = self._failed, error
        else:
            end, what = self._done, made
        try:
            tell(end, what)
        except Exception as error:
            self._show_failed(end, error, tell)

    def _wanted(self, cancelled: Stop) -> bool:
        current = None if self._is_current is None else self._is_current()
        return not (self._latest and cancelled()) and (current is None or current(self._asked))

    def _show_failed(self, end: Any, error: Exception, tell: Callable[..., None]) -> None:
        logger.error("Showing the end of a job failed", exc_info=error)
        try:
            if end is self._failed:
                raise error
            tell(self._failed, error)
        except Exception as raised:
            failed: Any = self._failed()
            if failed is not None:
                failed.__self__._show_failed(raised)


def plainly(call: Callable[[], Made]) -> Callable[[Any, Tell[Any], Stop], Made]:
    """A computation that tells no progress and cannot be stopped."""
    return lambda asked, progress, stop: call()


def _weak(method: Callable[..., Any] | None) -> weakref.WeakMethod[Any] | None:
    return None if method is None else weakref.WeakMethod(method)


def log_unexpected(error: BaseException) -> None:
    """Write an error into the log, unless it is one of ours, which says what to do by itself."""
    if not isinstance(error, RomeWidgetsError):
        logger.error("A job of a widget failed", exc_info=error)
