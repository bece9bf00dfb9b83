"""Keeps the services in the catalog while their agent's container is replaced.

An agent that leaves takes its services out of the catalog, and one that starts has their checks critical until each
has run, up to an interval later. So before the container is replaced, its services move to a node of their own, as
they move from one registration to another, and back when the next one has joined.
"""

from dataclasses import dataclass
from typing import Any

import pulumi

from cluster.agent_configuration import AGENT_NODE, EXTERNAL_NODE_META
from cluster.client import Consul, ConsulError, NoAnswerError
from cluster.ownership import is_owned_by
from components.consul_container import ConsulContainerArgs
from components.endpoint import Endpoint
from components.hooks import stash, wait_for_leader, wait_until_ready
from components.registration.switching import ServiceLocations, move_to_agent, refuse_foreign_node
from services.model import OWNER_KEY

_NOT_JOINED = (
    f"{AGENT_NODE} has not joined the servers after a minute: its services stay where they are parked, and nobody "
    f"checks them. Its log says why: docker logs {AGENT_NODE}. The next run with --refresh moves them back"
)
_OF_A_SERVICE = ("Service", "Address", "Port", "Tags", "Meta")
_OF_A_CHECK = ("CheckID", "Name", "Notes", "Status", "Output")


@dataclass(frozen=True)
class Draining:
    """Where the services of an agent are while it is replaced.

    Attributes:
        agent: its API.
        places: where the stack's services can be.
    """

    agent: Endpoint
    places: ServiceLocations

    def before(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare what changes whenever the stack states another container, and moves the services before it is made.

        Nothing can be hooked to the container's own deletion, or `pulumi destroy` would need the program.
        """
        return stash(name, self._stated(args), "park", self._park, opts)

    def after(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare what changes with the first, and moves the services back, whether another container came or not."""
        return stash(name, self._stated(args), "leave-parking", self._leave, opts)

    def _stated(self, args: ConsulContainerArgs) -> dict[str, Any]:
        api = {"address": self.agent.address, "token": self.agent.secret_token, "ca": self.agent.ca}
        return {"agent": api, "container": args.stated}

    async def _park(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        if before["container"] == after["container"]:
            return  # what is new is how the agent is reached
        old, servers = before["agent"], await self.places.servers.consul()
        agent = Consul(old["address"], old.get("token"), old.get("ca"))
        await wait_for_leader(servers, self.places.servers.token is not None)
        refuse_foreign_node(servers, self.places.node, self.places.owner_prefix)
        ours = {
            service_id: service
            for service_id, service in agent.all_services().items()
            if is_owned_by(service["Meta"], self.places.owner_prefix)
        }
        checks = agent.all_checks().values() if ours else ()
        if ours:
            servers.register_in_catalog(self._node)  # where that is refused, nothing has changed yet
        for service_id, service in ours.items():
            body = self._parked(service_id, service, [each for each in checks if each["ServiceID"] == service_id])
            agent.deregister(service_id)
            servers.deregister_from_catalog(AGENT_NODE, service_id)  # for an agent that cannot tell them any more
            servers.register_in_catalog(body)

    async def _leave(self, _before: dict[str, Any], _after: dict[str, Any]) -> None:
        servers, node = await self.places.servers.consul(), self.places.node
        found = servers.catalog_node(node)
        if not found or not is_owned_by(found["Node"]["Meta"], self.places.owner_prefix):
            return
        await wait_until_ready(lambda: _joined(servers), _NOT_JOINED)
        try:
            await move_to_agent(self.places)
        except NoAnswerError as error:  # what has left the one and did not come to the other is missing
            raise ConsulError(f"{error}. The next run with --refresh moves the services back") from None
        if not servers.node_services(node):
            servers.deregister_node(node)

    @property
    def _node(self) -> dict[str, Any]:
        meta = {**EXTERNAL_NODE_META, OWNER_KEY: f"{self.places.owner_prefix}parking"}
        return {"Node": self.places.node, "Address": AGENT_NODE, "NodeMeta": meta}

    def _parked(self, service_id: str, service: dict[str, Any], checks: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what registers a service on the node, with what its checks last found."""
        of_it = {"Node": self.places.node, "ServiceID": service_id}
        return {
            **self._node,
            "Service": {"ID": service_id, **{key: service[key] for key in _OF_A_SERVICE}},
            "Checks": [{**of_it, **{key: check[key] for key in _OF_A_CHECK}} for check in checks],
        }


def _joined(servers: Consul) -> bool:
    """Whether the agent has told the servers of itself: what it registers from then on is there at once."""
    # The servers make a node of a member; its meta is the agent's own word.
    found = servers.catalog_node(AGENT_NODE)
    return bool(found and found["Node"]["Meta"])
