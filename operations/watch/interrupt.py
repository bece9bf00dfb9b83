"""Ends an endless loop by Ctrl-C, whatever the process is at."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NoReturn, TypeVar

Item = TypeVar("Item")

_NOTICED_WITHIN = 0.2  # seconds: a signal that comes just before a wait does not end it


class _EndedError(Exception):
    pass


def until_interrupted(source: Iterable[Item]) -> Iterator[Item]:
    """Yield what a source gives, got by a thread of its own, until it ends or somebody presses Ctrl-C.

    Ctrl-C leaves word instead of raising KeyboardInterrupt: one that is raised while Python finalizes a file or an
    HTTP response is lost without a trace (CPython's iobase_finalize clears it), and the loop would go on for ever. A
    second Ctrl-C raises it, where the first cannot be noticed.

    Raises:
        Exception: what the source raised.
    """
    queue: SimpleQueue[Callable[[], Item]] = SimpleQueue()
    before = signal.getsignal(signal.SIGINT)

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        queue.put(_raiser(_EndedError()))

    signal.signal(signal.SIGINT, interrupted)
    Thread(target=_pump, args=(source, queue), daemon=True).start()
    try:
        with suppress(_EndedError):
            while True:
                with suppress(Empty):
                    yield queue.get(timeout=_NOTICED_WITHIN)()
    finally:
        signal.signal(signal.SIGINT, before)


def _pump(source: Iterable[Item], queue: SimpleQueue[Callable[[], Item]]) -> None:
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
