"""Waits for what other processes do."""

import time
from collections.abc import Callable

from waiting import wait_until


def within(seconds: float, condition: Callable[[], object]) -> float:
    """Wait for a condition, and return the seconds that it took.

    Raises:
        AssertionError: the time is over.
    """
    started = time.monotonic()
    assert wait_until(condition, seconds), f"not within {seconds} s"
    return time.monotonic() - started
