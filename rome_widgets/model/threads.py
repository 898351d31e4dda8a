"""How many threads torch computes with while we work: by the size of the model's matrices.

The threads of a product meet at its end, and wait for each other by spinning. For small matrices
that takes longer than the product; and where other programs have the processors, each meeting waits
until the system comes back to the thread that lost its own. Measured on two processors, two threads
instead of one: a trace of the bundled model takes 2 to 17 times the seconds beside two busy
programs and twice the seconds on an idle machine. From models of SmolLM2's size (135M) on, two
threads take .55 to .65 of the seconds of one where processors are free, so there the number stays
the user's own. `python -m benchmarks.threads` measures it.

Only what torch has for each thread of Python is set, and put back: a user's passes in other threads
keep theirs.
"""

from __future__ import annotations

import _thread
import os
import statistics
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from rome_widgets.model.interrupts import run_between

T = TypeVar("T")

WORTH_SHARING = 200_000
"""Elements of a model's typical matrix, from which on several threads share its products."""

_one_at_a_time = threading.Lock()
"""Held only by threads that no interrupt reaches."""


def _in_a_forked_process() -> None:
    """The thread that may have held the lock is not there."""
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_process)
_typical: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


def run_in_threads_for(model: nn.Module | None, call: Callable[[], T]) -> T:
    """Run `call()` with as many threads as are good for the model.

    Whenever an interrupt comes, the number is put back by a step that is repeated.
    """
    before = torch.get_num_threads()
    ours = before if model is None else threads_for(model)
    if ours == before:
        return call()

    def put_back() -> None:
        put_threads_back(before, ours)

    return run_between(lambda: set_threads_here(ours), call, put_back)


def put_threads_back(before: int, ours: int) -> None:
    """The number as it was before, but where somebody has set another than ours meanwhile."""
    if torch.get_num_threads() == ours:
        set_threads_here(before)


def threads_for(model: nn.Module) -> int:
    """With how many threads a call of this model computes: this thread's number, or one.

    The typical matrix is the median of all: embeddings are the largest, but two among dozens.
    """
    if model not in _typical:
        sizes = [weight.numel() for weight in model.parameters() if weight.ndim > 1]
        _typical[model] = statistics.median(sizes) if sizes else 0
    own = torch.get_num_threads()
    return own if _typical[model] >= WORTH_SHARING else 1


def set_threads_here(count: int) -> None:
    """Set the number of threads for what this thread of Python computes, and for nothing else.

    `torch.set_num_threads` sets it for the thread that calls it and, beside that, for every thread
    that has not computed yet. So another thread, which begins here, puts the second back at once;
    only a thread whose first computation falls in between would take our number for good.
    """
    if torch.get_num_threads() == count or not _each_thread_has_its_own():
        return
    asked, done, kept = _locked(), _locked(), _locked()

    def keep_for_new_threads() -> None:
        with _one_at_a_time:  # or the next would take our number for theirs
            others = torch.get_num_threads()
            asked.release()
            done.acquire(timeout=1)  # no longer, should an interrupt keep us from saying so
            torch.set_num_threads(others)
        kept.release()

    try:
        try:
            _thread.start_new_thread(keep_for_new_threads, ())
        except RuntimeError:  # the interpreter is about to end: no thread will begin any more
            torch.set_num_threads(count)
            return
        asked.acquire()
        torch.set_num_threads(count)
    finally:
        done.release()
    kept.acquire()


def _locked() -> threading.Lock:
    """A lock for a thread to wait on; an event has one of its own, which an interrupt can keep."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def _each_thread_has_its_own() -> bool:
    """Whether this torch shares work by OpenMP; its other pool is one for all, and set once."""
    return torch.backends.openmp.is_available()
