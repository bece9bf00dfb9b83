"""What a service runs as, so that a drill can stop it and start it again: a process here, or a container."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import docker
import yaml
from docker.errors import DockerException, NotFound
from docker.models.containers import Container as DockerContainer
from requests.exceptions import RequestException

from operations.sandbox.processes import Program


class InstanceError(Exception):
    """There is nothing to stop, or it cannot be stopped or started: says why."""


class Instance(Protocol):
    """One running service."""

    def refuse_unless_running(self) -> None:
        """Raise an `InstanceError` where there is nothing that could be stopped."""

    def stop(self) -> None:
        """Stop it; when this returns, it is down."""

    def start(self) -> None:
        """Start it again, unless it runs."""


@dataclass(frozen=True)
class StandIn:
    """A process of this clone.

    Attributes:
        program: the process.
    """

    program: Program

    def refuse_unless_running(self) -> None:
        """Refuse where `operations up` of this clone has not started it.

        Raises:
            InstanceError: it does not run.
        """
        if not self.program.process:
            raise InstanceError(f"no stand-in {self.program.name} of this clone runs: `make up` starts it")

    def stop(self) -> None:
        """Stop the process."""
        self.program.stop()

    def start(self) -> None:
        """Start it again, unless it runs."""
        self.program.start()


@dataclass(frozen=True)
class Container:
    """A container, of the stack or of the platform.

    Attributes:
        name: the container's.
        engine: Docker's address; None: what DOCKER_HOST says, or this machine's.
    """

    name: str
    engine: str | None = None

    def refuse_unless_running(self) -> None:
        """Refuse where Docker has no such container, or it is stopped already.

        Raises:
            InstanceError: so it is, or Docker does not answer.
        """
        with self._found() as container:
            if container.status != "running":
                raise InstanceError(f"container {self.name} is {container.status}: docker start {self.name}")

    def stop(self) -> None:
        """Stop it as `docker stop` does.

        Raises:
            InstanceError: Docker cannot.
        """
        with self._found() as container:
            container.stop()

    def start(self) -> None:
        """Start it as `docker start` does; one that runs is no error.

        Raises:
            InstanceError: Docker cannot.
        """
        with self._found() as container:
            container.start()

    @contextmanager
    def _found(self) -> Iterator[DockerContainer]:
        try:
            engine = (
                docker.DockerClient(self.engine, use_ssh_client=True)
                if self.engine
                else docker.from_env(use_ssh_client=True)
            )
            yield engine.containers.get(self.name)
        except NotFound:
            raise InstanceError(f"Docker has no container {self.name}: `docker ps -a` shows which there are") from None
        except (DockerException, RequestException) as error:
            raise InstanceError(f"Docker does not do it to container {self.name}: {error}") from None


def engine_of(file: Path) -> str | None:
    """Return the address of the Docker engine that a stack's file names, if it does: `docker:host`."""
    host: str | None = yaml.safe_load(file.read_text())["config"].get("docker:host")
    return host
