"""What was set for a call is put back after it, whenever an interrupt comes.

Python looks for an interrupt when a function is entered and after a call, never between `finally:`
and the `try:` below it. A `with` would not do: what it calls on leaving is a function, and an
interrupt on entering that one skips it. So a step that puts back is one that can be repeated, and
is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def run_between(set_up: Callable[[], Any], call: Callable[[], T], put_back: Callable[[], Any]) -> T:
    """`call()` after `set_up()`, and `put_back()` whatever comes.

    Args:
        set_up: May be interrupted on the way.
        call: The work.
        put_back: Undoes what was set up by then; can be repeated.
    """
    try:
        set_up()
        return call()
    finally:
        try:
            surely(put_back)
        except BaseException:
            surely(put_back)
            raise


def surely(step: Callable[[], Any]) -> None:
    """Do a step that can be repeated, again after each of up to three interrupts.

    Its own entry can be interrupted too: whoever calls it calls it again then.
    """
    try:
        step()
    except BaseException:
        try:
            step()
        except BaseException:
            try:
                step()
            except BaseException:
                step()
                raise
            raise
        raise
