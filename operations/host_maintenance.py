"""`drain-host` and `return-host`: take a Docker host out of what clients find, and back in."""

from collections.abc import Sequence
from typing import Annotated

import typer

from consul_cluster.autopilot import another_leads, is_healthy_voter, servers_of, states
from consul_cluster.client import Consul
from errors import UserError
from operations.command_line import DEFAULT_STACK, StackName
from operations.output import print_line
from operations.stack import Stack, StackHost
from waiting import wait_until

_SECONDS = 60

HostName = Annotated[str, typer.Argument(metavar="HOST", help="The host, as `hosts` of the stack names it.")]


class HostMaintenanceError(UserError):
    """There is no such host, or the cluster cannot do without it."""


def drain_host(host: HostName, stack: StackName = DEFAULT_STACK) -> None:
    """Have clients find no service of a host, and its server not lead: then the host can be stopped.

    The host's agent gets into node maintenance, which stays over its restart. Nothing is done where the other servers
    would be no majority without the host's own. The host's services are not found until `return-host`.
    """
    loaded = Stack.load(stack).with_role("management")
    drained, others = _host(loaded, host), _other_servers(loaded, host)
    if drained.docker.server_address:
        _hand_over(others, drained.docker.names.server_node)
    loaded.agents[drained.node].maintain_node(f"drain-host {host}")
    client = next(api for api in others if api.answers())
    if not wait_until(lambda: not _found(client, drained), _SECONDS):
        raise HostMaintenanceError(f"clients still find {', '.join(_found(client, drained))} on {drained.node}")
    print_line(f"{host}: clients find none of its {len(drained.roster)} services. Back: return-host {host}")


def return_host(host: HostName, stack: StackName = DEFAULT_STACK) -> None:
    """End the maintenance of a host, and wait until clients find its services again.

    Ends with 0 if they find all of them, else with 1.
    """
    loaded = Stack.load(stack).with_role("management")
    returned, others = _host(loaded, host), _other_servers(loaded, host)
    loaded.agents[returned.node].maintain_node(None)
    client = next(api for api in others if api.answers())
    wait_until(lambda: len(_found(client, returned)) == len(returned.roster), _SECONDS)
    found = len(_found(client, returned))
    print_line(f"{host}: clients find {found} of its {len(returned.roster)} services")
    raise typer.Exit(found < len(returned.roster))


def _host(stack: Stack, name: str) -> StackHost:
    known = {host.docker.name: host for host in stack.hosts if host.docker.name}
    if name not in known:
        hosts = f"it has {', '.join(known)}" if known else "it has one host, without a name: see docs/hosts.md"
        raise HostMaintenanceError(f"stack {stack.name} has no host {name!r}: {hosts}")
    if known[name].node not in stack.agents:
        raise HostMaintenanceError(f"agentAddress: is not set in stack {stack.name}: the agents cannot be told")
    return known[name]


def _other_servers(stack: Stack, host: str) -> Sequence[Consul]:
    """Return the APIs of the servers, those of other hosts first: the host's own may be stopped next."""
    own = next((each.docker.server_address for each in stack.hosts if each.docker.name == host), None)
    return sorted(stack.servers.values(), key=lambda api: api.address == own)


def _hand_over(others: Sequence[Consul], node: str) -> None:
    """Have another server lead than that of a node.

    Raises:
        HostMaintenanceError: without it, the cluster would have no majority.
    """
    servers = servers_of(others) or []
    left = [each for each in servers if is_healthy_voter(each) and each["Name"] != node]
    if len(left) <= len([each for each in servers if each["Status"] in ("leader", "voter")]) // 2:
        raise HostMaintenanceError(f"{node}: without it, the servers would have no majority: {states(servers)}")
    if not wait_until(lambda: another_leads(others, servers_of(others) or [], node), _SECONDS, pause=0.5):
        raise HostMaintenanceError(f"{node} still leads: {states(servers_of(others) or [])}")


def _found(client: Consul, host: StackHost) -> list[str]:
    """Return the services of a host that clients find there."""
    return [
        service.id
        for service in host.roster.services
        if any(
            (entry["Node"]["Node"], entry["Service"]["ID"]) == (host.node, service.id)
            for entry in client.discover(service.name)
        )
    ]
