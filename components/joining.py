"""What lets the shared agent join the cluster, and waits until it has.

An agent that lost its data has another node id, and the servers refuse it the name until the old node is removed:
"Node name is reserved by node ...". They remove a node that failed by themselves after 72 h.
https://developer.hashicorp.com/consul/docs/agent/config/config-files#reconnect_timeout
"""

import pulumi

from components.consul_connection import Connection
from components.resource_hooks import consul_hook, wait_until_ready
from consul_cluster.agent_configuration import AGENT_NODE
from consul_cluster.client import ConsulError

_ALIVE = 1


def join_hooks(servers: Connection, await_join: bool) -> pulumi.ResourceHookBinding:
    """Return the hooks of the agent's container: it can join, and what is registered on it is in the catalog at once.

    Args:
        servers: the servers' API.
        await_join: wait until the agent has joined. This needs `node:read` on its node.
    """
    before = [consul_hook("remove-dead-node", lambda _: _remove_dead_node(servers))]
    after = [pulumi.ResourceHook("await-join", lambda _: _await_join(servers))] if await_join else []
    return pulumi.ResourceHookBinding(before_create=[*before], after_create=[*after])


async def _remove_dead_node(servers: Connection) -> None:
    """Remove the node of the agent, if no agent has it now."""
    consul = await servers.consul()
    try:
        statuses = [member["Status"] for member in consul.members() if member["Name"] == AGENT_NODE]
        if statuses and _ALIVE not in statuses:
            consul.deregister_node(AGENT_NODE)
    except ConsulError as error:  # if the agent's data is still there, it can join all the same
        pulumi.log.warn(f"the catalog may have a dead node {AGENT_NODE}, which keeps a new agent out: {error}")


async def _await_join(servers: Connection) -> None:
    consul = await servers.consul()
    await wait_until_ready(
        lambda: consul.has_synchronized(AGENT_NODE),
        f"{AGENT_NODE} has not joined the servers at {servers.address} after a minute: docker logs {AGENT_NODE}",
    )
