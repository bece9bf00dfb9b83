"""A stack as the commands see it."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import yaml

import settings
import stack_roster
import toolchain
from consul_cluster.client import Consul
from consul_cluster.cluster_names import ClusterNames
from consul_cluster.ownership import owner_prefix
from docker_hosts import DockerHost
from errors import UserError
from operations.command_line import DEFAULT_STACK
from operations.credentials import Credentials, Role, credentials
from operations.output import print_line
from operations.paths import LOCAL_FOLDER, ROOT
from operations.pulumi_engine import Engine
from operations.sandbox.processes import BackgroundProcess
from operations.sandbox.sandbox import Sandbox, sandbox
from services.model import Service
from services.roster import Roster, nearest


class StackError(UserError):
    """There is no such stack, or it has no such service."""


@dataclass(frozen=True)
class Stack:
    """A stack of the project.

    Attributes:
        name: its name.
        project: the project's name.
        settings: its configuration.
        roster: its services.
        engine: deploys it, and reads its state.
        sandbox: the processes of a stack without Docker.
        given_token: access token for Consul's APIs that the user gives.
        role: which of a secured stack's own access tokens is used otherwise.
    """

    name: str
    project: str
    settings: settings.Settings
    roster: Roster
    engine: Engine
    sandbox: Sandbox | None = None
    given_token: str | None = field(default=None, repr=False)
    role: Role = "verify"

    @classmethod
    def load(
        cls, name: str = DEFAULT_STACK, project: Path = ROOT, output: Callable[[str], object] = print_line
    ) -> "Stack":
        """Return a stack of a project. CONSUL_HTTP_TOKEN gives an access token, as to Consul's own commands.

        Args:
            name: the name of the stack.
            project: the folder of the project.
            output: takes each line of the engine's output.

        Raises:
            StackError: there is no such stack.
            settings.SettingsError: its file is wrong; the message has a line for each key.
            services.roster.RosterError: its services are wrong.
            stack_roster.UnfitServicesError: its registration cannot do what a service says.
        """
        file = project / f"Pulumi.{name}.yaml"
        if not file.is_file():
            names = sorted(each.name[len("Pulumi.") : -len(".yaml")] for each in project.glob("Pulumi.*.yaml"))
            raise StackError(f"there is no {file.name}: the stacks of this project are {', '.join(names)}")
        project_name = str(yaml.safe_load((project / "Pulumi.yaml").read_text())["name"])
        config = settings.of_file(file, project_name)
        roster = stack_roster.load(config)
        # Containers are written to the state one by one: one that no state knows would block the next run.
        engine = Engine(
            toolchain.pulumi,
            LOCAL_FOLDER / "pulumi",
            project,
            stack=name,
            print_line=output,
            checkpoints=config.docker,
        )
        return cls(
            name,
            project_name,
            config,
            roster,
            engine,
            sandbox(config, roster, name) if config.sandbox else None,
            os.environ.get("CONSUL_HTTP_TOKEN"),
        )

    def with_role(self, role: Role) -> "Stack":
        """Return a copy of this stack that uses the access token of another role."""
        return replace(self, role=role)

    def service(self, service_id: str) -> Service:
        """Return the service of an id, which is its name unless it has several instances.

        Raises:
            StackError: the roster has no such service.
        """
        for service in self.roster.services:
            if service.id == service_id:
                return service
        ids = [service.id for service in self.roster.services]
        near = nearest(service_id, ids)
        known = f"{near} is" if near else f"it has {', '.join(ids)}"
        raise StackError(f"there is no service {service_id!r} in services/: {known}")

    def stand_in(self, service_id: str) -> BackgroundProcess:
        """Return the process that stands in for a service.

        Raises:
            StackError: the stack has no such processes, or no such service.
        """
        service = self.service(service_id)
        if not self.sandbox:
            container = f"docker start {service.container}, or docker stop {service.container}"
            raise StackError(f"{service_id} has no stand-in process on stack {self.name}: {container}")
        return self.sandbox.stand_in(service)

    @property
    def names(self) -> ClusterNames:
        """What the parts of its cluster are called."""
        return self.settings.names

    @cached_property
    def hosts(self) -> tuple["StackHost", ...]:
        """Its hosts, each with the services that are registered there; one, unless its settings name several."""
        rosters = stack_roster.by_host(self.roster, self.settings)
        return tuple(StackHost(host, rosters[host.name], self.settings) for host in self.settings.docker_hosts)

    @cached_property
    def _host_of_id(self) -> Mapping[str, "StackHost"]:
        return {service.id: host for host in self.hosts for service in host.roster.services}

    def host_of(self, service: Service) -> "StackHost":
        """Return the host that a service is registered on."""
        return self._host_of_id[service.id]

    def node_of(self, service: Service) -> str:
        """Return the node that a service is registered on."""
        return self.host_of(service).node

    @property
    def drain_nodes(self) -> frozenset[str]:
        """The nodes of the servers that check services while an agent is replaced."""
        return frozenset(host.docker.names.server_node for host in self.hosts)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes on which the services are registered."""
        return tuple(host.node for host in self.hosts)

    @property
    def node(self) -> str:
        """All of them, for a line of text."""
        return ", ".join(self.nodes)

    @property
    def owner_prefix(self) -> str:
        """What the owners of the stack's registrations begin with."""
        return owner_prefix(self.project, self.name)

    @property
    def kv_entries(self) -> Mapping[str, str]:
        """The services' values in the KV store, JSON texts by key; none unless the stack writes them."""
        return self.roster.kv_configuration if self.settings.kv_configuration else {}

    @property
    def ui(self) -> str:
        """The address of the server's UI."""
        return f"{self.settings.server_address}/ui"

    @cached_property
    def credentials(self) -> Credentials:
        """The access token and the authority of the stack's role."""
        return credentials(self.settings, self.given_token, self.role, self.engine.outputs)

    @property
    def agents(self) -> Mapping[str, Consul]:
        """The APIs of the agents by their nodes, as far as they are published."""
        published = {host.docker.names.agent_node: host.docker.agent_address for host in self.hosts}
        return {node: self.credentials.client(address) for node, address in published.items() if address}

    @property
    def servers(self) -> Mapping[str, Consul]:
        """The APIs of the servers, by their nodes."""
        created = {
            host.docker.names.server_node: address for host in self.hosts if (address := host.docker.server_address)
        }
        addresses = created or {self.names.server_node: self.settings.server_address}
        return {node: self.credentials.client(address) for node, address in addresses.items()}

    @property
    def agent(self) -> Consul | None:
        """The API of an agent, of the first that answers; None if none is published."""
        return _first_that_answers(self.agents.values())

    @property
    def server(self) -> Consul:
        """The API of a server, of the first that answers."""
        found = _first_that_answers(self.servers.values())
        assert found  # noqa: S101 - each stack has one
        return found

    @property
    def consul(self) -> Consul:
        """The API that clients use: an agent's, or a server's if no agent's is published."""
        return self.agent or self.server


@dataclass(frozen=True)
class StackHost:
    """A host of a stack as the commands see it.

    Attributes:
        docker: how it is reached, and what of the cluster is on it.
        roster: the services that are registered there.
        settings: of the stack.
    """

    docker: DockerHost
    roster: Roster
    settings: settings.Settings

    @property
    def node(self) -> str:
        """The node that its services are registered on."""
        kind = self.settings.registration
        return self.settings.external_node if kind == "catalog" else self.docker.names.agent_node

    def resource(self, service: Service) -> str:
        """Return the name of the resource that registers one of its services."""
        return f"{self.docker.of('registration')}-{service.id}"


def _first_that_answers(apis: Collection[Consul]) -> Consul | None:
    """Return the first that answers; the first, if there is no other or none does."""
    return next((api for api in apis if len(apis) == 1 or api.answers()), next(iter(apis), None))
