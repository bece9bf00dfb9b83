"""The Docker engines that a stack uses, and their clients."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import docker

# Docker's client takes 0.2 s to import. Every run starts the dynamic providers in a process of their own, and they need
# it only where a Consul does not answer: therefore the imports in functions.


@dataclass(frozen=True)
class DockerEngine:
    """How a Docker engine is reached.

    Attributes:
        host: such as `ssh://user@host`, `tcp://host:2376` or `unix:///var/run/docker.sock`; None: DOCKER_HOST, or the
            engine of this machine.
        certificates: folder with ca.pem, cert.pem and key.pem, for an engine that is reached over TCP with TLS.
            https://docs.docker.com/engine/security/protect-access/
    """

    host: str | None = None
    certificates: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it publishes ports on this machine."""
        # A socket that is stated may be forwarded from another machine.
        return not self.host and os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")


OWN_ENGINE = DockerEngine()
"""The engine of this machine, or that of DOCKER_HOST."""


def docker_client(engine: DockerEngine) -> "docker.DockerClient":
    """Return a client of the engine that Pulumi's Docker provider uses too.

    Raises:
        docker.errors.DockerException: the engine does not answer.
    """
    import docker  # noqa: PLC0415

    if not engine.host:
        return docker.from_env(use_ssh_client=True)
    if engine.certificates:
        folder = Path(engine.certificates)
        client = (str(folder / "cert.pem"), str(folder / "key.pem"))
        tls: docker.tls.TLSConfig | bool = docker.tls.TLSConfig(client, ca_cert=str(folder / "ca.pem"), verify=True)
    else:
        tls = False
    return docker.DockerClient(engine.host, tls=tls, use_ssh_client=True)


def engine_answers(engine: DockerEngine) -> bool:
    """Return whether an engine answers within seconds."""
    return _says_yes(engine, lambda client: client.ping())


def publishes(engine: DockerEngine, address: str) -> bool:
    """Return whether a container that runs, or is being started again, publishes the port of an address.

    Of an engine that does not answer, nobody knows: no.
    """
    port = str(urlsplit(address).port)

    def is_published(client: "docker.DockerClient") -> bool:
        # Between two restarts a container has no ports but those that it was created with.
        containers = client.containers.list(filters={"status": ["running", "restarting"]})
        stated = [each.attrs["HostConfig"]["PortBindings"] or {} for each in containers]
        return any(port == one["HostPort"] for each in stated for ports in each.values() for one in ports or ())

    return _says_yes(engine, is_published)


def _says_yes(engine: DockerEngine, question: "Callable[[docker.DockerClient], object]") -> bool:
    from docker.errors import DockerException  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    with suppress(DockerException, RequestException):
        return bool(question(docker_client(engine)))
    return False
