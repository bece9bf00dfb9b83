"""A clone of the project that is up, on loopback addresses of its own: for commands as a person types them."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import toolchain
from cluster.client import Consul
from operations.engine import Engine
from operations.paths import ROOT
from operations.sandbox.sandbox import Cluster
from tests.local.conftest import NETWORK, cluster_at
from tests.local.test_make import make, tracked


@dataclass(frozen=True)
class Clone:
    """What runs in one.

    Attributes:
        folder: the project's, of the clone.
        cluster: its processes, as its own commands know them.
        engine: on its state.
    """

    folder: Path
    cluster: Cluster
    engine: Engine

    @property
    def consul(self) -> Consul:
        return self.cluster.agent_api

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of the clone's."""
        command = (str(self.folder / ".local" / "venv" / "bin" / "python"), "-m", "operations", *arguments)
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str, patience: float = 120) -> tuple[int, str, str]:
        """Run one; returns its exit code, output and errors."""
        started = self.start(*arguments)
        output, errors = started.communicate(timeout=patience)
        return started.returncode, output, errors


@contextmanager
def deployed(folder: Path, number: int) -> Iterator[Clone]:
    """The project as git has it, brought up with `make up`, and down afterwards."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".local").mkdir()
    (folder / ".local" / "venv").symlink_to(ROOT / ".local" / "venv")
    stack = folder / "Pulumi.local.yaml"
    text = stack.read_text()
    for host in (1, 2, 3):
        text = text.replace(f"127.0.0.{host}", f"{NETWORK}.{number}.{host}")
    stack.write_text(text)
    cluster = cluster_at(number, folder / ".local" / "consul")
    try:
        up = make(folder, "up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield Clone(folder, cluster, Engine(toolchain.pulumi, folder / ".local" / "pulumi", folder))
    finally:
        make(folder, "down")
