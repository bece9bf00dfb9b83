"""Replaces the servers of a cluster one at a time, so that a majority of them is there all the time.

Before a server's container is replaced, the others are healthy voters, and one of them leads; after that, the server is
a healthy voter again. A run that ends in between leaves a cluster with a majority, and the next one goes on.

https://developer.hashicorp.com/consul/docs/architecture/consensus
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.consul_connection import Connection
from components.consul_container import ConsulContainerArgs
from components.resource_hooks import consul_hook, in_own_thread, stash
from consul_cluster.autopilot import (
    Servers,
    another_leads,
    is_healthy_voter,
    members_of,
    refusal_of,
    servers_of,
    states,
)
from consul_cluster.client import Consul, ConsulError
from waiting import wait_until

# Seconds. A server that starts takes some 15 to join, and autopilot some 10 more until it is a voter.
# https://developer.hashicorp.com/consul/docs/agent/config/config-files#server_stabilization_time
_TIMEOUT = 120


@dataclass(frozen=True)
class ServerReplacement:
    """How one of several servers is replaced.

    Attributes:
        node: its own name in the catalog.
        servers: the API of each server that the program states, by its node.
    """

    node: str
    servers: Mapping[str, Connection]

    def hand_over_before(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare the resource that has another server lead. It changes whenever the program states another container.

        The container has to depend on it, and it on everything else that can fail before the container is replaced.
        """
        return stash(f"{name}-handover", args.stated_fingerprint, f"hand-over-{name}", self._hand_over, opts)

    def rejoined_after(self, name: str, args: ConsulContainerArgs, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """Declare the resource that waits until the server is a healthy voter. It has to depend on the container.

        What replaces the next server has to depend on it.
        """

        async def join(_args: pulumi.ResourceHookArgs) -> None:
            await self._join()

        hooks = pulumi.ResourceHookBinding(after_create=[consul_hook(f"join-{name}", join)])
        own = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks))
        return stash(f"{name}-rejoined", args.stated_fingerprint, f"rejoin-{name}", self._rejoin, own)

    async def _hand_over(self, _old: str, _new: str) -> None:
        others = await self._others()
        if servers_of(others) is not None:
            await in_own_thread(lambda: self._wait_until_it_can_go(others))
        elif refusal := refusal_of(others):
            raise ConsulError(
                f"{self.node} is not replaced: the others do not accept the stack's new token or authority: {refusal}. "
                "Import the state of before (pulumi stack import), and replace it in steps: docs/security.md"
            )
        # else it is the only one, or the others are down

    def _wait_until_it_can_go(self, others: Sequence[Consul]) -> None:
        if wait_until(lambda: self._can_go(others), _TIMEOUT, pause=0.5):
            return
        failure = f"{self.node} is not replaced: its cluster would have no majority without it"
        if lost := self._lost(members_of(others), servers_of(others) or []):
            failure += f". Start {', '.join(lost)} again, which Consul has removed, or state another host instead"
        raise _failure(failure, others)

    def _can_go(self, others: Sequence[Consul]) -> bool:
        """Return whether all other servers are healthy voters, and one of them leads; have one lead, if they are."""
        known = members_of(others)  # asked first: one that autopilot removes in between is seen as lost
        servers = servers_of(others) or []
        rest = [each for each in servers if each["Name"] != self.node]
        well = rest and all(map(is_healthy_voter, rest)) and not self._lost(known, servers)
        return bool(well) and another_leads(others, servers, self.node)

    def _lost(self, known: set[str], servers: Servers) -> list[str]:
        """Return the stated servers that were there: autopilot soon removes one that has failed.

        One that was never there is created later.
        """
        return sorted(known & self.servers.keys() - {each["Name"] for each in servers} - {self.node})

    async def _join(self) -> None:
        others = await self._others()
        if servers_of(others) is not None:  # else a new cluster starts, and elects a leader when all have started
            await self._wait_for_vote(others)

    async def _rejoin(self, _old: str, _new: str) -> None:
        own = await self.servers[self.node].consul()
        every = [*await self._others(), own]  # it knows of those too that the program states no more
        if sum(each.answers() for each in every) > len(every) // 2:  # else too few to elect a leader have started
            await self._wait_for_vote(every)

    async def _wait_for_vote(self, asked: Sequence[Consul]) -> None:
        failure = f"{self.node} runs, and is no healthy voter. Its log says why"
        if not await in_own_thread(lambda: wait_until(lambda: _has_joined(asked, self.node), _TIMEOUT, 0.5)):
            raise _failure(failure, asked)

    async def _others(self) -> Sequence[Consul]:
        return [await each.consul() for node, each in self.servers.items() if node != self.node]


def _has_joined(others: Sequence[Consul], node: str) -> bool:
    servers = servers_of(others) or []
    return all(map(is_healthy_voter, servers)) and any(each["Name"] == node for each in servers)


def _failure(failure: str, asked: Sequence[Consul]) -> ConsulError:
    found = states(servers_of(asked) or [])
    return ConsulError(f"{failure}. After {_TIMEOUT} s, the servers are: {found}. The next run goes on")
