"""One thread per model, shared by all its widgets: where everything slow happens.

Hosts deliver widget callbacks on threads of their own choosing, and one slow callback blocks every
widget. So callbacks only enqueue here. Each slot holds at most one waiting job, the latest.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable

logger = logging.getLogger(__name__)

Job = Callable[[Callable[[], bool]], None]
"""Takes `cancelled`, which it asks between its steps."""


class Worker:
    """Runs jobs one at a time, in the order in which their slots were first asked for.

    The thread starts with the first job and ends when the worker is no longer referenced.
    """

    def __init__(self, name: str = "model") -> None:
        self._desk = _Desk(f"rome_widgets worker: {name}")
        self._end = weakref.finalize(self, self._desk.close)

    def submit(
        self, slot: Hashable, job: Job, *, quick: bool = False, patient: bool = False
    ) -> None:
        """Ask for `job`: it replaces a waiting job of its slot and cancels a running one.

        Args:
            slot: Whose job it is.
            job: What to run.
            quick: Run it between two steps of a longer job, when that asks whether it is
                cancelled, rather than after it.
            patient: Nobody asked for it: `crowded` does not count it.
        """
        self._desk.submit(slot, job, (quick, patient))

    def cancel(self, slot: Hashable) -> bool:
        """Drop the slot's waiting job and cancel its running one.

        Returns:
            True when a waiting job was dropped, which therefore will never report.
        """
        return self._desk.cancel(slot)

    @property
    def crowded(self) -> bool:
        """Whether a job waits that somebody asked for; a patient one steps aside for it."""
        return self._desk.crowded()

    def busy(self, slots: Iterable[Hashable]) -> bool:
        """Whether any of these slots has a waiting or a running job."""
        return self._desk.busy(list(slots))

    def wait(self, slots: Iterable[Hashable], timeout: float | None = None) -> bool:
        """Wait until these slots have no job left.

        Returns:
            False when `timeout` seconds passed first.
        """
        return self._desk.wait(list(slots), timeout)


class _Desk:
    """What the thread and the worker share, so that the thread does not keep the worker alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, tuple[Job, tuple[bool, bool]]] = {}
        """Jobs, and whether each is quick and whether it is patient."""
        self._running: dict[Hashable, threading.Event] = {}
        """Slots at work and their cancel flags: a long job, and a quick one between its steps."""
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, slot: Hashable, job: Job, manner: tuple[bool, bool]) -> None:
        with self._changed:
            self._flag(slot)
            self._waiting[slot] = (job, manner)
            if self._thread is None:
                _desks.add(self)
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def cancel(self, slot: Hashable) -> bool:
        with self._changed:
            self._flag(slot)
            dropped = self._waiting.pop(slot, None) is not None
            self._changed.notify_all()
            return dropped

    def crowded(self) -> bool:
        with self._changed:
            return any(not quick and not patient for _, (quick, patient) in self._waiting.values())

    def busy(self, slots: list[Hashable]) -> bool:
        with self._changed:
            return self._busy(slots)

    def _busy(self, slots: list[Hashable]) -> bool:
        return any(slot in self._waiting or slot in self._running for slot in slots)

    def _flag(self, slot: Hashable) -> None:
        if slot in self._running:
            self._running[slot].set()

    def wait(self, slots: list[Hashable], timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        if threading.current_thread() is self._thread:
            return not self.busy(slots)  # Asked by a job: waiting for oneself never ends.
        with self._changed:
            while self._busy(slots):
                # Short naps: on some systems a longer wait does not see Ctrl-C.
                nap = 0.2 if until is None else min(0.2, until - time.monotonic())
                if nap <= 0:
                    return False
                self._changed.wait(nap)
        return True

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            for token in self._running.values():
                token.set()
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                slot = next(iter(self._waiting))
            self._run(slot, between=self._run_quick_ones)

    def _run_quick_ones(self) -> None:
        """What a long job makes room for when it asks whether it is cancelled."""
        while True:
            with self._changed:
                quick = (
                    slot
                    for slot, (_, (is_quick, _)) in self._waiting.items()
                    if is_quick and slot not in self._running
                )
                slot = next(quick, None)
            if slot is None:
                return
            self._run(slot, between=None)

    def _run(self, slot: Hashable, between: Callable[[], None] | None) -> None:
        with self._changed:
            if slot not in self._waiting:
                return
            job, (is_quick, _) = self._waiting.pop(slot)
            token = self._running[slot] = threading.Event()

        def cancelled() -> bool:
            if between is not None and not is_quick:
                between()
            return token.is_set()

        try:
            job(cancelled)
        except BaseException:
            # A job reports its own errors; whatever still arrives here must not end the thread.
            logger.exception("A job of slot %r failed", slot)
        finally:
            del job
            with self._changed:
                del self._running[slot]
                self._changed.notify_all()


_desks: weakref.WeakSet[_Desk] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Stop every thread before the interpreter goes: torch aborts a process it is cut off in."""
    desks = list(_desks)
    for desk in desks:
        desk.close()
    for desk in desks:
        desk.join(5)


_workers: dict[int, Worker] = {}
_workers_lock = threading.Lock()


def worker_for(model: object, name: str = "model") -> Worker:
    """The one worker of this model object; it goes when the model goes."""
    with _workers_lock:
        worker = _workers.get(id(model))
        if worker is None:
            worker = _workers[id(model)] = Worker(name)
            weakref.finalize(model, _workers.pop, id(model), None)
        return worker
