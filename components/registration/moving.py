"""Moves a service to the agent of another host, when the roster states it there.

Pulumi creates the new resource before it deletes the old one: in between, clients would find the service twice, once
with a check that has not run. Therefore it first changes its node in the catalog, in one transaction. Then the new
agent gets it, with the status of its checks, and the old one forgets it. Both at once, and one service after the other,
which keeps the time in between to some milliseconds: at its next full look at the catalog, an agent removes what it
does not hold, and brings back what it still holds.

https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pulumi

from components.consul_connection import Connection
from components.registration.switching import register_with_status, stack_owner_prefix
from components.resource_hooks import consul_hook
from consul_cluster.client import Consul, ConsulError, NoAnswerError
from consul_cluster.ownership import DEFINITION_FILES, is_owned_by, with_owner
from services.consul_definition import definition
from services.model import Service
from services.roster import Roster

# By this check the servers show whether gossip reaches the agent of a node.
# https://developer.hashicorp.com/consul/docs/services/usage/checks
_GOSSIP_CHECK = "serfHealth"

_one_at_a_time = Lock()

Instance = Mapping[str, Any]
"""What the catalog has of a service on a node: `Node`, `Service` and `Checks`."""


@dataclass(frozen=True)
class HostAgent:
    """The agent of a host, and the services that are stated there.

    Attributes:
        node: its name in the catalog.
        api: its API, with a token that registers and removes the services.
        roster: the services; none if services only leave it.
    """

    node: str
    api: Connection
    roster: Roster


@dataclass(frozen=True)
class Moving:
    """How services move between the agents of a stack.

    Attributes:
        agents: of all hosts.
        servers: the servers' API, with a token that has `service:write` on the services.
        owner_prefix: what the owners of the stack's services begin with.
    """

    agents: Sequence[HostAgent]
    servers: Connection
    owner_prefix: str = field(default_factory=stack_owner_prefix)

    def before_creation(self, name: str) -> pulumi.ResourceHookBinding:
        """Return the hook that moves the service of a resource, or all of them where it is a container with files.

        With one agent there is none.

        Args:
            name: of the hook.
        """
        if len(self.agents) < 2:  # noqa: PLR2004 - from one to another
            return pulumi.ResourceHookBinding()

        async def move(args: pulumi.ResourceHookArgs) -> None:
            inputs = args.new_inputs or {}
            await self.move(inputs.get("mark", self.owner_prefix + DEFINITION_FILES), inputs.get("service_id"))

        return pulumi.ResourceHookBinding(before_create=[consul_hook(name, move)])

    async def move(self, owner: str, only: str | None = None) -> None:
        """Move one of the stack's own services, or all of them, to the agent of the host that they are stated on.

        Args:
            owner: what they then have as their owner: of another one, the new resource would not take them.
            only: id of the one.

        Raises:
            ConsulError: the agent or the servers refuse it. It is then where it was.
        """
        servers, apis = await self.servers.consul(), {each.node: await each.api.consul() for each in self.agents}
        for agent in self.agents:
            for service in agent.roster.services:
                if only in (None, service.id):
                    instances = servers.instances(service.name, service.id)
                    for instance in self._to_move(instances, agent.node, apis):
                        with _one_at_a_time:
                            _move(instance, with_owner(service, owner), agent.node, apis, servers)

    def _to_move(self, instances: Sequence[Instance], node: str, agents: Mapping[str, Consul]) -> Sequence[Instance]:
        """Return the instance that is the stack's own, if it is with another agent, and not yet on the node."""
        nodes = {instance["Node"]["Node"]: instance for instance in instances}
        own = [each for each in nodes.values() if is_owned_by(each["Service"]["Meta"], self.owner_prefix)]
        return [] if node in nodes else [each for each in own if each["Node"]["Node"] in agents][:1]


def _move(instance: Instance, service: Service, node: str, agents: Mapping[str, Consul], servers: Consul) -> None:
    old, entry, fields = instance["Node"]["Node"], instance["Service"], definition(service)
    checks = {check["CheckID"]: check for check in instance["Checks"] if check["ServiceID"] == service.id}
    agents[node].service(service.id)  # an agent that does not answer gets nothing
    servers.move_in_catalog(entry, checks.values(), old, node)
    try:
        register_with_status(agents[node], service.id, fields, checks)
    except ConsulError:
        servers.move_in_catalog(entry, checks.values(), node, old)
        with suppress(ConsulError):  # it may have taken the service all the same
            agents[node].deregister(service.id)
        raise
    if _is_reached(instance):
        with suppress(NoAnswerError):  # its own resource tries again when it is deleted
            agents[old].deregister(service.id)


def _is_reached(instance: Instance) -> bool:
    """Return whether the cluster reaches the agent of a node: a host that is away would be waited for, each time."""
    return not any(check["CheckID"] == _GOSSIP_CHECK and check["Status"] == "critical" for check in instance["Checks"])
