"""Waiting for what another thread does."""

import time

import pytest

PATIENCE = 20
"""Seconds after which a widget is taken to hang."""
HELD = 60
"""Seconds for which a test may hold an engine: its page is looked at meanwhile, in several widths,
on a machine that may be slow."""


def until(true, seconds=PATIENCE):
    """Wait for something that another thread will make true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail("It did not become true in time.")
        time.sleep(0.005)
