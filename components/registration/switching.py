"""Moving a stack from one registration to another: a service changes nodes at once, and takes its checks' status along.

The engine deletes what is stated no more after everything else. Until then a service would be in the catalog twice, on
the agent's node and on the external one. These hooks move what this stack itself registered, and nothing else, when
its successor is created; the engine's own deletion then finds it gone. A new check would be critical until its first
run, up to an interval later: until then, what the other registration last found is what is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from cluster.client import Consul, ConsulError
from cluster.ownership import is_owned_by, owner_prefix
from components.endpoint import Endpoint
from components.hooks import consul_hook
from services.definition import definition, register_request
from services.model import OWNER_KEY
from services.roster import Roster

Checks = Mapping[str, Mapping[str, Any]]


def stack_owner_prefix() -> str:
    """Return what the marks of the stack that runs begin with."""
    return owner_prefix(pulumi.get_project(), pulumi.get_stack())


@dataclass(frozen=True)
class ServiceLocations:
    """Where the stack's services can be.

    Attributes:
        agent: the shared agent's API, with the token that registers; None where it is not published.
        servers: the API of whose catalog it is.
        node: the external node.
        roster: the services.
        owner: what the marks of the stack's own begin with.
    """

    agent: Endpoint | None
    servers: Endpoint
    node: str
    roster: Roster
    owner_prefix: str = field(default_factory=stack_owner_prefix)


def refuse_foreign_node(servers: Consul, node: str, owned: str) -> None:
    """See that a node of the catalog is the stack's own, or none: what it is not, would be taken, and later removed.

    Raises:
        ConsulError: it is another party's.
    """
    found = servers.catalog_node(node)
    if found and not is_owned_by(found["Node"]["Meta"], owned):
        raise ConsulError(f"the catalog has a node {node!r} of another party: set externalNode to a free name")


def switch_to_agent(places: ServiceLocations) -> pulumi.ResourceHookBinding:
    """Move a service, or all of them, from the external node to the agent before the agent is to have it."""

    async def move(args: pulumi.ResourceHookArgs) -> None:
        await move_to_agent(places, (args.new_inputs or {}).get("service_id"))

    return pulumi.ResourceHookBinding(before_create=[consul_hook("move-to-agent", move)])


async def move_to_agent(places: ServiceLocations, only: str | None = None) -> None:
    """Move one of the stack's own services, or all of them, from the external node to the agent."""
    services = {service.id: service for service in places.roster.services}
    servers, agent = await places.servers.consul(), await places.agent.consul() if places.agent else None
    ours = {
        service_id: found["Meta"]
        for service_id, found in servers.node_services(places.node).items()
        if only in (None, service_id) and is_owned_by(found["Meta"], places.owner_prefix)
    }
    checks = servers.node_checks(places.node) if ours else []
    for service_id, meta in ours.items():
        servers.deregister_from_catalog(places.node, service_id)
        if agent and service_id in services:
            fields = definition(services[service_id])
            fields["meta"][OWNER_KEY] = meta[OWNER_KEY]
            agent.register(_with_status(register_request(fields), _by_id(checks, service_id)))


def switch_to_catalog(places: ServiceLocations) -> pulumi.ResourceHookBinding:
    """Move a service from the agent to the external node when it is created there, and keep its status when it changes.

    The provider writes a status with every change: critical for a new check, and otherwise one that it once read.
    """
    known: dict[str, Checks] = {}

    async def leave(args: pulumi.ResourceHookArgs) -> None:
        service_id = (args.new_inputs or {})["serviceId"]
        agent = await places.agent.consul() if places.agent else None
        found = agent.service(service_id) if agent else None
        if agent and found and is_owned_by(found["Meta"], places.owner_prefix):
            known[service_id] = agent.checks(service_id)
            agent.deregister(service_id)

    async def stay(args: pulumi.ResourceHookArgs) -> None:
        service_id = (args.new_inputs or {})["serviceId"]
        servers = await places.servers.consul()
        known[service_id] = _by_id(servers.node_checks(places.node), service_id)

    async def arrive(args: pulumi.ResourceHookArgs) -> None:
        inputs, servers = args.new_inputs or {}, await places.servers.consul()
        before, stated = known.get(inputs["serviceId"], {}), {check["checkId"] for check in inputs["checks"]}
        for check_id, check in _by_id(servers.node_checks(places.node), inputs["serviceId"]).items():
            if check_id not in stated:  # the provider changes and adds checks, and removes none
                servers.deregister_check(places.node, check_id)
            elif check_id in before:
                servers.set_status(check, before[check_id]["Status"], before[check_id]["Output"])

    arrives = consul_hook("arrive-in-catalog", arrive)
    return pulumi.ResourceHookBinding(
        before_create=[consul_hook("leave-agent", leave)],
        before_update=[consul_hook("stay-in-catalog", stay)],
        after_create=[arrives],
        after_update=[arrives],
    )


def _by_id(checks: list[dict[str, Any]], service_id: str) -> Checks:
    return {check["CheckID"]: check for check in checks if check["ServiceID"] == service_id}


def _with_status(body: dict[str, Any], known: Checks) -> dict[str, Any]:
    for check in body["Checks"]:
        if found := known.get(check["CheckID"]):
            check["Status"] = found["Status"]
    return body
