"""What stays of a widget in a saved notebook: a picture and a table, as an output of their own.

JupyterLab shows of an output the widget, or, when its kernel has gone, only that it was not found;
and whatever else that output holds is from the moment at which it was displayed, when nothing was
computed yet. So beside the widget a second output is displayed, which is written again when there
is something else to see. It stays hidden for as long as a view of the widget is on the page.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

SHOWN_BELOW = "<!-- The picture and the table of this widget are an output of their own. -->"
"""What the widget's own output says instead, so that nothing is seen twice."""
SOONEST = 0.5
"""Seconds between two writings: a slider that is dragged is not a message each."""

_STYLE = """<style>
:root:has(.rw[data-still="%(name)s"])
  :is([data-rw-still="%(name)s"], .jp-OutputArea-child:has([data-rw-still="%(name)s"])) {
  display: none;
}
/* Not before a view had the time to come. */
@keyframes rw-still { from { display: none } }
[data-rw-still] { animation: rw-still 1.5s step-end }
/* An output that is a widget without a view: "Loading", "not found". */
.jp-OutputArea-child:has([data-rw-still="%(name)s"]) + .jp-OutputArea-child
  > .jp-OutputArea-output:not(:has(*)) { display: none }
</style>"""


def kernel_shell() -> Any:
    """The shell of the notebook's kernel; None in a terminal, a script, or another host."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def nobody_watches() -> bool:
    """Whether the cell is run straight through, by nbconvert or papermill say, for its outputs.

    Such a client cannot type an answer, and says so with each request; a person's can.
    """
    shell = kernel_shell()
    get_parent = getattr(getattr(shell, "kernel", None), "get_parent", None)
    request = get_parent("shell") if callable(get_parent) else None
    content: Any = request.get("content", {}) if isinstance(request, dict) else {}
    return content.get("allow_stdin", True) is False


class StillCopy:
    """The second output of one widget.

    Args:
        name: What the page calls it; unique.
        draw: Makes its HTML. A bound method, held weakly.
    """

    def __init__(self, name: str, draw: Callable[[], str]) -> None:
        self._name, self._draw = name, weakref.WeakMethod(draw)
        self._lock = threading.Lock()
        self._shown = ""
        self._written = float("-inf")
        self._timer: threading.Timer | None = None
        self.displayed = False

    def display(self) -> bool:
        """Display it in the cell that is run; False where there is no notebook."""
        shell, html = kernel_shell(), self._html()
        if shell is None or html is None:
            return False
        self.displayed = True
        self._publish(shell, html, update=False)
        return True

    def follow(self) -> None:
        """Write it again where it is, now or soon, if it is not the same any more."""
        if not self.displayed:
            return
        with self._lock:
            if self._timer is not None:
                return
            wait = self._written + SOONEST - time.monotonic()
            if wait > 0:
                self._timer = threading.Timer(wait, self._write)
                self._timer.daemon = True
                self._timer.start()
                return
        self._write()

    def _write(self) -> None:
        with self._lock:
            self._timer = None
        shell, html = kernel_shell(), self._html()
        if shell is not None and html is not None and html != self._shown:
            self._publish(shell, html, update=True)

    def _publish(self, shell: Any, html: str, *, update: bool) -> None:
        self._shown, self._written = html, time.monotonic()
        shell.display_pub.publish(
            {"text/html": html, "text/plain": ""},
            {},
            transient={"display_id": f"rome_widgets-{self._name}"},
            update=update,
        )

    def _html(self) -> str | None:
        draw = self._draw()
        if draw is None:
            return None
        style = _STYLE % {"name": self._name}
        return f'<div data-rw-still="{self._name}">{style}{draw()}</div>'
