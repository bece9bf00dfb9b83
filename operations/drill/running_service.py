"""What a service runs as, so that a drill can stop it and start it again: a process of the sandbox, or a container."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml
from docker.errors import DockerException, NotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

from docker_engine import OWN_ENGINE, DockerEngine, docker_client
from errors import UserError
from operations.sandbox.processes import BackgroundProcess


class RunningServiceError(UserError):
    """There is nothing to stop, or it cannot be stopped or started."""


class RunningService(Protocol):
    """One running service."""

    def refuse_unless_running(self) -> None:
        """Raise a `RunningServiceError` if there is nothing to stop."""

    def stop(self) -> None:
        """Stop it; it no longer runs when this returns."""

    def start(self) -> None:
        """Start it again, unless it runs."""


@dataclass(frozen=True)
class StandInProcess:
    """A stand-in of this clone's sandbox.

    Attributes:
        process: the process.
    """

    process: BackgroundProcess

    def refuse_unless_running(self) -> None:
        """Refuse if this clone has not started it.

        Raises:
            RunningServiceError: it does not run.
        """
        if not self.process.running:
            raise RunningServiceError(f"no stand-in {self.process.name} of this clone runs: `make up` starts it")

    def stop(self) -> None:
        """Stop the process."""
        self.process.stop()

    def start(self) -> None:
        """Start the process again, unless it runs."""
        self.process.start()


@dataclass(frozen=True)
class ServiceContainer:
    """A container of the stack or of the platform.

    Attributes:
        name: its name.
        engine: that it runs in.
    """

    name: str
    engine: DockerEngine = OWN_ENGINE

    def refuse_unless_running(self) -> None:
        """Refuse if Docker has no such container, or it is stopped already.

        Raises:
            RunningServiceError: so it is, or Docker does not answer.
        """
        with self._container() as container:
            if container.status != "running":
                raise RunningServiceError(f"container {self.name} is {container.status}: docker start {self.name}")

    def stop(self) -> None:
        """Stop it as `docker stop` does.

        Raises:
            RunningServiceError: Docker cannot.
        """
        with self._container() as container:
            container.stop()

    def start(self) -> None:
        """Start it as `docker start` does; one that runs is no error.

        Raises:
            RunningServiceError: Docker cannot.
        """
        with self._container() as container:
            container.start()

    @contextmanager
    def _container(self) -> Iterator[Container]:
        try:
            yield docker_client(self.engine).containers.get(self.name)
        except NotFound:
            message = f"Docker has no container {self.name}: `docker ps -a` shows which there are"
            raise RunningServiceError(message) from None
        except (DockerException, RequestException) as error:
            raise RunningServiceError(f"Docker cannot do this to container {self.name}: {error}") from None


def engine_of(file: Path) -> DockerEngine:
    """Return the Docker engine that a stack's file names with `docker:host`, or else this machine's."""
    return DockerEngine(yaml.safe_load(file.read_text())["config"].get("docker:host"))
