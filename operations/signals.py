"""What a command does when it is told to end: by Ctrl-C, by `kill`, or by a terminal that closes."""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import FrameType
from typing import NoReturn, TypeVar

Item = TypeVar("Item")

_AGAIN_AFTER = 1  # seconds after which a block is cut again: an exception that a signal raises can be lost
_NOTICED_WITHIN = 0.2  # seconds: a signal that comes just before a wait does not end it

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], object]
Sleep = Callable[[float], object]


@contextmanager
def interrupting() -> Iterator[Sleep]:
    """Have the first signal end the block as Ctrl-C does, with a `KeyboardInterrupt`; more of them change nothing.

    Yields:
        what the block sleeps with. It raises a `KeyboardInterrupt` that was lost: one that is raised while Python
        finalizes a file or an HTTP response leaves no trace (CPython's iobase_finalize clears it).
    """
    came = False

    def interrupt(*_: object) -> None:
        nonlocal came
        came = True
        for each in ENDING:
            signal.signal(each, _nothing)
        raise KeyboardInterrupt

    def sleep(seconds: float) -> None:
        if came:
            raise KeyboardInterrupt
        time.sleep(seconds)

    def say(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):  # that one is raised again, by `sleep`
            before(unraisable)

    before = sys.unraisablehook
    with _handled(interrupt):
        sys.unraisablehook = say
        try:
            yield sleep
        finally:
            sys.unraisablehook = before


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
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_AFTER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


class _EndedError(Exception):
    pass


def until_interrupted(source: Iterable[Item]) -> Iterator[Item]:
    """Yield what a source gives, got by a thread of its own, until it ends or somebody presses Ctrl-C.

    Ctrl-C leaves word instead of raising a KeyboardInterrupt, which can be lost (see `interrupting`): the loop would go
    on for ever. A second Ctrl-C raises it, where the first cannot be noticed.

    Raises:
        Exception: what the source raised.
    """
    queue: SimpleQueue[Callable[[], Item]] = SimpleQueue()
    before = signal.getsignal(signal.SIGINT)

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        queue.put(_raiser(_EndedError()))

    signal.signal(signal.SIGINT, interrupted)
    Thread(target=pump, args=(source, queue), daemon=True).start()
    try:
        with suppress(_EndedError):
            while True:
                with suppress(Empty):
                    yield queue.get(timeout=_NOTICED_WITHIN)()
    finally:
        signal.signal(signal.SIGINT, before)


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


def pump(source: Iterable[Item], queue: SimpleQueue[Callable[[], Item]]) -> None:
    """Put what a source gives into a queue, for another thread: each as a function that returns it, or raises it."""
    try:
        for each in source:
            queue.put(_giver(each))
    except BaseException as error:  # is raised where it is waited for
        queue.put(_raiser(error))
    else:
        queue.put(_raiser(_EndedError()))


def _giver(item: Item) -> Callable[[], Item]:
    return lambda: item


def _raiser(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail
