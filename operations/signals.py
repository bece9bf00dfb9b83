"""What a command does when it is told to end: by Ctrl-C, by `kill`, or by a terminal that closes."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def interrupting() -> Iterator[None]:
    """Have the first signal end the block as Ctrl-C does, with a `KeyboardInterrupt`; more of them change nothing."""

    def interrupt(*_: object) -> None:
        for each in ENDING:
            signal.signal(each, _nothing)
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextmanager
def ignored() -> Iterator[None]:
    """Run a block that nothing may cut short but `kill -9`."""
    with _handled(_nothing):
        yield


class TooLongError(Exception):
    """A block took longer than it may. No OSError, which the libraries that wait in it would take for their own."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Cut a block short, whatever it waits for.

    Raises:
        TooLongError: it was.
    """

    def cut(*_: object) -> None:
        raise TooLongError(f"took longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, cut)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def _nothing(*_: object) -> None:
    """Stand in for SIG_IGN, which a program that is started meanwhile would keep: it could not be stopped gently."""


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    before = {each: signal.signal(each, handler) for each in ENDING}
    try:
        yield
    finally:
        for each, was in before.items():
            signal.signal(each, was)
