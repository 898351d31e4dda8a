"""A bar with the time left, for every call of ours that may last.

What works in steps tells a `Bar` how far it is; whether there is anything to see is decided here.
A bar appears once a call turns out to last, and goes with its end. There is none where a function
of the user's is told instead, where none is wanted, in a thread beside the main one, such as that
of the widgets, and where standard error is a file.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

with warnings.catch_warnings():
    # Where ipywidgets cannot be used there are bars of text: nothing to warn of.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.plan import in_words

P = ParamSpec("P")
R = TypeVar("R")

LASTS = 2.0
"""Seconds that a call must be expected to take for a bar to appear."""
LOOKED_AT = 0.5
"""Seconds after which this is asked for the first time."""


class _Line(tqdm):
    """tqdm's bar, without the thread that watches over all of them."""

    monitor_interval = 0


class Bar:
    """How far a call is: phase after phase, each with a bar of its own if it lasts.

    Args:
        title: What is done, such as "Tracing".
        unit: What is counted, such as "cell".
        shown: Whether there is anything to see at all.
    """

    def __init__(self, title: str, unit: str, *, shown: bool) -> None:
        self._title, self._unit, self.shown = title, unit, shown
        self._phase, self._done, self._began = "", 0, time.monotonic()
        self._heard = self._began
        self._line: Any = None

    def at(self, done: int, total: int | None = None, phase: str = "") -> None:
        """Tell that so much is done of a phase; of how much, if that is known.

        Less than before, and it begins anew, as for the next of several layers.
        """
        if not self.shown:
            return
        if phase != self._phase or done < self._done:
            self.close()
            self._began = self._heard  # What is done of it began where the last one ended.
        self._phase, self._done, self._heard = phase, done, time.monotonic()
        elapsed = self._heard - self._began
        if self._line is None:
            if elapsed < LOOKED_AT or _expected(elapsed, done, total) < LASTS:
                return
            self._line = self._draw(total, elapsed)
        self._line.total = total
        self._line.update(done - self._line.n)

    def expect(self, seconds: float, total: int) -> None:
        """Tell beforehand how long all of it will take; if it lasts, the bar appears at once."""
        if self.shown and seconds >= LASTS and self._line is None:
            self._line = self._draw(total, 0.0)
            self._line.set_postfix_str(f"planned: {in_words(seconds)}")

    def hear(self, record: Any) -> None:
        """The same of a record with `done` and `total`, maybe a `phase`."""
        self.at(record.done, record.total, getattr(record, "phase", ""))

    def _draw(self, total: int | None, elapsed: float) -> Any:
        title = f"{self._title}: {self._phase}" if self._phase else self._title
        settings = {"leave": False, "dynamic_ncols": True, "miniters": 1}
        # disable=None: not where standard error is a file.
        line = _Line(total=total, desc=title, unit=self._unit, disable=None, **settings)
        if not line.disable:
            # What was done until now took time, too.
            line.start_t -= elapsed
            line.last_print_t -= elapsed
        return line

    def close(self, *, finished: bool = True) -> None:
        """Take the bar away; in a notebook, one that was not finished stays where it stopped."""
        line, self._line = self._line, None
        if line is not None:
            if finished:
                line.total = line.n  # A phase may end early, and has not failed then.
            line.close()
            if finished and hasattr(line, "container"):
                _close_widgets(line.container)


def bar_of(told: Any) -> Bar | None:
    """The bar that a function tells; None where it is the user's own."""
    bar = getattr(told, "__self__", None)
    return bar if isinstance(bar, Bar) else None


def _close_widgets(container: Any) -> None:
    """Close what a notebook's bar consists of: ipywidgets keeps every part until that is done."""
    for part in (*container.children, container):
        for each in (getattr(part, "style", None), part.layout, part):
            if each is not None:
                each.close()


def _expected(elapsed: float, done: int, total: int | None) -> float:
    """Seconds that all of it will take."""
    return elapsed if total is None or not done else elapsed * total / done


@contextmanager
def progress_bar(progress: Any, title: str, unit: str) -> Iterator[Bar]:
    """The bar of a call, closed whatever ends that.

    Args:
        progress: What the caller said of it, see `records.arguments.Listener`.
        title: See `Bar`.
        unit: See `Bar`.
    """
    wanted = progress is None or progress is True
    bar = Bar(title, unit, shown=wanted and threading.current_thread() is threading.main_thread())
    try:
        yield bar
    except BaseException:
        bar.close(finished=False)
        raise
    bar.close()


class Steps:
    """The steps of a call that has nothing to show on the way.

    Args:
        bar: Shows them.
        told: A function of the caller's, which hears them instead; None: there is none.
    """

    def __init__(self, bar: Bar, told: Callable[[CallProgress], object] | None = None) -> None:
        self._bar, self._told = bar, told

    def at(self, done: int, total: int | None = None, phase: str = "") -> None:
        """See `Bar.at`."""
        if self._told is None:
            self._bar.at(done, total, phase)
        else:
            self._told(CallProgress(done, total, phase))

    def watching(
        self, blocks: Iterable[str], start: int, count: int, total: int, phase: str = ""
    ) -> list[tuple[str, Callable[[Any], None]]]:
        """What shows how far a pass is, block by block: visitors, by the names of these.

        In a pass nobody but a bar is told: the caller's function might run the model.

        Args:
            blocks: Names of the model's blocks.
            start: What was done before the pass.
            count: What one block of it counts.
            total: See `Bar.at`.
            phase: See `Bar.at`.
        """
        if not self._bar.shown:
            return []

        def after(number: int) -> Callable[[Any], None]:
            return lambda seen: self._bar.at(start + number * count, total, phase)

        return [(name, after(number)) for number, name in enumerate(blocks, 1)]


NO_STEPS = Steps(Bar("", "", shown=False))
"""Nobody is told."""


@contextmanager
def counting(progress: Any, title: str, unit: str) -> Iterator[Steps]:
    """The steps of a call, for a bar or for the caller's function; see `progress_bar`."""
    with progress_bar(progress, title, unit) as bar:
        yield Steps(bar, progress if callable(progress) else None)


def shows_progress(title: str, unit: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function a bar that tells records with `done` and `total`, maybe a `phase`.

    Within it `progress` is a function, or False where nobody is to be told, and can be handed on.

    Example:
        >>> @shows_progress("Tracing", "cell")
        ... def trace(*, progress=None):
        ...     if callable(progress):
        ...         progress(Progress(1, 96, so_far))
    """

    def shown(function: Callable[P, R]) -> Callable[P, R]:
        assert "progress" in inspect.signature(function).parameters
        inner: Any = function

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            progress = kwargs.pop("progress", None)
            with progress_bar(progress, title, unit) as bar:
                told = progress if callable(progress) else bar.hear if bar.shown else False
                return inner(*args, progress=told, **kwargs)

        return call

    return shown
