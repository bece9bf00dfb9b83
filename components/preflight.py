"""The preflight of a deployment: what has to be there already, and is looked for before anything is created.

A preview looks for nothing: a pull request's runs where neither staging's Docker nor its Consul can be reached.
"""

import errno
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import docker
import pulumi
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.models.networks import Network
from requests.exceptions import RequestException

from components.template_parsing import Templates, parse_error
from consul_cluster.client import Consul, ConsulError, ForbiddenError, NoAnswerError, Right
from consul_cluster.versions import Version, shown, version_in, version_of_image
from docker_engine import OWN_ENGINE, DockerEngine, docker_client
from docker_hosts import Publish
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
class ExistingServer:
    """A Consul server that others deployed.

    Attributes:
        container: its container.
        api: its API.
        datacenter: that it has to be in.
        rights: that the tokens which others made need with it.
        needed_here: whether the deployment itself asks the API.
    """

    container: str
    api: Consul
    datacenter: str
    rights: Sequence[TokenRights] = ()
    needed_here: bool = True


@dataclass(frozen=True)
class Prerequisites:
    """What a stack does not create itself on a Docker host.

    Attributes:
        engine: the host's Docker engine.
        host: name of the host; blank: the stack has no other.
        network: name of the network, or None.
        server: the Consul server that the stack expects there, or None.
        services: names of the containers of the services that are stated there.
        elsewhere: the same of the stack's other hosts.
        consul_image: that Consul's containers are made of.
        images: that other containers of the stack are made of.
        templates: that consul-template has to be able to parse, or None.
        own_server: the container of the server that the stack deploys there, or None.
        ports: at which the stack publishes, by the name of the container.
    """

    engine: DockerEngine = OWN_ENGINE
    host: str = ""
    network: str | None = None
    server: ExistingServer | None = None
    services: Collection[str] = ()
    elsewhere: Collection[str] = ()
    consul_image: str | None = None
    images: Iterable[str] = ()
    templates: Templates | None = None
    own_server: str | None = None
    ports: Mapping[str, Publish] = field(default_factory=dict)


def report(hosts: Sequence[Prerequisites]) -> None:
    """Log what is there, and as a warning what is not and can come later, such as a service that does not run.

    Raises:
        pulumi.RunError: something is missing without which the deployment fails; has a line for each.
    """
    if pulumi.runtime.is_dry_run():
        return
    with ThreadPoolExecutor(len(hosts)) as at_once:  # a host that is away answers after seconds
        found = list(at_once.map(_look_at, hosts))
    for met, line in (line for each in found for line in each.lines):
        (pulumi.log.info if met else pulumi.log.warn)(line)
    _refuse([problem for each in found for problem in each.problems])


@dataclass(frozen=True)
class _Found:
    """What a look at a host found: lines for the log, each with whether it is as expected, and what is missing."""

    lines: Sequence[tuple[bool, str]]
    problems: Sequence[str] = ()


def _look_at(expected: Prerequisites) -> _Found:
    lines, problems = list[tuple[bool, str]](), list[str]()
    try:
        engine = docker_client(expected.engine)
        containers = engine.containers.list(all=True, sparse=True)  # one request: none of them is inspected
        lines += _lines(expected, containers)
        for problem in _problems(expected, engine, containers):
            problems.append(problem)  # kept, should Docker fail later
    except (DockerException, RequestException) as error:
        lines.append((False, f"Docker does not answer: {error}. {_instead(expected.host)}"))
    return _Found([(met, _of(expected, line)) for met, line in lines], [_of(expected, line) for line in problems])


def _of(expected: Prerequisites, line: str) -> str:
    return f"host {expected.host}: {line}" if expected.host else line


def _instead(host: str) -> str:
    """Return what to do while an engine is away: Pulumi's Docker provider needs that of each host."""
    if not host:
        return "Start it, or set DOCKER_HOST to where it is"
    return f"Deploy the others with pulumi up --exclude '**-{host}' --exclude '**-{host}-*'"


def refuse_unfit_agent(token: TokenRights) -> None:
    """Refuse to go on with an agent of others that does not answer, or with a token that lacks rights there.

    The services of an agent that the stack named before would be removed from it, and then be registered nowhere.

    Raises:
        pulumi.RunError: says so.
    """
    if pulumi.runtime.is_dry_run():
        return
    problems: list[str] = []
    try:
        token.consul.datacenters()
        problems += _missing_rights(token)
    except NoAnswerError as error:
        problems.append(f"agentAddress: {error}")
    except ConsulError:  # the registrations fail next, and say why
        pass
    _refuse(problems)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise pulumi.RunError("nothing was changed:\n" + "\n".join(problems))


def _names(container: Container) -> list[str]:
    return [name.removeprefix("/") for name in container.attrs["Names"]]


def _states(containers: Sequence[Container]) -> States:
    """Return the state of each container, by each of its names."""
    return {name: each.status for each in containers for name in _names(each)}


def _lines(expected: Prerequisites, containers: Sequence[Container]) -> Iterator[tuple[bool, str]]:
    states = _states(containers)
    if expected.server and (state := states.get(expected.server.container, "missing")) in ("running", "missing"):
        yield state == "running", f"server {expected.server.container}: {state}"
    if services := list(expected.services):
        yield _services(services, states)
    for name in expected.elsewhere:
        if name in states:
            yield False, f"container {name}: is here, and its service is stated on another host: see hosts"


def _services(names: list[str], states: States) -> tuple[bool, str]:
    stopped = [f"{name} ({states.get(name, 'missing')})" for name in names if states.get(name) != "running"]
    line = f"services: {len(names) - len(stopped)} of {len(names)} containers run"
    if not stopped:
        return True, line
    more = [f"and {len(stopped) - _MAX_NAMES} more"] if len(stopped) > _MAX_NAMES else []
    return False, f"{line}; not {', '.join(stopped[:_MAX_NAMES] + more)}"


def _problems(expected: Prerequisites, engine: docker.DockerClient, containers: Sequence[Container]) -> Iterator[str]:
    if expected.network and not _has_network(expected.network, engine, several=bool(expected.host)):
        create = f"`docker network create {expected.network}`"
        if expected.host:
            create = f"`docker network create --driver overlay --attachable {expected.network}` on a swarm's manager"
        yield f"network {expected.network}: missing: {create}, or set network: created"
    if expected.server:
        yield from _server_that_is_not_there(expected, engine, containers)
        yield from _refused_by_server(expected.server)
    yield from _wrong_version(expected, containers)
    images = [image for image in (expected.consul_image, *expected.images) if image]
    missing = {image: line for image in dict.fromkeys(images) if (line := _missing_image(image, engine))}
    yield from missing.values()
    if (
        expected.templates
        and expected.templates.image not in missing
        and (line := parse_error(engine, expected.templates))
    ):
        yield line
    for container, at in expected.ports.items():
        yield from _taken_port(container, at, containers, local=expected.engine.is_local)


def _has_network(name: str, engine: docker.DockerClient, *, several: bool) -> bool:
    if several and not engine.info()["Swarm"]["ControlAvailable"]:
        return True  # a swarm's worker shows an overlay network only while a container of its own is on it
    return bool(_networks(name, engine))


def _networks(name: str, engine: docker.DockerClient) -> list[Network]:
    """Return the networks of a name; Docker matches a part of a name too."""
    return [each for each in engine.networks.list(names=[name]) if each.name == name]


def _server_that_is_not_there(
    expected: Prerequisites, engine: docker.DockerClient, containers: Sequence[Container]
) -> Iterator[str]:
    """Yield a line if the agent could not join, which looks for the server by the name of its container."""
    assert expected.server  # noqa: S101 - who calls this has looked
    name = expected.server.container
    state = _states(containers).get(name)
    if state:
        if state != "running":
            yield f"server {name}: {state}: docker {'unpause' if state == 'paused' else 'start'} {name}"
        return  # only of one that is missing, the rest is asked, which a name server may take long to answer
    several = expected.host or _is_overlay(expected.network, engine)
    # What another machine can resolve is not seen here; names of containers seldom have a dot.
    is_host = _is_host(name) if expected.engine.is_local else "." in name
    if not several and not is_host and not _is_alias(name, engine, containers):
        known = "this Docker engine has no container of this name or alias, and it is no host name"
        yield f"server {name}: missing: {known}: set serverContainer in Pulumi.{pulumi.get_stack()}.yaml"


def _is_overlay(network: str | None, engine: docker.DockerClient) -> bool:
    """Return whether a network has containers of other hosts, which this engine does not show."""
    return network is not None and any(each.attrs["Driver"] == "overlay" for each in _networks(network, engine))


def _is_alias(name: str, engine: docker.DockerClient, containers: Sequence[Container]) -> bool:
    inspected = (engine.api.inspect_container(each.attrs["Id"]) for each in containers)
    networks = (network for each in inspected for network in each["NetworkSettings"]["Networks"].values())
    return any(name in (each["Aliases"] or ()) for each in networks)


def _is_host(name: str) -> bool:
    with suppress(OSError):
        return bool(socket.gethostbyname(name))
    return False


def _refused_by_server(server: ExistingServer) -> Iterator[str]:
    with suppress(ConsulError):  # the agent's registrations fail next, and say why
        try:
            datacenter, *_ = server.api.datacenters()
        except NoAnswerError as error:
            if server.needed_here:
                yield f"server {server.container}: {error}: set serverAddress to where its API is reached from here"
            return
        if datacenter != server.datacenter:
            right = f"in {server.datacenter!r}: set datacenter in Pulumi.{pulumi.get_stack()}.yaml"
            yield f"server {server.api.address}: is in datacenter {datacenter!r}, and the agent {right}"
        for token in server.rights:
            yield from _missing_rights(token)


def _wrong_version(expected: Prerequisites, containers: Sequence[Container]) -> Iterator[str]:
    """Yield a line for an image that is older than the stack's own server, or newer than the existing one.

    https://developer.hashicorp.com/consul/docs/upgrading
    """
    image = expected.consul_image or ""
    wanted = version_of_image(image)
    if not wanted:
        return
    own = next((each for each in containers if expected.own_server in _names(each) and each.status == "running"), None)
    if own and (running := version_in(str(own.exec_run(["consul", "version"]).output))) and wanted < running:
        why = f"is older than Consul {shown(running)}, which {expected.own_server} runs: servers cannot go back"
        yield f"image {image}: {why}: set consulImage to {shown(running)} or a later one"
    if expected.server and (running := _version(expected.server.api)) and wanted > running:
        why = f"is newer than the server {expected.server.api.address}, which is Consul {shown(running)}"
        yield f"image {image}: {why}: upgrade the servers first, or set consulImage to that"


def _version(server: Consul) -> Version | None:
    with suppress(ConsulError):  # it does not answer here, or does not say
        return version_in(server.version())
    return None


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


def _missing_image(name: str, engine: docker.DockerClient) -> str | None:
    try:
        engine.images.get(name)
    except ImageNotFound:
        try:
            engine.images.get_registry_data(name)
        except APIError as error:
            return f"image {name}: this Docker engine does not have it, and cannot pull it: {error.explanation}"
    return None


def _taken_port(container: str, at: Publish, containers: Sequence[Container], *, local: bool) -> Iterator[str]:
    ip, port = at.ip, at.port
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - what others publish
    for other in containers:
        names = _names(other)
        ports = other.attrs.get("Ports") or []
        published = {each.get("IP") for each in ports if each.get("PublicPort") == port}
        if published & {ip, *everywhere} or (published and ip in everywhere):
            if container not in names:
                yield f"port {ip}:{port}: is taken by container {names[0]}: give {container} another one"
            return
    error = why_nothing_can_listen(ip, port) if local else None
    if error and error.errno == errno.EADDRINUSE:
        yield f"port {ip}:{port}: is taken by another process: give {container} another one"
