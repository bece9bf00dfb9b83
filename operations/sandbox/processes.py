"""Programs that go on running after the command that started them, and that a later command finds again."""

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Program:
    """One such program, known by its process id and start time, so that it is never taken for another.

    Attributes:
        name: of its record and its log.
        command: what to run: no shell.
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
    def process(self) -> psutil.Process | None:
        """The running process, or None."""
        try:
            record = json.loads(self._record.read_text())
            process = psutil.Process(record["pid"])
            alive = process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
            return None
        return process if alive else None

    def start(self) -> bool:
        """Start it, unless it runs. Returns whether it had to be."""
        if self.process:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - the commands are this project's own
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._record.write_text(json.dumps({"pid": child.pid, "started": psutil.Process(child.pid).create_time()}))
        return True

    def stop(self, patience: float = 20) -> bool:
        """Ask it to end, and end it after `patience` seconds. Returns whether it ran."""
        process = self.process
        if process:
            process.terminate()
            deadline = time.monotonic() + patience
            while self.process and time.monotonic() < deadline:  # process.wait() would wait for a zombie's parent too
                time.sleep(0.02)
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._record.unlink(missing_ok=True)
        return process is not None

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.name}.json"
