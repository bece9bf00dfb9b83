"""The Docker hosts of a stack: how each is reached, and what of the cluster is on it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from consul_cluster.cluster_names import ClusterNames
from docker_engine import OWN_ENGINE, DockerEngine
from services.field_types import Frozen, Identifier
from setting_types import Interface, Unset

# https://docs.docker.com/engine/reference/commandline/dockerd/#daemon-socket-option
_ENGINE = re.compile(r"unix:///[!-~]+|ssh://[A-Za-z0-9_.@\[\]:-]+|tcp://[A-Za-z0-9_.\[\]:-]+:[0-9]{1,5}")
_CERTIFICATE_FILES = ("ca.pem", "cert.pem", "key.pem")

# The name becomes a part of containers' and nodes' names.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


def _engine(value: str) -> str:
    if not _ENGINE.fullmatch(value):
        raise ValueError(f"{value!r} must be ssh://USER@HOST, tcp://HOST:PORT or unix:///PATH")
    return value


def _certificates(value: str) -> str:
    if missing := [name for name in _CERTIFICATE_FILES if not (Path(value) / name).is_file()]:
        raise ValueError(f"{value!r} must be a folder with ca.pem, cert.pem and key.pem: {missing[0]} is missing")
    return value


def _host_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} must be 1 to 20 of the characters a-z 0-9 - and begin and end with none of -")
    return value


HostName = Annotated[str, AfterValidator(_host_name)]


class HostSettings(Frozen):
    """What a stack says of one of its Docker hosts.

    Attributes:
        engine: how its Docker engine is reached from where Pulumi runs.
        certificates: folder with ca.pem, cert.pem and key.pem, for tcp:// alone.
        address: its IP address, at which its APIs are published and reached.
        server: whether it has a Consul server.
        services: groups and ids of the services whose containers run there.
    """

    engine: Annotated[str, AfterValidator(_engine)]
    certificates: Annotated[Annotated[str, AfterValidator(_certificates)] | None, Unset] = None
    address: Interface
    server: bool = False
    services: tuple[Identifier, ...] = ()

    @model_validator(mode="after")
    def _tcp_with_tls(self) -> Self:
        if self.engine.startswith("tcp:") != bool(self.certificates):
            raise ValueError(
                "certificates: must be set with tcp://, and only there: an engine that answers TCP without TLS gives "
                "everybody the rights of root"
            )
        return self


def _distinct(hosts: Mapping[str, HostSettings]) -> Mapping[str, HostSettings]:
    """Accept names that `pulumi up --exclude '**-h3-*'` tells apart: it would leave out the resources of h3-b too."""
    for name in hosts:
        if longer := next((other for other in hosts if other.startswith(f"{name}-")), None):
            raise ValueError(f"{longer!r} must not begin with {name}-, which is another host: --exclude takes both")
    return hosts


def _in_order(hosts: Mapping[str, HostSettings]) -> Mapping[str, HostSettings]:
    """Return the hosts in the order of their names, h2 before h10.

    Pulumi hands them to the program sorted, and the commands read the stack's file: both are to have the same first
    host, whatever the order in the file.
    """
    return dict(sorted(hosts.items(), key=lambda each: (_numbered(each[0]), each[0])))


def _numbered(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


Hosts = Annotated[Mapping[HostName, HostSettings], AfterValidator(_distinct), AfterValidator(_in_order)]
"""The hosts of a stack, by name."""


@dataclass(frozen=True)
class Publish:
    """The address at which Docker publishes an API.

    Attributes:
        ip: address of the Docker host.
        port: on the Docker host.
        https: publish the HTTPS port instead of the plain one.
    """

    ip: str
    port: int
    https: bool = False


@dataclass(frozen=True)
class DockerHost:
    """A Docker host, and what of the cluster is on it.

    Attributes:
        name: of the host; blank: the stack has no other.
        engine: its Docker engine.
        names: of the cluster, with the names of its own agent and server.
        address: its IP address, at which its APIs are published.
        agent_address: the API of its agent; None: it is not published.
        server_address: the API of its server; None: the stack deploys none there.
        drains_to: the API of the server that checks its services while its agent is replaced.
        placed: groups and ids of the services whose containers run there; None: all of them.
    """

    name: str
    engine: DockerEngine
    names: ClusterNames
    address: str
    agent_address: str | None
    server_address: str | None
    drains_to: str
    placed: frozenset[str] | None = None

    def of(self, name: str) -> str:
        """Return the name of a resource of this host."""
        return f"{name}-{self.name}" if self.name else name

    @property
    def agent_publish(self) -> Publish | None:
        """Where Docker publishes the API of its agent, if it does."""
        return self._publish(self.agent_address)

    @property
    def server_publish(self) -> Publish | None:
        """The same of the API and UI of its server."""
        return self._publish(self.server_address)

    @property
    def reached_at(self) -> frozenset[str]:
        """What its APIs are reached at: what their certificates are to name."""
        urls = filter(None, (self.agent_address, self.server_address))
        return frozenset({"127.0.0.1", self.address, *(urlsplit(url).hostname or "" for url in urls)})

    def _publish(self, address: str | None) -> Publish | None:
        if not address:
            return None
        return Publish(self.address, urlsplit(address).port or 0, address.startswith("https:"))


def docker_hosts(
    hosts: Mapping[str, HostSettings], names: ClusterNames, agent_address: str | None, server_address: str
) -> tuple[DockerHost, ...]:
    """Return the hosts that a stack names, each with an agent of its own.

    Args:
        hosts: by name.
        names: of the cluster.
        agent_address: the API of one of the agents: all of them have its scheme and port.
        server_address: the same of the servers.
    """
    first = next(name for name, host in hosts.items() if host.server)
    servers = {name: name if host.server else first for name, host in hosts.items()}
    return tuple(
        DockerHost(
            name,
            DockerEngine(host.engine, host.certificates),
            _names_on(name, servers[name], names),
            host.address,
            agent_address and _at(agent_address, host.address),
            _at(server_address, host.address) if host.server else None,
            _at(server_address, hosts[servers[name]].address),
            frozenset(host.services),
        )
        for name, host in hosts.items()
    )


def single_host(
    names: ClusterNames, address: str, agent_address: str | None, server_address: str, *, creates_server: bool
) -> DockerHost:
    """Return the one host of a stack that names none. Its engine is that of the stack's `docker:host`."""
    own_server = server_address if creates_server else None
    return DockerHost("", OWN_ENGINE, names, address, agent_address, own_server, server_address)


def _names_on(host: str, server: str, names: ClusterNames) -> ClusterNames:
    """Return the names of a host's agent, and of the server that its services drain to: its own, or the first."""
    return replace(
        names,
        servers=names.server_container,
        agent_node=_name_on(host, names.agent_node),
        agent_container=_name_on(host, names.agent_container),
        server_node=_name_on(server, names.server_node),
        server_container=_name_on(server, names.server_container),
    )


def _name_on(host: str, name: str) -> str:
    return f"{name.removesuffix('-shared')}-{host}"  # it is shared no more


def _at(url: str, address: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{f'[{address}]' if ':' in address else address}:{parts.port}"
