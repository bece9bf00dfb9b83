"""Switches a stack between registrations: each service moves between nodes at once, with the status of its checks.

Pulumi deletes old resources after it has created all new ones. Until then the catalog would contain each service
twice, on the agent's node and on the external node. These hooks move a service when its new resource is created, and
only a service that the stack itself registered; Pulumi's own deletion then has nothing left to delete. The status moves
too, since a new check would be critical until its first run, up to an interval later.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pulumi

from components.consul_connection import Connection
from components.resource_hooks import consul_hook, in_own_thread
from consul_cluster.client import (
    NODE_MAINTENANCE,
    Consul,
    ConsulError,
    ForbiddenError,
    NoAnswerError,
    is_maintenance,
)
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from consul_cluster.ownership import is_owned_by, owner_prefix
from services.consul_definition import definition, register_request
from services.field_types import OWNER_KEY
from services.roster import Roster
from waiting import wait_until

UNSETTLED = "unsettled"
"""In a state: a refresh has not found the service on its agent alone, so this run has to look after it."""

# An agent refuses a server with the name of one that it has not yet given up, which takes it 5 to 6 s.
_REJOIN_SECONDS = 20

_FOREVER = "87600h"  # after which a TTL check turns critical, which this one is anyway

Checks = Mapping[str, Mapping[str, Any]]
"""Consul's checks, by id."""


def stack_owner_prefix() -> str:
    """Return what the owners of the current stack's services begin with."""
    return owner_prefix(pulumi.get_project(), pulumi.get_stack())


@dataclass(frozen=True)
class ServiceLocations:
    """Where the stack's services can be registered.

    Attributes:
        agent: the shared agent's API, with the token that registers services; None: the API is not published.
        servers: the API of the servers that hold the catalog.
        node: the external node.
        roster: the services.
        names: of the cluster.
        elsewhere: ids of the services of the stack's other hosts, which are left as they are.
        owner_prefix: what the owners of the stack's services begin with.
    """

    agent: Connection | None
    servers: Connection
    node: str
    roster: Roster
    names: ClusterNames = STAGING_NAMES
    elsewhere: frozenset[str] = frozenset()
    owner_prefix: str = field(default_factory=stack_owner_prefix)


def refuse_foreign_node(servers: Consul, node: str, prefix: str) -> None:
    """Check that the catalog has no such node, or that the stack owns it: the stack would change and later remove it.

    Raises:
        ConsulError: another party owns it.
    """
    entry = servers.catalog_node(node)
    if entry and not is_owned_by(entry["Node"]["Meta"], prefix):
        raise ConsulError(f"the catalog has a node {node!r} of another party: set externalNode to a free name")


def switch_to_agent(name: str, locations: ServiceLocations, *, servers_may_be_away: bool) -> pulumi.ResourceHookBinding:
    """Return the hook that moves a service, or all of them, to the agent before their resource is written.

    A resource that is updated may have its service on the server, after an interrupted run (`draining`).

    Args:
        name: of the hook.
        locations: where the services can be.
        servers_may_be_away: where they do not answer, the hook does nothing; False: it fails.
    """
    has_looked = False

    async def move(args: pulumi.ResourceHookArgs) -> None:
        nonlocal has_looked
        if not has_looked:
            has_looked = True
            await _rejoin(locations)
        inputs = args.new_inputs or {}
        await move_to_agent(locations, inputs.get("service_id"), inputs.get("mark"))
        if (args.old_outputs or {}).get(UNSETTLED):
            await _remove_dropped(locations)

    hook = consul_hook(name, move) if servers_may_be_away else pulumi.ResourceHook(name, move)
    return pulumi.ResourceHookBinding(before_create=[hook], before_update=[hook])


async def _rejoin(locations: ServiceLocations) -> None:
    """Have an agent that has lost the servers look for them by their name, as it does by itself only when it starts.

    Servers that are back at the same address find it themselves, within a minute. In a secured cluster, the token for
    registrations lacks the right, `agent:write`: there, the services' resources fail, and say what to do.
    https://developer.hashicorp.com/consul/api-docs/agent#join-agent
    """
    agent = await locations.agent.consul() if locations.agent else None
    if agent and agent.has_lost_servers():
        joins = partial(_joins, agent, locations.names.retry_join)
        await in_own_thread(lambda: wait_until(joins, _REJOIN_SECONDS, pause=2))


def _joins(agent: Consul, servers: str) -> bool:
    """Return whether an agent has the servers now, or may not be told to join them."""
    try:
        agent.join(servers)
    except ForbiddenError:
        return True
    except ConsulError:
        return False
    return not agent.has_lost_servers()


async def move_to_agent(locations: ServiceLocations, only: str | None = None, owner: str | None = None) -> None:
    """Move one of the stack's own services, or all of them, to the agent from where else they are.

    They are on the external node before a switch, and on the server after an interrupted run (`draining`). There, no
    resource removes what the roster has no more: it is removed here.
    """
    servers = await locations.servers.consul()
    agent = await locations.agent.consul() if locations.agent else None
    stated = {service.id: service for service in locations.roster.services}

    def move(service_id: str, meta: Mapping[str, str], checks: Checks, leave: Callable[[], None]) -> None:
        if not agent or service_id not in stated:
            return leave()
        fields = definition(stated[service_id])
        fields["meta"][OWNER_KEY] = owner or meta[OWNER_KEY]  # of another host's, the new resource would not take it
        try:
            return move_with_status(agent, service_id, fields, checks, leave)
        except NoAnswerError as error:
            raise ConsulError(f"{service_id} may be registered nowhere for now: {error}. Run it again") from None

    on_node = _owned(servers.node_services(locations.node), locations)
    on_server = _on_server(servers, agent, locations)
    if agent and (on_node or on_server):
        _refuse_silent_agent(agent)
    node_checks = servers.node_checks(locations.node) if on_node else []
    for service_id, meta in on_node.items():
        if only in (None, service_id):
            leave_node = partial(servers.deregister_from_catalog, locations.node, service_id)
            move(service_id, meta, _checks_of(service_id, node_checks), leave_node)
    if on_node:
        _remove_empty_node(servers, locations)
    for service_id, meta in on_server.items():
        if only in (None, service_id) or service_id not in stated:
            # In maintenance it can be with both, after an interrupted run.
            checks = {**(agent.checks(service_id) if agent else {}), **servers.checks(service_id)}
            move(service_id, meta, checks, partial(servers.deregister, service_id))


async def _remove_dropped(locations: ServiceLocations) -> None:
    """Remove from the agent what the roster has dropped: one that died before it was told has it when it is back."""
    if locations.agent:
        agent = await locations.agent.consul()
        stated = {service.id for service in locations.roster.services}
        for service_id in _owned(agent.all_services(), locations).keys() - stated:
            agent.deregister(service_id)


def _refuse_silent_agent(agent: Consul) -> None:
    """Check that an agent answers, before a service leaves for it the place where it is found.

    Raises:
        ConsulError: it does not.
    """
    try:
        agent.all_services()
    except NoAnswerError as error:
        raise ConsulError(f"the services stay where they are: {error}. Run it again when it answers") from None


def _owned(services: Mapping[str, Mapping[str, Any]], locations: ServiceLocations) -> dict[str, Mapping[str, str]]:
    """Return the meta of the stack's own services, by id."""
    metas = {key: service["Meta"] for key, service in services.items() if key not in locations.elsewhere}
    return {service_id: meta for service_id, meta in metas.items() if is_owned_by(meta, locations.owner_prefix)}


def _on_server(servers: Consul, agent: Consul | None, locations: ServiceLocations) -> dict[str, Mapping[str, str]]:
    """Return the same of the services that the server's own agent holds."""
    if agent and agent.address == servers.address:
        return {}  # the stack has one agent for both
    return _owned(servers.all_services(), locations)


def move_with_status(
    consul: Consul, service_id: str, fields: Mapping[str, Any], checks: Checks, leave: Callable[[], None]
) -> None:
    """Move a service, with the status of its checks. Clients never find it twice.

    They find none that is in maintenance. Such a service arrives before it leaves, so that a run that is killed in
    between does not lose the maintenance.

    Args:
        consul: the agent that gets it.
        service_id: its id.
        fields: its fields, in the form of `consul_cluster.drift.read_service`.
        checks: its checks where it was, by id.
        leave: removes it there.
    """
    request = _request_with_status(service_id, fields, checks)  # what can fail comes before it leaves
    if is_in_maintenance(checks):
        consul.register(request)
        leave()
    else:
        leave()
        consul.register(request)


def is_in_maintenance(checks: Checks) -> bool:
    """Return whether a service with these checks is in maintenance mode."""
    return any(is_maintenance(check_id) for check_id in checks)


def register_with_status(consul: Consul, service_id: str, fields: Mapping[str, Any], checks: Checks) -> None:
    """Register a service that comes from elsewhere: with the status of its checks there, and in maintenance as there.

    Consul knows a maintenance by the id of its check. It is part of the registration, as a check that never passes:
    if it came afterwards, clients could find the service in between.

    Args:
        consul: the agent that gets it.
        service_id: its id.
        fields: its fields, in the form of `consul_cluster.drift.read_service`.
        checks: its checks there, by id.
    """
    consul.register(_request_with_status(service_id, fields, checks))


def _request_with_status(service_id: str, fields: Mapping[str, Any], checks: Checks) -> dict[str, Any]:
    body = register_request({**fields, "id": service_id})
    for check in body["Checks"]:
        if check["CheckID"] in checks:
            check["Status"] = checks[check["CheckID"]]["Status"]
    maintenance = [
        {"CheckID": check_id, "Name": check["Name"], "Notes": check["Notes"], "TTL": _FOREVER, "Status": "critical"}
        for check_id, check in checks.items()
        if is_maintenance(check_id)
    ]
    return {**body, "Checks": [*body["Checks"], *maintenance]}


def _remove_empty_node(servers: Consul, locations: ServiceLocations) -> None:
    """Remove the external node if it is the stack's and has no service any more: it may be in no state."""
    entry = servers.catalog_node(locations.node)
    if entry and not entry["Services"] and is_owned_by(entry["Node"]["Meta"], locations.owner_prefix):
        servers.deregister_node(locations.node)


def switch_to_catalog(locations: ServiceLocations) -> pulumi.ResourceHookBinding:
    """Return the hooks that move a service to the external node, and keep the status of its checks in an update.

    The Consul provider writes a status with every change: critical for a new check, else the one that it read before.
    """
    last_checks: dict[str, Checks] = {}
    leave_later: dict[str, list[Callable[[], None]]] = defaultdict(list)

    async def deregister_from_agent(args: pulumi.ResourceHookArgs) -> None:
        service_id, servers = (args.new_inputs or {})["serviceId"], await locations.servers.consul()
        agents = [await locations.agent.consul(), servers] if locations.agent else [servers]
        for agent in agents:  # on the server after an interrupted run
            try:
                service = agent.service(service_id)
            except NoAnswerError as error:
                if service_id in _owned(servers.node_services(locations.names.agent_node), locations):
                    raise ConsulError(
                        f"{service_id} stays on its agent: {error}. Run it again when it answers"
                    ) from None
                continue
            if service and is_owned_by(service["Meta"], locations.owner_prefix):
                if NODE_MAINTENANCE in agent.all_checks():
                    raise ConsulError(
                        f"the agent {agent.address} is in maintenance, and {locations.node} would not be: end that "
                        "first, with consul maint -disable"
                    )
                last_checks[service_id] = agent.checks(service_id)
                leave = partial(agent.deregister, service_id)
                if is_in_maintenance(last_checks[service_id]):  # as in `move_with_status`
                    leave_later[service_id].append(leave)
                else:
                    leave()

    async def read_status(args: pulumi.ResourceHookArgs) -> None:
        service_id = (args.new_inputs or {})["serviceId"]
        servers = await locations.servers.consul()
        last_checks[service_id] = _checks_of(service_id, servers.node_checks(locations.node))

    async def restore_status(args: pulumi.ResourceHookArgs) -> None:
        inputs, servers = args.new_inputs or {}, await locations.servers.consul()
        service_id, stated = inputs["serviceId"], {check["checkId"] for check in inputs["checks"]}
        last = last_checks.get(service_id, {})
        for check_id, check in last.items():
            if is_maintenance(check_id):
                servers.set_status({**check, "Node": locations.node}, check["Status"], check["Output"])
        for check_id, check in _checks_of(service_id, servers.node_checks(locations.node)).items():
            # The provider changes and adds checks, but removes none.
            if check_id not in stated and not is_maintenance(check_id):
                servers.deregister_check(locations.node, check_id)
            elif check_id in last:
                servers.set_status(check, last[check_id]["Status"], last[check_id]["Output"])
        for leave in leave_later.pop(service_id, []):
            leave()

    restore = consul_hook("restore-check-status", restore_status)
    return pulumi.ResourceHookBinding(
        before_create=[consul_hook("deregister-from-agent", deregister_from_agent)],
        before_update=[consul_hook("read-check-status", read_status)],
        after_create=[restore],
        after_update=[restore],
    )


def _checks_of(service_id: str, checks: list[dict[str, Any]]) -> Checks:
    return {check["CheckID"]: check for check in checks if check["ServiceID"] == service_id}
