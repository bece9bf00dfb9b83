"""What a person reads on stderr while a program is found or made."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

EVERY_SECONDS = 15.0

# A path may hold [brackets], and a line of a log is not to be broken at 80 characters.
_console = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)


def say(line: str) -> None:
    """Print one line to stderr."""
    _console.print(line)


@contextmanager
def working(name: str, doing: str) -> Iterator[None]:
    """Show that something is still being done, and for how long: on a terminal in place, else a line now and then."""
    with _spinner(f"{name}: {doing}") if _console.is_terminal else _lines(f"{name}: still {doing}"):
        yield


@contextmanager
def _spinner(text: str) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=_console, transient=True) as progress:
        progress.add_task(text)
        yield


@contextmanager
def _lines(text: str) -> Iterator[None]:
    started, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(EVERY_SECONDS):
            say(f"{text}, {time.monotonic() - started:.0f} s")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
