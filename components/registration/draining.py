"""Drains the shared agent while its container is replaced: the catalog keeps the agent's services.

An agent that leaves the cluster removes its services from the catalog, and an agent that starts reports each check as
critical until its first run, up to an interval later. Therefore the services move to the external node before the
container is replaced, as they do when a stack switches its registration. They return once the new agent has joined.
"""

from dataclasses import dataclass
from typing import Any

import pulumi

from cluster.agent_configuration import AGENT_NODE, EXTERNAL_NODE_META
from cluster.client import Consul, ConsulError, NoAnswerError
from cluster.ownership import is_owned_by
from components.consul_connection import Connection
from components.consul_container import ConsulContainerArgs
from components.registration.switching import ServiceLocations, move_to_agent, refuse_foreign_node
from components.resource_hooks import stash, wait_for_leader, wait_until_ready
from services.model import OWNER_KEY

_NOT_JOINED = (
    f"{AGENT_NODE} has not joined the servers after a minute: its services stay on the external node, and nothing runs "
    f"their checks. Its log says why: docker logs {AGENT_NODE}. The next run with --refresh moves them back"
)
_SERVICE_FIELDS = ("Service", "Address", "Port", "Tags", "Meta")
_CHECK_FIELDS = ("CheckID", "Name", "Notes", "Status", "Output")


@dataclass(frozen=True)
class Draining:
    """How an agent is drained.

    Attributes:
        agent: its API, with a token that may remove any service.
        locations: where the stack's services can be registered.
    """

    agent: Connection
    locations: ServiceLocations

    def drain_before(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare the resource that drains the agent. It changes whenever the program states another container.

        The container has to depend on it. A hook on the container's own deletion would not do: `pulumi destroy` would
        then need the program.
        """
        return stash(name, self._stated(args), "drain-agent", self._drain, opts)

    def return_after(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare the resource that moves the services back. It has to depend on the container.

        It changes together with the other resource, also when the container then was not replaced.
        """
        return stash(name, self._stated(args), "return-to-agent", self._return, opts)

    def _stated(self, args: ConsulContainerArgs) -> dict[str, Any]:
        api = {"address": self.agent.address, "token": self.agent.secret_token, "ca": self.agent.ca}
        return {"agent": api, "container": args.stated}

    async def _drain(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        if old["container"] == new["container"]:
            return  # only the address or the credentials changed
        api, servers = old["agent"], await self.locations.servers.consul()
        agent = Consul(api["address"], api.get("token"), api.get("ca"))
        await wait_for_leader(servers, self.locations.servers.token is not None)
        refuse_foreign_node(servers, self.locations.node, self.locations.owner_prefix)
        services = {
            service_id: service
            for service_id, service in agent.all_services().items()
            if is_owned_by(service["Meta"], self.locations.owner_prefix)
        }
        if not services:
            return
        checks = agent.all_checks().values()
        servers.register_in_catalog(self._node)  # first: if Consul refuses it, nothing has changed yet
        for service_id, service in services.items():
            body = self._on_node(service_id, service, [each for each in checks if each["ServiceID"] == service_id])
            agent.deregister(service_id)
            servers.deregister_from_catalog(AGENT_NODE, service_id)  # in case the agent has lost the servers
            servers.register_in_catalog(body)

    async def _return(self, _old: dict[str, Any], _new: dict[str, Any]) -> None:
        servers, node = await self.locations.servers.consul(), self.locations.node
        entry = servers.catalog_node(node)
        if not entry or not is_owned_by(entry["Node"]["Meta"], self.locations.owner_prefix):
            return
        await wait_until_ready(lambda: _has_joined(servers), _NOT_JOINED)
        try:
            await move_to_agent(self.locations)
        except NoAnswerError as error:  # a service that left the node and did not reach the agent is missing
            raise ConsulError(f"{error}. The next run with --refresh moves the services back") from None
        if not servers.node_services(node):
            servers.deregister_node(node)

    @property
    def _node(self) -> dict[str, Any]:
        # "parking" is the owner in deployed clusters.
        meta = {**EXTERNAL_NODE_META, OWNER_KEY: f"{self.locations.owner_prefix}parking"}
        return {"Node": self.locations.node, "Address": AGENT_NODE, "NodeMeta": meta}

    def _on_node(self, service_id: str, service: dict[str, Any], checks: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the request that registers a service on the external node, with the last status of its checks."""
        ids = {"Node": self.locations.node, "ServiceID": service_id}
        return {
            **self._node,
            "Service": {"ID": service_id, **{key: service[key] for key in _SERVICE_FIELDS}},
            "Checks": [{**ids, **{key: check[key] for key in _CHECK_FIELDS}} for check in checks],
        }


def _has_joined(servers: Consul) -> bool:
    """Return whether the agent has synchronized itself with the servers: they then have its registrations at once."""
    # The servers themselves create the node of a new member, but without the meta, which only the agent sends.
    entry = servers.catalog_node(AGENT_NODE)
    return bool(entry and entry["Node"]["Meta"])
