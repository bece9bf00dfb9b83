"""Processes that go on running after the command that started them, and that a later command finds again."""

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from waiting import wait_until

_RECORD = ".json"


@dataclass(frozen=True)
class BackgroundProcess:
    """One such process. Its id and its command identify it, so that no other process is taken for it.

    Its start time would not do: on Linux it moves with the clock of the machine.

    Attributes:
        name: of its record and its log.
        command: what is run, without a shell.
        folder: where record and log are.
    """

    name: str
    command: Sequence[str | Path]
    folder: Path

    @property
    def log(self) -> Path:
        """The file that its output goes to."""
        return self.folder / f"{self.name}.log"

    @property
    def running(self) -> psutil.Process | None:
        """The running process, or None."""
        try:
            record = _content(self._record)
            process = psutil.Process(record["pid"])
            ours = process.cmdline() == record["command"] and process.status() != psutil.STATUS_ZOMBIE
        except (KeyError, psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process if ours else None

    @property
    def up_to_date(self) -> bool:
        """Whether it runs with the command that is stated."""
        process = self.running
        return process is not None and process.cmdline() == self._arguments

    def start(self) -> bool:
        """Start it, unless it runs as stated; one with another command is stopped first. Return whether it started."""
        if self.up_to_date:
            return False
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - the commands are this project's own
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        unfinished = self._record.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"pid": child.pid, "command": self._arguments}))
        unfinished.replace(self._record)  # whole, or not at all
        # On a loaded machine Linux shows the command of a new process only some milliseconds after its start.
        wait_until(lambda: self.running or child.poll() is not None, seconds=5, pause=0.01)
        return True

    def stop(self, seconds: float = 20) -> bool:
        """Ask it to end, and kill it if it runs for longer than some seconds; return whether it ran."""
        process = self.running
        if process:
            process.terminate()
            # Process.wait() would also wait for the parent of a zombie.
            wait_until(lambda: _has_ended(process), seconds, pause=0.02)
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._record.unlink(missing_ok=True)
        return process is not None

    @property
    def _arguments(self) -> list[str]:
        return [str(argument) for argument in self.command]

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.name}{_RECORD}"


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, with all its threads.

    It shows no command any more a moment before it gives its ports back. As a zombie, it has them until its last thread
    has ended: Linux ends them one by one.
    """
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1)
    return True


def recorded_processes(folder: Path) -> list[BackgroundProcess]:
    """Return every process that has a record in a folder, as it was started."""
    return [
        BackgroundProcess(path.name.removesuffix(_RECORD), _content(path).get("command", ()), folder)
        for path in sorted(folder.glob(f"*{_RECORD}"))
    ]


def _content(record: Path) -> dict[str, Any]:
    """Return what a record has; nothing if there is none, or it was cut off, as by a full disk."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return dict(json.loads(record.read_text()))
    return {}
