"""What a stack expects to be on the Docker engine already, and what is there: a line each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import docker
import pulumi
from docker.errors import DockerException
from requests.exceptions import RequestException

States = Mapping[str, str]

_AT_MOST = 5  # names in a line: in the preview of a pull request, all 40 are away


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
    """Log what is there, and as a warning what is not: a service that is away is registered all the same.

    Raises:
        pulumi.RunError: the network is not there, without which no container can be.
    """
    try:
        lines = list(_lines(expected, _client()))
    except (DockerException, RequestException) as error:
        lines = [(False, f"Docker does not say what is there: {error}")]
    for right, line in lines:
        (pulumi.log.info if right else pulumi.log.warn)(line)


def _client() -> docker.DockerClient:
    """Return the engine that the docker provider works on: `docker:host`, or what the environment says."""
    host = pulumi.Config("docker").get("host")
    return docker.DockerClient(host, use_ssh_client=True) if host else docker.from_env(use_ssh_client=True)


def _lines(expected: Prerequisites, engine: docker.DockerClient) -> Iterator[tuple[bool, str]]:
    listed = engine.containers.list(all=True, sparse=True)  # in one request: inspects none of them
    states = {name.removeprefix("/"): each.status for each in listed for name in each.attrs["Names"]}
    if expected.network:
        yield True, _network(expected.network, engine)
    if expected.server:
        state = states.get(expected.server, "missing")
        yield state == "running", f"server {expected.server}: {state}"
    services = list(expected.services)
    if services:
        yield _services(services, states)


def _network(name: str, engine: docker.DockerClient) -> str:
    for found in engine.networks.list(names=[name]):
        if found.name == name:
            subnets = ", ".join(each["Subnet"] for each in found.attrs["IPAM"]["Config"] or [])
            return f"network {name}: found, {found.attrs['Driver']}, {subnets}"
    raise pulumi.RunError(f"network {name}: missing: `docker network create {name}`, or set network: created")


def _services(names: list[str], states: States) -> tuple[bool, str]:
    away = [f"{name} ({states.get(name, 'missing')})" for name in names if states.get(name) != "running"]
    told = away[:_AT_MOST] + ([f"and {len(away) - _AT_MOST} more"] if len(away) > _AT_MOST else [])
    line = f"services: {len(names) - len(away)} of {len(names)} containers run"
    return not away, f"{line}; not {', '.join(told)}" if away else line
