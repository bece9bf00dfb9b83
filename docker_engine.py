"""The Docker engines that a stack uses, and their clients."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException
from docker.tls import TLSConfig
from requests.exceptions import RequestException


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


OWN_ENGINE = DockerEngine()
"""The engine of this machine, or that of DOCKER_HOST."""


def docker_client(engine: DockerEngine) -> docker.DockerClient:
    """Return a client of the engine that Pulumi's Docker provider uses too.

    Raises:
        docker.errors.DockerException: the engine does not answer.
    """
    if not engine.host:
        return docker.from_env(use_ssh_client=True)
    return docker.DockerClient(engine.host, tls=_tls(engine.certificates), use_ssh_client=True)


def engine_answers(engine: DockerEngine) -> bool:
    """Return whether an engine answers within seconds."""
    with suppress(DockerException, RequestException):
        return bool(docker_client(engine).ping())
    return False


def _tls(certificates: str | None) -> TLSConfig | bool:
    if not certificates:
        return False
    folder = Path(certificates)
    client = (str(folder / "cert.pem"), str(folder / "key.pem"))
    return TLSConfig(client_cert=client, ca_cert=str(folder / "ca.pem"), verify=True)
