"""Removes the catalog's node of an agent that is gone.

An agent that lost its data has another node id, and the servers refuse it the name until the old node is removed:
"Node name is reserved by node ...". They remove a node that failed by themselves after 72 h.
https://developer.hashicorp.com/consul/docs/agent/config/config-files#reconnect_timeout
"""

from collections.abc import Mapping
from typing import Any

import pulumi

from components.consul_connection import Connection
from components.registration.switching import stack_owner_prefix
from components.resource_hooks import consul_hook
from consul_cluster.agent_configuration import ESM_NODE
from consul_cluster.client import ALIVE, ConsulError
from consul_cluster.ownership import is_owned_by


def remove_dead_node(servers: Connection, node: str) -> pulumi.ResourceHookBinding:
    """Return the hook that removes the node of the agent before its container is created, if no agent has it now.

    A dead node that has services, and none of the stack's, is another party's: the run stops. Servers that were
    replaced a moment ago may not know the agent that has just left. Its node is empty then, since it was drained; one
    that stays would look as if the next agent had joined.
    """
    owner = stack_owner_prefix()

    async def remove(_args: pulumi.ResourceHookArgs) -> None:
        consul = await servers.consul()
        try:
            statuses = [member["Status"] for member in consul.members() if member["Name"] == node]
            entry = None if ALIVE in statuses else consul.catalog_node(node)
            if entry and statuses:
                _refuse_others_node(entry, owner)
            if entry and (statuses or _is_drained(entry)):
                consul.deregister_node(node)
        except ConsulError as error:  # if the agent's data is still there, it can join all the same
            pulumi.log.warn(f"the catalog may have a dead node {node}, which keeps a new agent out: {error}")

    return pulumi.ResourceHookBinding(before_create=[consul_hook(f"remove-dead-node-{node}", remove)])


def _refuse_others_node(entry: Mapping[str, Any], owner: str) -> None:
    node = entry["Node"]["Node"]
    # consul-esm registers itself with the agent.
    services = {key: each for key, each in entry["Services"].items() if each["Service"] != ESM_NODE}
    if services and not any(is_owned_by(service["Meta"], owner) for service in services.values()):
        raise pulumi.RunError(
            f"the catalog has a dead node {node} with services of others ({', '.join(sorted(services))}): set "
            f"agentNode to a free name, or remove it with them: consul force-leave -prune {node}"
        )


def _is_drained(entry: Mapping[str, Any]) -> bool:
    """Return whether a node of the catalog is an agent's, as its tagged addresses say, and has no service."""
    return bool(entry["Node"]["TaggedAddresses"] and not entry["Services"])
