"""The preflight of a deployment: the containers and the network that the Docker engine has to have already."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import docker
import pulumi
from docker.errors import DockerException
from requests.exceptions import RequestException

from docker_engine import docker_client

States = Mapping[str, str]

_MAX_NAMES = 5  # in a line: in the preview of a pull request none of the 40 services runs


@dataclass(frozen=True)
class Prerequisites:
    """What a stack does not create itself.

    Attributes:
        network: name of the network, or None.
        server: name of the Consul server's container, or None.
        services: names of the services' containers.
    """

    network: str | None
    server: str | None
    services: Iterable[str]


def report(expected: Prerequisites) -> None:
    """Log each prerequisite: as a warning if it is missing. A service that does not run is registered all the same.

    Raises:
        pulumi.RunError: the network is missing. No container can be created without it.
    """
    try:
        lines = list(_lines(expected, docker_client(pulumi.Config("docker").get("host"))))
    except (DockerException, RequestException) as error:
        lines = [(False, f"Docker does not answer: {error}")]
    for met, line in lines:
        (pulumi.log.info if met else pulumi.log.warn)(line)


def _lines(expected: Prerequisites, engine: docker.DockerClient) -> Iterator[tuple[bool, str]]:
    containers = engine.containers.list(all=True, sparse=True)  # one request: none of them is inspected
    states = {name.removeprefix("/"): each.status for each in containers for name in each.attrs["Names"]}
    if expected.network:
        yield True, _network(expected.network, engine)
    if expected.server:
        state = states.get(expected.server, "missing")
        yield state == "running", f"server {expected.server}: {state}"
    services = list(expected.services)
    if services:
        yield _services(services, states)


def _network(name: str, engine: docker.DockerClient) -> str:
    for network in engine.networks.list(names=[name]):  # Docker matches a part of a name too
        if network.name == name:
            subnets = ", ".join(each["Subnet"] for each in network.attrs["IPAM"]["Config"] or [])
            return f"network {name}: found, {network.attrs['Driver']}, {subnets}"
    raise pulumi.RunError(f"network {name}: missing: `docker network create {name}`, or set network: created")


def _services(names: list[str], states: States) -> tuple[bool, str]:
    stopped = [f"{name} ({states.get(name, 'missing')})" for name in names if states.get(name) != "running"]
    line = f"services: {len(names) - len(stopped)} of {len(names)} containers run"
    if not stopped:
        return True, line
    more = [f"and {len(stopped) - _MAX_NAMES} more"] if len(stopped) > _MAX_NAMES else []
    return False, f"{line}; not {', '.join(stopped[:_MAX_NAMES] + more)}"
