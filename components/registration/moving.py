"""Moves a service to the agent of another Docker host, when the stack states it there.

Pulumi creates the new resource before it deletes the old one, and an agent tells the servers of a service only after a
moment. Therefore the service changes its node in the catalog first, in one transaction: clients find it once at every
look. Then the new agent gets it, with the status of its checks, and the old one forgets it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pulumi

from components.consul_connection import Connection
from components.registration.switching import register_with_status, stack_owner_prefix
from components.resource_hooks import consul_hook
from consul_cluster.client import Consul, NoAnswerError
from consul_cluster.ownership import DEFINITION_FILES, is_owned_by, with_owner
from services.consul_definition import definition
from services.model import Service
from services.roster import Roster


@dataclass(frozen=True)
class HostAgent:
    """The agent of a host, and the services that are stated there.

    Attributes:
        node: its name in the catalog.
        api: its API, with the token that registers services.
        roster: the services.
    """

    node: str
    api: Connection
    roster: Roster


@dataclass(frozen=True)
class Moving:
    """How services move between the agents of a stack.

    Attributes:
        agents: of all hosts.
        servers: the servers' API, with a token that may write every service.
    """

    agents: Sequence[HostAgent]
    servers: Connection

    def before_creation(self, name: str) -> pulumi.ResourceHookBinding:
        """Return the hook that moves the service of a resource, or all of them where it is a container with files.

        Args:
            name: of the hook.
        """

        async def move(args: pulumi.ResourceHookArgs) -> None:
            inputs = args.new_inputs or {}
            owner = inputs.get("mark", stack_owner_prefix() + DEFINITION_FILES)
            await self.move(owner, inputs.get("service_id"))

        return pulumi.ResourceHookBinding(before_create=[consul_hook(name, move)])

    async def move(self, owner: str, only: str | None = None) -> None:
        """Move one of the stack's own services, or all of them, to the agent of the host that they are stated on.

        Args:
            owner: the owner that they then have.
            only: id of the one.
        """
        servers, apis = await self.servers.consul(), {each.node: await each.api.consul() for each in self.agents}
        for agent in self.agents:
            for service in agent.roster.services:
                if only in (None, service.id):
                    _move(with_owner(service, owner), agent.node, apis, servers)


def _move(service: Service, node: str, agents: Mapping[str, Consul], servers: Consul) -> None:
    instances = {entry["Node"]["Node"]: entry for entry in servers.instances(service.name, service.id)}
    if node in instances:
        return
    prefix = stack_owner_prefix()
    for old, entry in instances.items():
        if old in agents and is_owned_by(entry["Service"]["Meta"], prefix):
            checks = {check["CheckID"]: check for check in entry["Checks"] if check["ServiceID"] == service.id}
            servers.move_in_catalog(entry["Service"], list(checks.values()), old, node)
            register_with_status(agents[node], service.id, _fields(service), checks)
            with suppress(NoAnswerError):  # its host is away, and its agent learns it from its own resource
                agents[old].deregister(service.id)


def _fields(service: Service) -> dict[str, Any]:
    return {key: value for key, value in definition(service).items() if key != "id"}
