"""Waits for what other processes do."""

import time
from collections.abc import Callable


def within(seconds: float, condition: Callable[[], object]) -> float:
    """Wait for a condition; returns the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - started
