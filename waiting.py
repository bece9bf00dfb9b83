"""Waits for something that happens by itself."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object],
    seconds: float,
    pause: float = 0.1,
    sleep: Callable[[float], object] | None = None,
) -> bool:
    """Call a condition until it holds or the time is over, and return whether it held.

    Args:
        condition: what is waited for. It is called at least once.
        seconds: how long to wait at most.
        pause: seconds between two calls.
        sleep: takes the seconds of a pause. None: `time.sleep`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        (sleep or time.sleep)(pause)
    return True
