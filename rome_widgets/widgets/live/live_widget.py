"""The base of widgets with a model behind them: status, errors as data, waiting, edit badge.

Which thread may do what is said in one place: `rome_widgets.widgets.live.job`.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, ClassVar

import traitlets as t

from rome_widgets.errors import ArgumentError, RomeWidgetsError, said
from rome_widgets.records.html import paragraph
from rome_widgets.widgets.live.base import RomeWidget
from rome_widgets.widgets.live.engine import ModelSession
from rome_widgets.widgets.live.job import Job
from rome_widgets.widgets.live.traits import Number, text
from rome_widgets.widgets.live.worker import Worker

MOST_TRACEBACK = 4000
"""Characters of a traceback that are shown: its end."""
STATUSES = ["idle", "queued", "running", "done", "cancelled", "error", "static"]


class LiveWidget(RomeWidget):
    """A widget whose slow work happens on its model's worker.

    Args:
        session: What the widgets of its model share; None where there is no model.
        **traits: See `RomeWidget`.
    """

    _outputs = ("status", "progress", "expected_seconds", "error")
    status = t.Enum(
        STATUSES,
        "idle",
        help="Where its work is: idle, queued, running, done, cancelled, error, or static.",
    ).tag(sync=True)
    progress = Number(0.0, help="Share of the running job that is done.").tag(sync=True)
    expected_seconds = Number(
        0.0, help="How long the latest job takes in all, by a plan; 0 where there is none."
    ).tag(sync=True)
    error = t.Instance(
        dict,
        allow_none=True,
        help=(
            "The last error as type, message, found, wanted, remedy, cause, fix and "
            'traceback; or None. The cause says what failed: "run", "form", "restoration", '
            '"compare", "show", and so on. A fix, where there is one, is the label of a '
            "button and the traits that it sets before trying again. A run's error stays "
            "until the next run, a follow-up's also until one succeeds, and a refused "
            "value's until the form changes."
        ),
    ).tag(sync=True)
    _request = t.Dict().tag(sync=True, echo_update=False)
    """Set by the page: `{id, op}`. The latest wins."""
    _cancel_id = t.Int(0).tag(sync=True, echo_update=False)
    _answers = "error"
    """The trait that its answers arrive in."""
    _jobs: ClassVar[tuple[str, ...]] = ()
    """Names of its jobs: of each, the latest counts."""

    def __init__(self, session: ModelSession | None, **traits: Any) -> None:
        self._session = session
        self._worker = Worker() if session is None else session.worker
        self._slots = {name: Slot(self, name) for name in self._jobs}
        self._closed = False
        self._errors: dict[str, dict[str, Any]] = {}
        """Errors that still hold by their cause, the latest last; `error` shows that one."""
        RomeWidget.__init__(self, **traits)
        for slot in self._slots.values():
            weakref.finalize(self, self._worker.cancel, slot).atexit = False
        if session is not None:
            with self._writing:
                session.listen(self)
                self.edited = session.edited

    def cancel(self) -> None:
        """Stop what is running."""
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything asked for is done.

        Returns:
            False when `timeout` seconds passed first.
        """
        self._refuse_to_wait()
        return self._worker.wait(self._places(), timeout)

    def close(self) -> None:
        """Cancel what is running and close the page's end; nothing more is heard of the model."""
        if hasattr(self, "_closed") and not self._closed:  # ipywidgets closes half-built ones, too.
            self._closed = True
            for slot in self._slots.values():
                self._worker.cancel(slot)
            if self._session is None:
                self._worker.rest()
            elif self._writing.is_here:
                self._session.leave(self)
        super().close()

    def _finish_first(self) -> None:
        """Wait for what was asked for, unless that would be to wait for oneself."""
        if not self._writing._is_owned():
            try:
                self._worker.wait(self._places())
            except KeyboardInterrupt:
                self.cancel()
                raise

    def _still(self) -> str:
        error: Any = self.error
        return super()._still() + ("" if error is None else paragraph(error["message"]))

    @t.observe("status")
    def _status_changed(self, change: dict) -> None:
        self._copy_still()

    def _copy_still(self) -> None:
        if self.status not in ("queued", "running"):
            super()._copy_still()

    def _places(self) -> Iterable[Hashable]:
        """Where at the worker something of this widget may be waiting or running."""
        return self._slots.values()

    def _submit(
        self, name: str, job: Job[Any, Any, Any], *, quick: bool = False, patient: bool = False
    ) -> None:
        """Ask the worker for a job; it replaces another of this name. See `Worker.submit`."""
        self._worker.submit(self._slots[name], job, quick=quick, patient=patient)

    def _wait_for(self, places: Iterable[Hashable], stop: Callable[[], None], asked: Any) -> None:
        """Wait for these, and raise what became of it; Ctrl-C calls `stop` first."""
        try:
            self._worker.wait(places)
        except KeyboardInterrupt:
            stop()
            raise
        if asked.error is not None:
            raise asked.error

    def _model_edited(self) -> None:
        """The model's edits changed; see `Session`."""
        with self._writing:
            if self._session is not None and not self._closed:
                self.edited = self._session.edited
                self._follow_model()

    def _follow_model(self) -> None:
        """Show the model as it is now."""

    @t.observe("_cancel_id")
    def _cancel_requested(self, change: dict) -> None:
        self.cancel()

    def _refuse_to_wait(self, wait: bool = True) -> None:
        """In an observer of what the page sent, waiting would wait for oneself."""
        if wait and self._writing._is_owned():
            raise RomeWidgetsError(
                "The widget was asked to wait inside an observer of one of its traits.",
                "An answer can only arrive when the observer has returned.",
                f"Observe {self._answers!r} or 'status' instead; the answer arrives there.",
            )

    def _report(self, cause: str, error: dict[str, Any]) -> None:
        """Show an error until its cause is settled or a run starts."""
        with self._writing:
            self._errors.pop(cause, None)
            self._errors[cause] = error = {**error, "cause": cause}
            self.error = error

    def _show_failed(self, error: BaseException) -> None:
        """An observer of the user's raised when a run ended. It has ended all the same."""
        self._report("show", describe_error(error))

    def _settle(self, cause: str) -> None:
        """The error of this cause no longer holds; an earlier one that still does shows again."""
        with self._writing:
            if self._errors.pop(cause, None) is not None:
                self.error = next(reversed(self._errors.values()), None)

    def _refused(self, error: BaseException, sent: dict[str, Any]) -> None:
        refused = [
            f"{name} cannot be {said(value)}."
            for name, value in sent.items()
            if isinstance(name, str) and self.has_trait(name) and getattr(self, name) is not value
        ]
        found = " ".join(refused[:3]) or text(str(error))
        self._report(
            "form", {**describe_error(error), "found": text(found), "remedy": "It stays as it was."}
        )

    def _hear(self, call: Callable[[], object], cause: str = "form") -> None:
        """Do what the page asked for; where that is nothing, or is refused, it is an error to read.

        The host has nobody to tell.
        """
        try:
            call()
        except RomeWidgetsError as error:
            self._report(cause, describe_error(error))

    def _asked(self, request: dict[str, Any], ops: Mapping[str, Callable[[], object]]) -> None:
        """Do the one of these that a page's request names."""
        if not request:
            return
        op = request.get("op")
        if not isinstance(op, str) or op not in ops:
            raise ArgumentError(
                f"The page asked for {said(op)}.", f"One of {', '.join(ops)} was wanted."
            )
        ops[op]()


class Slot:
    """A widget's place at the worker. Holds nothing: a waiting job keeps no widget alive."""

    def __init__(self, widget: RomeWidget, name: str) -> None:
        self._name = f"{type(widget).__name__}.{name}"

    def __repr__(self) -> str:
        return self._name


def is_engine(model: Any) -> bool:
    """Whether `model` is an engine already, and not what an engine is made of."""
    return hasattr(model, "session")


def describe_error(error: BaseException) -> dict[str, Any]:
    """An error as data: what was found, what was wanted, what to do, and no fix by itself."""
    message = text(str(error)) or type(error).__name__
    return {
        "type": type(error).__name__,
        "message": message,
        **{name: text(getattr(error, name, "")) for name in ("wanted", "remedy")},
        "found": text(getattr(error, "found", "")) or message,
        "fix": None,
        "traceback": text("".join(traceback.format_exception(error))[-MOST_TRACEBACK:]),
    }
