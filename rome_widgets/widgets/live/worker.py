"""One thread per model, shared by all its widgets: where everything slow happens.

Hosts deliver widget callbacks on threads of their own choosing, and one slow callback blocks every
widget. So callbacks only enqueue here. Each slot holds at most one waiting task, the latest.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from rome_widgets.errors import StaysHere
from rome_widgets.records.staying import Stays

logger = logging.getLogger(__name__)

Task = Callable[[Callable[[], bool]], object]
"""Takes `cancelled`, which it asks between its steps."""


class OwnLock:
    """A reentrant lock of the process that made it.

    In a forked one, whoever held it, and whoever would let it go, is not there.
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that made it."""
        return os.getpid() == self._process

    def __enter__(self) -> None:
        if not self.is_here:
            raise StaysHere(
                "This process was forked from the one that made the widget.",
                "The thread that asks the model is in that process alone.",
                "Make the widget here, from a model that is loaded here, or use the other process.",
            )
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:
        """Whether this thread holds it."""
        return self._lock._is_owned()  # pyright: ignore[reportAttributeAccessIssue]


class _Waiting(NamedTuple):
    task: Task
    quick: bool
    patient: bool


class Worker(Stays):
    """Runs tasks one at a time, in the order in which their slots were first asked for.

    The thread starts with the first task and ends with `close`, or with the interpreter. In a
    forked process there is none: what would need it is refused, what would end it does nothing.
    """

    def __init__(self, name: str = "model") -> None:
        self._name = f"rome_widgets worker: {name}"
        self._here = OwnLock()
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, _Waiting] = {}
        self._running: dict[Hashable, threading.Event] = {}
        """Slots at work and their cancel flags: a long task, and a quick one between its steps."""
        self._thread: threading.Thread | None = None
        self._closed = self._resting = False

    def submit(
        self, slot: Hashable, task: Task, *, quick: bool = False, patient: bool = False
    ) -> None:
        """Ask for `task`: it replaces a waiting one of its slot and cancels a running one.

        Args:
            slot: Whose task it is.
            task: What to run.
            quick: Run it between two steps of a longer task, when that asks whether it is
                cancelled, rather than after it.
            patient: Nobody asked for it: `crowded` does not count it.
        """
        with self._here, self._changed:
            if self._closed:
                return
            self._resting = False
            self._flag(slot)
            self._waiting[slot] = _Waiting(task, quick, patient)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
                # torch aborts a process whose threads it is cut off in.
                atexit.register(self._end)
            self._changed.notify_all()

    def cancel(self, slot: Hashable) -> bool:
        """Drop the slot's waiting task and cancel its running one.

        Returns:
            True when a waiting task was dropped, which therefore will never report.
        """
        if not self._here.is_here:
            return False
        with self._changed:
            self._flag(slot)
            dropped = self._waiting.pop(slot, None) is not None
            self._changed.notify_all()
            return dropped

    @property
    def crowded(self) -> bool:
        """Whether a task waits that somebody asked for; a patient one steps aside for it."""
        with self._changed:
            return any(not each.quick and not each.patient for each in self._waiting.values())

    def busy(self, slots: Iterable[Hashable]) -> bool:
        """Whether any of these slots has a waiting or a running task."""
        with self._changed:
            return any(slot in self._waiting or slot in self._running for slot in slots)

    def wait(self, slots: Iterable[Hashable], timeout: float | None = None) -> bool:
        """Wait until these slots have no task left.

        Returns:
            False when `timeout` seconds passed first.
        """
        with self._here:
            slots = list(slots)
        if threading.current_thread() is self._thread:
            return not self.busy(slots)  # Asked by a task: waiting for oneself never ends.
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self.busy(slots):
                # Short naps: on some systems a longer wait does not see Ctrl-C.
                nap = 0.2 if until is None else min(0.2, until - time.monotonic())
                if nap <= 0:
                    return False
                self._changed.wait(nap)
        return True

    def rest(self) -> None:
        """Let the thread end once nothing is left to do; another task starts another."""
        if self._here.is_here:
            with self._changed:
                self._resting = True
                self._changed.notify_all()

    def close(self) -> None:
        """Drop what waits, cancel what runs, and let the thread end."""
        if not self._here.is_here:
            return
        with self._changed:
            self._closed = True
            self._waiting.clear()
            for flag in self._running.values():
                flag.set()
            self._changed.notify_all()

    def _end(self) -> None:
        """Stop the thread before the interpreter goes."""
        self.close()
        thread = self._thread
        if thread is not None and self._here.is_here:
            thread.join(5)

    def _flag(self, slot: Hashable) -> None:
        if slot in self._running:
            self._running[slot].set()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closed or self._resting):
                    self._changed.wait()
                if self._closed or not self._waiting:
                    atexit.unregister(self._end)
                    self._thread = None
                    return
                slot = next(iter(self._waiting))
            self._run(slot, between=self._run_quick_ones)

    def _run_quick_ones(self) -> None:
        """What a long task makes room for when it asks whether it is cancelled."""
        while True:
            with self._changed:
                quick = (slot for slot, each in self._waiting.items() if each.quick)
                slot = next((slot for slot in quick if slot not in self._running), None)
            if slot is None:
                return
            self._run(slot, between=None)

    def _run(self, slot: Hashable, between: Callable[[], None] | None) -> None:
        with self._changed:
            if slot not in self._waiting:
                return
            task, is_quick, _ = self._waiting.pop(slot)
            flag = self._running[slot] = threading.Event()

        def cancelled() -> bool:
            if between is not None and not is_quick:
                between()
            return flag.is_set()

        try:
            task(cancelled)
        except BaseException:
            # A task reports its own errors; whatever still arrives here must not end the thread.
            logger.exception("A task of slot %r failed", slot)
        finally:
            del task
            with self._changed:
                del self._running[slot]
                self._changed.notify_all()
