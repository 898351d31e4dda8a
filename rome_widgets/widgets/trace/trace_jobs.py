"""What an explorer asks of the worker: a trace, a restoration, a figure.

A job holds the widget only while it writes to it, so that a widget nobody has any more goes.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rome_widgets.errors import Cancelled, ModelChanged, RomeWidgetsError
from rome_widgets.records.states import State
from rome_widgets.records.trace import CausalTrace, Progress
from rome_widgets.widgets.live.live_widget import PROGRESS_EVERY, describe_error
from rome_widgets.widgets.live.traits import describe_restoration
from rome_widgets.widgets.live.worker import Job
from rome_widgets.widgets.trace.download import picture
from rome_widgets.widgets.trace.engine import Engine, TraceSettings
from rome_widgets.widgets.trace.run_history import Run

if TYPE_CHECKING:
    from rome_widgets.widgets.trace.trace_explorer import TraceExplorer

logger = logging.getLogger(__name__)

ROWS = 8
"""Next tokens shown per restoration."""
QUIET = 0.3
"""Seconds that nobody asks or changes the model before a trace starts that nobody asked for."""
MOST_QUIET = 5.0
"""Seconds after which it starts although the weights never rest."""


def trace_job(
    widget: TraceExplorer,
    settings: TraceSettings,
    asked: TraceSettings,
    *,
    patient: bool,
    resume: Run | None,
) -> Job:
    """A trace as the worker runs it.

    A patient one, which nobody asked for, starts when the model was left alone for a moment, and
    makes room for whatever is asked of it.
    """
    ref, engine, worker, run = weakref.ref(widget), widget._engine, widget._worker, widget._runs

    def tell(method: str, *args: Any) -> None:
        if (widget := ref()) is not None:
            with widget._writing:
                if widget._runs == run:
                    getattr(widget, method)(*args)

    def job(cancelled: Callable[[], bool]) -> None:
        last = float("-inf")

        def stop() -> bool:
            return cancelled() or ref() is None or (patient and worker.crowded)

        def progressed(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_EVERY:
                last = now
                tell("_trace_progressed", progress, settings, asked)

        try:
            if patient:
                _left_alone(engine, stop)
            tell("_trace_started")
            began = time.perf_counter()
            goes_on = resume is not None and resume.weights == engine.weights_version
            rest = {"resume": resume.trace} if resume is not None and goes_on else {}
            trace = engine.trace(asked, progressed, stop, **rest)
        except Cancelled as stopped:
            if patient and not cancelled():
                tell("_trace_steps_aside", job)
            else:
                tell("_trace_cancelled", stopped.partial, settings, asked)
        except ModelChanged as error:
            tell("_trace_overtaken", settings, error)
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("The trace of %r failed", settings.prompt)
            tell("_trace_failed", error)
        else:
            try:
                ms = 1000 * (time.perf_counter() - began)
                tell("_trace_done", trace, settings, asked, ms)
            except Exception as error:  # an observer of the user's; the run must still end
                logger.exception("Showing the trace of %r failed", settings.prompt)
                tell("_trace_failed", error)

    return job


def draw_job(ref: weakref.ref[TraceExplorer], trace: CausalTrace, request: dict[str, Any]) -> Job:
    """A drawing as the worker runs it; it does not touch the model."""

    def job(cancelled: Callable[[], bool]) -> None:
        try:
            drawn = {**picture(trace, request["form"]), "id": request["id"]}
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("Drawing the trace failed")
            if (widget := ref()) is not None:
                widget._report("show", describe_error(error))
        else:
            if (widget := ref()) is not None:
                widget._write(_file=drawn)

    return job


def _left_alone(engine: Engine, stop: Callable[[], bool]) -> None:
    """Wait until nobody has asked for anything, or changed the weights, for a moment.

    Raises:
        Cancelled: Somebody has, or the run is no longer wanted.
    """
    began, weights = time.monotonic(), engine.weights_version
    until = began + QUIET
    while time.monotonic() < until:
        if stop():
            raise Cancelled("The trace makes room.")
        time.sleep(0.02)
        if weights != (weights := engine.weights_version):
            until = min(time.monotonic() + QUIET, began + MOST_QUIET)


def restore_job(
    ref: weakref.ref[TraceExplorer],
    engine: Engine,
    settings: TraceSettings,
    selection: tuple[State, ...],
) -> Job:
    """A restoration as the worker runs it."""

    def tell(cancelled: Callable[[], bool], method: str, *args: Any) -> None:
        if not cancelled() and (widget := ref()) is not None:
            with widget._writing:
                getattr(widget, method)(settings, *args)

    def job(cancelled: Callable[[], bool]) -> None:
        began, weights = time.perf_counter(), engine.weights_version
        try:
            restoration = engine.restore(settings, selection)
            ms = 1000 * (time.perf_counter() - began)
            described = describe_restoration(restoration, selection, ROWS, ms)
        except Exception as error:
            if not isinstance(error, RomeWidgetsError):
                logger.exception("Restoring %r failed", selection)
            tell(cancelled, "_restore_failed", selection, error)
        else:
            tell(cancelled, "_restored", described, weights)

    return job
