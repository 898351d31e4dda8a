"""Two ways to interrupt an operation as a user's Ctrl-C does, for tests of what that leaves behind.

By the clock: a timer raises KeyboardInterrupt at a random moment. By place: CPython looks for
signals where a function is entered, after a call and when a loop goes round; a profiler sees the
first two, so each of them within our own code and one or two calls below it can be hit on purpose.
"""

import signal
import statistics
import sys
import time
from pathlib import Path

import pytest
import torch

import rome_widgets

OURS = str(Path(rome_widgets.__file__).parent)
HANGS = 20.0
"""Seconds after which a call that should take milliseconds is taken to hang."""


@pytest.fixture(autouse=True)
def signals_as_before(monkeypatch):
    """An interrupt inside a finalizer is reported and dropped by Python: it did not land."""
    monkeypatch.setattr(sys, "unraisablehook", lambda about: None)
    handler = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, handler)


def hit_by_clock(operation, world, after):
    """The interrupt raised `after` seconds into `operation`, or None where it came too late."""

    def interrupt(number, frame):
        if is_within(frame, operation):
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        operation(world)
    except KeyboardInterrupt as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def is_within(frame, operation):
    while frame is not None:
        if frame.f_code is operation.__code__:
            return True
        frame = frame.f_back
    return False


def hit_by_place(operation, world, place):
    """The interrupt raised at our `place`-th call or return, or None where there are fewer."""
    sys.setprofile(Places(place).see)
    try:
        operation(world)
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.setprofile(None)
    return None


def count_places(operation, world):
    places = Places(-1)
    sys.setprofile(places.see)
    try:
        operation(world)
    finally:
        sys.setprofile(None)
    return places.seen


class Places:
    """Counts calls and returns in our code and up to two calls below it; interrupts at one."""

    def __init__(self, place):
        self.place, self.seen = place, 0

    def see(self, frame, event, argument):
        if event == "c_call" or not is_near_ours(frame):
            return
        self.seen += 1
        if self.seen == self.place:
            raise KeyboardInterrupt


def is_near_ours(frame):
    for _ in range(3):
        if frame is None:
            return False
        if frame.f_code.co_filename.startswith(OURS):
            return True
        frame = frame.f_back
    return False


def duration(operation, world):
    """Seconds of one run_in_eval_mode run, median of five."""

    def once():
        start = time.perf_counter()
        operation(world)
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(5))


def call_in_time(call):
    def late(number, frame):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def torch_flags():
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        depth,
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        torch.get_default_device().type,
        torch.get_num_threads(),
    )
