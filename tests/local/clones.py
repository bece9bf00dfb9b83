"""A clone of the project with services and loopback addresses of its own: for commands as a person types them."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from consul_cluster.client import Consul
from operations.sandbox.processes import BackgroundProcess
from operations.sandbox.sandbox import Sandbox
from services.model import Service
from tests.forty_services import FORTY, Line
from tests.local.stacks import SECOND, TWELVE, new_sandbox, service_of
from tests.project_copy import copy_project


@dataclass(frozen=True)
class Clone:
    """A project folder, and what runs out of it.

    Attributes:
        folder: the project's.
        sandbox: its processes, as its own commands know them.
    """

    folder: Path
    sandbox: Sandbox

    @property
    def agent(self) -> Consul:
        return self.sandbox.agent_api

    @property
    def server(self) -> Consul:
        return self.sandbox.server_api

    def service(self, service_id: str) -> Service:
        return service_of(self.sandbox.roster, service_id)

    def stand_in(self, service_id: str) -> BackgroundProcess:
        return self.sandbox.stand_in(self.service(service_id))

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make."""
        return self._run(("make", *arguments), 200)

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of the project's to its end."""
        return self._run(self._command(*arguments), timeout)

    def start(self, *arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
        """Start a command of the project's."""
        return subprocess.Popen(
            self._command(*arguments),
            cwd=self.folder,
            env={**self._environment, **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _command(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "operations", *arguments)

    @property
    def _environment(self) -> dict[str, str]:
        # Not a part of the `make test` that these tests may run in: make would speak of folders then.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
        return {**inherited, "COLUMNS": "120", "PYTHONPYCACHEPREFIX": str(self.folder / ".local" / "pycache")}

    def _run(self, command: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


def new_clone(folder: Path, interval: timedelta = SECOND, names: Collection[str] = TWELVE) -> Clone:
    """Make a clone that uses this environment's packages, and has services whose checks all have one interval."""
    copy_project(folder)
    (folder / ".local").mkdir()
    (folder / ".local" / "venv").symlink_to(sys.prefix)
    if sys.pycache_prefix:  # where `make test` has the bytecode of this environment's packages
        (folder / ".local" / "pycache").symlink_to(sys.pycache_prefix)
    for pins in folder.glob("requirements*.txt"):
        os.utime(pins, (0, 0))  # older than the environment: make has nothing to install
    sandbox = new_sandbox(folder / ".local" / "consul-local", interval, names)
    _replace_addresses(folder / "Pulumi.local.yaml", sandbox)
    _replace_services(folder / "services", interval, names)
    return Clone(folder, sandbox)


@contextmanager
def deployed_clone(folder: Path, interval: timedelta = SECOND, names: Collection[str] = TWELVE) -> Iterator[Clone]:
    """A clone, brought up with `make up`, and down afterwards."""
    clone = new_clone(folder, interval, names)
    try:
        up = clone.make("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield clone
    finally:
        clone.make("down")


def _replace_addresses(file: Path, sandbox: Sandbox) -> None:
    text = file.read_text()
    addresses = (sandbox.server, sandbox.agent, sandbox.roster.services[0].host)
    for number, address in enumerate(addresses, start=1):
        text = text.replace(f"127.0.0.{number}", address)
    file.write_text(text)


def _replace_services(folder: Path, interval: timedelta, names: Collection[str]) -> None:
    """Have each group's file list the tests' services: the last function of a name is the one that is imported."""
    lines = [line for line in FORTY if not names or line.name in names]
    for kind in ("user", "ai", "grpc"):
        calls = "".join(f"        {_call(line, interval)},\n" for line in lines if line.kind == kind)
        with (folder / f"{kind}_services.py").open("a") as file:
            file.write(f"\n\ndef {kind}_services(environment):\n    return (\n{calls}    )\n")


def _call(line: Line, interval: timedelta) -> str:
    role = f", {line.role!r}" if line.kind == "grpc" else ""
    seconds = f"{interval.total_seconds():g}"
    made_by = "USER.service" if line.kind == "user" else f"{line.kind}_service"
    return f"{made_by}(environment, {line.short_name!r}, {line.port}{role}, interval=timedelta(seconds={seconds}))"
