"""What widgets with a model behind them share: status, errors as data, waiting, edit badge."""

from __future__ import annotations

import traceback
from typing import Any

import traitlets as t

from rome_widgets.errors import RomeWidgetsError
from rome_widgets.widgets.live.base import RomeWidget
from rome_widgets.widgets.live.edit_events import follow_edits, unfollow_edits
from rome_widgets.widgets.live.traits import text
from rome_widgets.widgets.live.worker import Worker

PROGRESS_EVERY = 0.1
"""Seconds between two progress messages, at least."""
MOST_TRACEBACK = 4000
"""Characters of a traceback that are shown: its end."""
STATUSES = ["idle", "queued", "running", "done", "cancelled", "error", "static"]


class LiveWidget(RomeWidget):
    """A widget whose slow work happens on its model's worker.

    Args:
        worker: Where to compute.
    """

    status = t.Enum(STATUSES, "idle").tag(sync=True)
    progress = t.Float(0.0).tag(sync=True)
    """Share of the running job that is done."""
    error = t.Instance(dict, allow_none=True).tag(sync=True)
    """The last error as type, message, found, wanted, remedy, cause, fix and traceback; or None.

    The cause says what failed: "run", "form", "restoration", "compare", "show", and so on. A fix,
    where there is one, is the label of a button and the traits that it sets before trying again.

    A run's error stays until the next run, a follow-up's also until one succeeds, and a refused
    value's until the form changes.
    """
    _request = t.Dict().tag(sync=True, echo_update=False)
    """Set by the page: `{id, op}`. The latest wins."""
    _cancel_id = t.Int(0).tag(sync=True, echo_update=False)
    _answers = "error"
    """The trait that its answers arrive in."""

    def __init__(self, *, worker: Worker, **kwargs: Any) -> None:
        self._worker = worker
        self._errors: dict[str, dict[str, Any]] = {}
        """Errors that still hold by their cause, the latest last; `error` shows that one."""
        super().__init__(**kwargs)
        follow_edits(worker, self)

    def cancel(self) -> None:
        """Stop what is running."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the page's end; nothing more is heard of the model."""
        if hasattr(self, "_worker"):  # ipywidgets closes half-built widgets, too.
            unfollow_edits(self._worker, self)
        super().close()

    @t.observe("_cancel_id")
    def _cancel_requested(self, change: dict) -> None:
        self.cancel()

    def _refuse_to_wait(self, wait: bool = True) -> None:
        """In an observer of what the page sent, waiting would wait for oneself."""
        if wait and self._writing._is_owned():  # pyright: ignore[reportAttributeAccessIssue]
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

    def _refused(self, error: t.TraitError, sent: dict[str, Any]) -> None:
        refused = [
            f"{name} cannot be {value!r}."
            for name, value in sent.items()
            if self.has_trait(name) and getattr(self, name) != value
        ]
        found = " ".join(refused) or str(error)
        self._report(
            "form", {**describe_error(error), "found": found, "remedy": "It stays as it was."}
        )


class Slot:
    """A widget's place at the worker. Holds nothing: a waiting job keeps no widget alive."""

    def __init__(self, widget: RomeWidget, name: str) -> None:
        self._name = f"{type(widget).__name__}.{name}"

    def __repr__(self) -> str:
        return self._name


def describe_error(error: BaseException) -> dict[str, Any]:
    """An error as data: what was found, what was wanted, what to do, and no fix by itself."""
    message = text(str(error)) or type(error).__name__
    return {
        "type": type(error).__name__,
        "message": message,
        "found": text(getattr(error, "found", "")) or message,
        "wanted": text(getattr(error, "wanted", "")),
        "remedy": text(getattr(error, "remedy", "")),
        "fix": None,
        "traceback": text("".join(traceback.format_exception(error))[-MOST_TRACEBACK:]),
    }
