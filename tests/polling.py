"""Calls something again and again while a test does something else."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def polling(poll: Callable[[], object], pause: float, at_least: int = 1) -> Iterator[None]:
    """Call a function in a thread of its own while a block runs.

    Args:
        poll: the function.
        pause: seconds between two calls.
        at_least: how many calls there must have been at the end of the block.

    Raises:
        AssertionError: there were fewer calls: what they saw proves nothing.
        Exception: what a call raised. It is raised at the end of the block, unless the block itself raised.
    """
    ended = threading.Event()

    def calls() -> int:
        count = 0
        while not ended.is_set():
            poll()
            count += 1
            ended.wait(pause)
        return count

    with ThreadPoolExecutor(1) as executor:
        polls = executor.submit(calls)
        try:
            yield
        finally:
            ended.set()
    count = polls.result()
    assert count >= at_least, f"polled {count} times, fewer than {at_least}"
