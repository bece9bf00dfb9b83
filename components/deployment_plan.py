"""What is deployed, and where: what each step of a deployment needs to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pulumi

from components.consul_connection import Connection
from components.registration.moving import HostAgent, Moving
from components.registration.switching import ServiceLocations
from docker_hosts import DockerHost
from services.roster import Roster
from settings import Settings

if TYPE_CHECKING:
    from components.cluster_keys import ClusterKeys

Tokens = Mapping[str, pulumi.Output[str]]


@dataclass(frozen=True)
class Access:
    """How Consul is reached, and with which rights.

    Attributes:
        servers: the servers' API, with the token of highest rights that the stack has.
        ca: PEM text of the authority behind the APIs' certificates.
        given: the access token that the settings give.
        keys: the keys of a cluster that the stack secures; None: it does not.
        tokens: the access tokens that the stack makes, by name.
        service_tokens: the same of the services, by group.
    """

    servers: Connection
    ca: pulumi.Input[str] | None
    given: str | None = field(repr=False)
    keys: "ClusterKeys | None"
    tokens: Tokens = field(default_factory=dict, repr=False)
    service_tokens: Tokens = field(default_factory=dict, repr=False)

    def token(self, name: str) -> pulumi.Input[str] | None:
        """Return the token of a name: the one that the stack makes, else the one that is given."""
        return self.tokens.get(name, self.given)

    @property
    def own_ca(self) -> pulumi.Output[str] | None:
        """The authority of a cluster that the stack secures: another one that is given is not for its containers."""
        return self.keys.ca if self.keys else None


@dataclass(frozen=True)
class Host:
    """A Docker host of the plan.

    Attributes:
        docker: how it is reached, and what of the cluster is on it.
        roster: the services whose containers run there.
        provider: of its Docker engine; None: the stack's default provider.
    """

    docker: DockerHost
    roster: Roster
    provider: pulumi.ProviderResource | None = None

    def of(self, name: str) -> str:
        """Return the name of a resource of this host."""
        return self.docker.of(name)

    def after(self, resources: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        """Return the option to be created on this host after other resources, and destroyed before them.

        Resources that are added to the sequence later are none of them.
        """
        return pulumi.ResourceOptions(depends_on=[*resources], provider=self.provider)


@dataclass(frozen=True)
class Plan:
    """What is deployed, and how far.

    Attributes:
        settings: what the stack decides.
        roster: the services.
        access: how Consul is reached.
        hosts: the Docker hosts.
    """

    settings: Settings
    roster: Roster
    access: Access
    hosts: tuple[Host, ...] = ()

    def agent(self, host: Host) -> Connection | None:
        """Return the API of a host's agent, with the token that registers services; None: it is not published."""
        address = host.docker.agent_address
        return Connection(address, self.access.token("registration"), self.access.ca) if address else None

    def servers(self, host: Host) -> Connection:
        """Return the API of the server that the services of a host drain to."""
        return Connection(host.docker.drains_to, self.access.servers.token, self.access.servers.ca)

    def locations(self, host: Host) -> ServiceLocations:
        """Return where the services of a host can be registered."""
        return ServiceLocations(
            self.agent(host),
            self.servers(host),
            self.settings.external_node,
            host.roster,
            host.docker.names,
            frozenset(service.id for service in self.roster.services)
            - {service.id for service in host.roster.services},
        )

    @property
    def moving(self) -> Moving:
        """How services move between the hosts whose agents' APIs are published.

        They also come from a server, which checks those of an agent that is replaced in the same run.
        """
        agents = [
            HostAgent(host.docker.names.agent_node, agent, host.roster)
            for host in self.hosts
            if (agent := self.agent(host))
        ]
        servers = [
            HostAgent(host.docker.names.server_node, replace(self.access.servers, address=address), Roster(services=()))
            for host in self.hosts
            if (address := host.docker.server_address)
        ]
        return Moving([*agents, *servers], self.access.servers)
