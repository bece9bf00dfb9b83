"""The preflight of a deployment: what has to be there already, and is looked for before anything is created.

A preview looks for nothing: a pull request's runs where neither staging's Docker nor its Consul can be reached.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import docker
import pulumi
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

from consul_cluster.client import Consul, ConsulError, ForbiddenError, Right
from consul_cluster.cluster_names import STAGING_NAMES
from docker_engine import docker_client
from port_probe import why_nothing_can_listen

States = Mapping[str, str]

_MAX_NAMES = 5  # in a line


@dataclass(frozen=True)
class TokenRights:
    """The rights that a token needs, which others made.

    Attributes:
        key: of the settings, that has the token.
        given: whether there is one: without a token, Consul may allow some things to everybody.
        consul: who is asked for the rights, with the token.
        rights: that it needs.
    """

    key: str
    given: bool
    consul: Consul
    rights: Sequence[Right]


@dataclass(frozen=True)
class Prerequisites:
    """What a stack does not create itself.

    Attributes:
        network: name of the network, or None.
        server: name of the Consul server's container, or None.
        server_api: the API of that server, or None.
        datacenter: that the server has to be in.
        services: names of the services' containers.
        images: that containers of the stack are made of.
        ports: addresses of the Docker host at which the stack publishes, by the name of the container.
        rights: that the tokens which others made need with the server.
    """

    network: str | None = None
    server: str | None = None
    server_api: Consul | None = None
    datacenter: str = STAGING_NAMES.datacenter
    services: Iterable[str] = ()
    images: Iterable[str] = ()
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    rights: Sequence[TokenRights] = ()


def report(expected: Prerequisites) -> None:
    """Log what is there, and as a warning what is not and can come later, such as a service that does not run.

    Raises:
        pulumi.RunError: something is missing without which the deployment fails; has a line for each.
    """
    if pulumi.runtime.is_dry_run():
        return
    host = pulumi.Config("docker").get("host")
    try:
        engine = docker_client(host)
        containers = engine.containers.list(all=True, sparse=True)  # one request: none of them is inspected
        lines = list(_lines(expected, containers))
        problems = list(_problems(expected, engine, containers, local=host is None))
    except (DockerException, RequestException) as error:
        lines, problems = [(False, f"Docker does not answer: {error}")], []
    for met, line in lines:
        (pulumi.log.info if met else pulumi.log.warn)(line)
    _refuse(problems)


def refuse_missing_rights(tokens: Sequence[TokenRights]) -> None:
    """Refuse to go on with tokens that lack rights.

    Raises:
        pulumi.RunError: has a line for each token that does.
    """
    problems: list[str] = []
    if not pulumi.runtime.is_dry_run():
        with suppress(ConsulError):  # whose registrations fail next, and say why
            problems += [line for token in tokens for line in _missing_rights(token)]
    _refuse(problems)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise pulumi.RunError("nothing was changed:\n" + "\n".join(problems))


def _names(container: Container) -> list[str]:
    return [name.removeprefix("/") for name in container.attrs["Names"]]


def _lines(expected: Prerequisites, containers: Sequence[Container]) -> Iterator[tuple[bool, str]]:
    states = {name: each.status for each in containers for name in _names(each)}
    if expected.server:
        state = states.get(expected.server, "missing")
        yield state == "running", f"server {expected.server}: {state}"
    services = list(expected.services)
    if services:
        yield _services(services, states)


def _services(names: list[str], states: States) -> tuple[bool, str]:
    stopped = [f"{name} ({states.get(name, 'missing')})" for name in names if states.get(name) != "running"]
    line = f"services: {len(names) - len(stopped)} of {len(names)} containers run"
    if not stopped:
        return True, line
    more = [f"and {len(stopped) - _MAX_NAMES} more"] if len(stopped) > _MAX_NAMES else []
    return False, f"{line}; not {', '.join(stopped[:_MAX_NAMES] + more)}"


def _problems(
    expected: Prerequisites, engine: docker.DockerClient, containers: Sequence[Container], *, local: bool
) -> Iterator[str]:
    if expected.network and not _has_network(expected.network, engine):
        create = f"`docker network create {expected.network}`, or set network: created"
        yield f"network {expected.network}: missing: {create}"
    if expected.server_api:
        yield from _refused_by_server(expected.server_api, expected.datacenter, expected.rights)
    for image in dict.fromkeys(expected.images):
        yield from _missing_image(image, engine)
    for container, (ip, port) in expected.ports.items():
        yield from _taken_port(container, ip, port, containers, local=local)


def _has_network(name: str, engine: docker.DockerClient) -> bool:
    return any(each.name == name for each in engine.networks.list(names=[name]))  # Docker matches a part of a name too


def _refused_by_server(server: Consul, expected: str, tokens: Sequence[TokenRights]) -> Iterator[str]:
    with suppress(ConsulError):  # it does not answer here: the agent may reach it all the same
        datacenter, *_ = server.datacenters()
        if datacenter != expected:
            right = f"pulumi config set datacenter {datacenter}"
            yield f"server {server.address}: is in datacenter {datacenter!r}, and the agent in {expected!r}: {right}"
        for token in tokens:
            yield from _missing_rights(token)


def _missing_rights(token: TokenRights) -> Iterator[str]:
    try:
        missing = token.consul.missing_rights(token.rights)
    except ForbiddenError:
        yield f"{token.key}: {token.consul.address} does not know this token"
        return
    if missing:
        names = dict[str, list[str]]()
        for right in missing:
            names.setdefault(f"{right.resource}:{right.access}", []).append(right.name or "every name")
        lacking = ", ".join(f"{kind} on {' '.join(each)}" for kind, each in names.items())
        yield f"{token.key}: {'lacks' if token.given else 'is not set, and without it Consul denies'} {lacking}"


def _missing_image(name: str, engine: docker.DockerClient) -> Iterator[str]:
    try:
        engine.images.get(name)
    except ImageNotFound:
        try:
            engine.images.get_registry_data(name)
        except APIError as error:
            yield f"image {name}: this Docker engine does not have it, and cannot pull it: {error.explanation}"


def _taken_port(container: str, ip: str, port: int, containers: Sequence[Container], *, local: bool) -> Iterator[str]:
    everywhere = ("0.0.0.0", "::")  # noqa: S104 - what others publish
    for other in containers:
        names = _names(other)
        published = {(each.get("IP"), each.get("PublicPort")) for each in other.attrs.get("Ports") or []}
        if any((host, port) in published for host in (ip, *everywhere)):
            if container not in names:
                yield f"port {ip}:{port}: is taken by container {names[0]}: give {container} another one"
            return
    error = why_nothing_can_listen(ip, port) if local else None
    if error and error.errno == errno.EADDRINUSE:
        yield f"port {ip}:{port}: is taken by another process: give {container} another one"
