"""Looks at something again and again while a test does something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(look: Callable[[], object], pause: float) -> Iterator[None]:
    """Look in a thread of its own, with so many seconds between two looks."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(pause):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
