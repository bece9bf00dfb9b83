"""Runs `watch`, and reads what it prints."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.local.clones import Clone


@dataclass
class Watch:
    """A `watch` that runs, and what it has printed."""

    process: subprocess.Popen[str]
    output: int
    text: str = field(default="")

    def says(self, pattern: str, patience: float = 60) -> float:
        """Read on until it has said something; returns the seconds that this took."""
        started = time.monotonic()
        while not (found := re.search(pattern, self.text)):
            left = started + patience - time.monotonic()
            assert left > 0, f"{pattern!r} is not in {self.text[-500:]!r}"
            if select.select([self.output], [], [], left)[0]:
                self.text += os.read(self.output, 65536).decode()
        self.text = self.text[found.end() :]
        return time.monotonic() - started

    def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextmanager
def watching(clone: Clone, *options: str, terminal: bool = False) -> Iterator[Watch]:
    ours, its = pty.openpty() if terminal else os.pipe()
    process = clone.start("watch", *options, stdout=its, TERM="xterm", COLUMNS="130", LINES="50")
    os.close(its)
    try:
        yield Watch(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        if process.stderr:
            process.stderr.close()
