"""Drains the shared agent while its container is replaced: the server's own agent checks the services meanwhile.

An agent that leaves the cluster takes its services out of the catalog, and an agent that starts has each check critical
until its first run, up to an interval later. Therefore the services move to the server, whose process is an agent too,
before the container is replaced, and back once the new agent has joined. Somebody checks them all the time: if the run
ends in between, they stay there, are found and are checked, and the next run moves them back.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pulumi

from components.consul_connection import Connection
from components.consul_container import ConsulContainerArgs
from components.registration.switching import ServiceLocations, move_to_agent, move_with_status, register_with_status
from components.resource_hooks import stash, wait_for_leader, wait_until_ready
from consul_cluster.client import NODE_MAINTENANCE, Consul, ConsulError, ForbiddenError, NoAnswerError
from consul_cluster.drift import read_services, recognize, with_integers
from consul_cluster.fingerprint import fingerprint
from consul_cluster.ownership import is_owned_by
from services.checks import SHORTEST_INTERVAL
from services.consul_definition import KINDS, UNSHOWN, definition, duration

# An agent that is back before the servers have taken the old one out of the catalog is taken out with it. It tells them
# again at its next full look at the catalog, after 60 to 120 s.
# https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
_JOIN_SECONDS = 150


@dataclass(frozen=True)
class Draining:
    """How an agent is drained. "parking" and "parked" are in deployed states.

    Attributes:
        agent: its API, with a token that may remove any service.
        locations: where the stack's services can be registered.
    """

    agent: Connection
    locations: ServiceLocations

    def drain_before(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare the resource that drains the agent. It changes whenever the program states another container.

        The container has to depend on it, and it on everything else that can fail before the container is replaced. A
        hook on the container's own deletion would not do: `pulumi destroy` would then need the program.
        """
        return stash(f"{name}-parking", self._stated(args), f"drain-{name}", self._drain, opts)

    def return_after(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare the resource that moves the services back. It has to depend on the container.

        It changes together with the other resource, also when the container then was not replaced.
        """
        return stash(f"{name}-parked", self._stated(args), f"return-to-{name}", self._return, opts)

    def _stated(self, args: ConsulContainerArgs) -> dict[str, Any]:
        token = self.agent.token_fingerprint
        api = {"address": self.agent.address, "token_fingerprint": token, "ca": self.agent.ca}
        return {"agent": api, "container": args.stated_fingerprint}

    async def _drain(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        if stated_container(old) == new["container"]:
            return  # only the address or the credentials changed
        servers, secured = await self.locations.servers.consul(), self.locations.servers.token is not None
        await wait_for_leader(servers, secured)
        api = old["agent"]
        current = await pulumi.Output.from_input(self.agent.token).future()
        agent = Consul(api["address"], _token(api, servers, current) if current else None, api.get("ca"))
        if NODE_MAINTENANCE in agent.all_checks():
            return  # clients find none of its services, and must not find them on the server
        stated = {service.id: definition(service) for service in self.locations.roster.services}
        services = {
            service_id: _with_unshown_checks(fields, stated.get(service_id, {}))
            for service_id, fields in read_services(agent).items()
            if is_owned_by(fields["meta"], self.locations.owner_prefix)
        }
        self._refuse_foreign_ids(services, servers)
        for service_id, fields in services.items():
            try:
                self._move_to_server(service_id, fields, agent, servers)
            except NoAnswerError as error:
                raise ConsulError(f"{service_id} is between agent and server: {error}. Run it again") from None

    async def _return(self, _old: dict[str, Any], _new: dict[str, Any]) -> None:
        servers = await self.locations.servers.consul()
        names = self.locations.names
        not_joined = (
            f"{names.agent_node} has not joined the servers after {_JOIN_SECONDS} s: {names.server_node} checks its "
            f"services meanwhile. Its log says why: docker logs {names.agent_container}. The next run moves them back"
        )
        await wait_until_ready(lambda: servers.has_synchronized(names.agent_node), not_joined, _JOIN_SECONDS)
        try:
            await move_to_agent(self.locations)
        except NoAnswerError as error:  # a service may be between server and agent
            raise ConsulError(f"{error}. The next run moves the services back") from None

    def _refuse_foreign_ids(self, services: Mapping[str, dict[str, Any]], servers: Consul) -> None:
        """Check that the server's own agent has no service or check of another party by an id of these or theirs.

        It would be replaced.

        Raises:
            ConsulError: it has.
        """
        held, prefix = servers.all_services(), self.locations.owner_prefix
        own = {key for key, each in held.items() if is_owned_by(each["Meta"], prefix)}
        checks = {key for key, each in servers.all_checks().items() if each["ServiceID"] not in own}
        check_ids = {check_id for fields in services.values() for check_id in fields["checks"]}
        if foreign := sorted((held.keys() - own) & services.keys()) or sorted(checks & check_ids):
            raise ConsulError(
                f"{servers.address} has {', '.join(foreign)} of another party, which the stack's own would replace "
                "while the agent is: deregister it there, or give it another id"
            )

    def _move_to_server(self, service_id: str, fields: dict[str, Any], agent: Consul, servers: Consul) -> None:
        """Move one service, with the status of its checks. Clients never find it twice."""

        def leave() -> None:
            agent.deregister(service_id)
            # In case the agent has lost the servers.
            servers.deregister_from_catalog(self.locations.names.agent_node, service_id)

        checks = agent.checks(service_id)
        try:
            move_with_status(servers, service_id, _checked_at_once(fields), checks, leave)
        except ConsulError:
            register_with_status(agent, service_id, fields, checks)
            with suppress(ConsulError):  # it may have taken the service all the same
                servers.deregister(service_id)
            raise


def stated_container(stated: Mapping[str, Any]) -> str:
    """Return the fingerprint of what was stated of a container. The states of earlier releases have it in full."""
    container = stated["container"]
    if isinstance(container, str):
        return container
    return fingerprint(json.dumps(with_integers(container), sort_keys=True))


def _token(api: Mapping[str, Any], servers: Consul, current: str) -> str | None:
    """Return the token that the agent knows: it may not know the servers any more, if they have another authority.

    The states of earlier releases have the token itself.
    """
    if "token_fingerprint" not in api:
        return api.get("token")
    known = api["token_fingerprint"]
    if not known:
        return None
    if known == fingerprint(current):
        return current
    try:
        found = servers.token_with(known)
    except ForbiddenError:  # others made both, and the agent knows their servers
        return current
    return found["SecretID"] if found else None


def _with_unshown_checks(fields: dict[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service with what the agent does not show of its checks, as the roster has it, which comes next."""
    found, checks = recognize(fields, stated), stated.get("checks", {})
    known = {
        key: checks.get(key, check) if UNSHOWN in check else check
        for key, check in found["checks"].items()
        if check.keys() & set(KINDS)  # what others have added to a service does not show what it connects to
    }
    return {**fields, "checks": known}


def _checked_at_once(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a service whose checks run each second: a status that moved along is confirmed at once."""
    often = duration(SHORTEST_INTERVAL)
    checks = {
        key: {**check, "interval": often} if "interval" in check else check for key, check in fields["checks"].items()
    }
    return {**fields, "checks": checks}
