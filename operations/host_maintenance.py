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

# Seconds. The agent tells the servers at once of its maintenance. A server that starts takes some 15 to join, and
# autopilot some 10 more until it is a voter; a check takes an interval and a timeout until it has run.
_DRAIN_SECONDS = 15
_RETURN_SECONDS = 60
_ELECTION_SECONDS = 60
_PAUSE = 0.5

HostName = Annotated[str, typer.Argument(metavar="HOST", help="The host, as `hosts` of the stack names it.")]


class HostMaintenanceError(UserError):
    """There is no such host, or the cluster cannot do without it."""


def drain_host(host: HostName, stack: StackName = DEFAULT_STACK) -> None:
    """Have clients find no service of a host, and its server not lead: then the host can be stopped.

    The host's agent gets into node maintenance, which stays over its restart. Nothing is done where the other servers
    would be no majority without the host's own. The host's services are not found until `return-host`, unless another
    host has an instance of the same name.

    Example: python -m operations drain-host h3 --stack staging
    """
    loaded = Stack.load(stack).with_role("management")
    drained = _host(loaded, host)
    servers, server = _answering_servers(loaded, drained), _server_of(drained)
    if server:
        _refuse_without_majority(servers, server)
    loaded.agents[drained.node].maintain_node(f"drain-host {host}")
    led = bool(server and _hand_over(servers, server, host))
    if not wait_until(lambda: not _found(servers[0], drained), _DRAIN_SECONDS, _PAUSE):
        raise HostMaintenanceError(
            f"{host}: its agent is in maintenance, and after {_DRAIN_SECONDS} s clients still find "
            f"{', '.join(_found(servers[0], drained))} there: do not stop the host, and run drain-host again"
        )
    print_line(f"{host}: its agent is in maintenance: clients find none of its {_services(len(drained.roster))}")
    if led:
        print_line(f"{host}: its server {server} led, and another one leads now")
    print_line(f"next: the host can be stopped; python -m operations return-host {host} --stack {stack} brings it back")
    if warning := _not_found_until_then(servers[0], drained):
        print_line(f"warning: {warning}")


def return_host(host: HostName, stack: StackName = DEFAULT_STACK) -> None:
    """End the maintenance of a host, and wait until clients find its services again.

    It waits up to a minute, for the host's server to be a healthy voter too. Ends with 0 if it is one, and clients find
    all of the services, else with 1.

    Example: python -m operations return-host h3 --stack staging
    """
    loaded = Stack.load(stack).with_role("management")
    returned = _host(loaded, host)
    loaded.agents[returned.node].maintain_node(None)
    servers, server = _answering_servers(loaded, returned), _server_of(returned)
    wait_until(lambda: _is_back(servers, server) and not _missing(servers[0], returned), _RETURN_SECONDS, _PAUSE)
    missing, total, is_back = _missing(servers[0], returned), len(returned.roster), _is_back(servers, server)
    names = f": not {', '.join(missing)}" if missing else ""
    print_line(f"{host}: clients find {total - len(missing)} of its {_services(total)}{names}")
    if not is_back:
        print_line(f"{host}: its server {server} is no healthy voter: {states(servers_of(servers) or [])}")
    raise typer.Exit(bool(missing) or not is_back)


def _host(stack: Stack, name: str) -> StackHost:
    known = {host.docker.name: host for host in stack.hosts if host.docker.name}
    if name not in known:
        hosts = f"it has {', '.join(known)}" if known else "it has one host, without a name: see docs/hosts.md"
        raise HostMaintenanceError(f"stack {stack.name} has no host {name!r}: {hosts}")
    if not known[name].docker.agent_address:
        raise HostMaintenanceError(f"agentAddress: is not set in stack {stack.name}: the agents cannot be told")
    return known[name]


def _server_of(host: StackHost) -> str | None:
    """Return the node of the server on a host, if it has one."""
    return host.docker.names.server_node if host.docker.server_address else None


def _answering_servers(stack: Stack, host: StackHost) -> Sequence[Consul]:
    """Return the APIs of the servers on other hosts that answer: the host's own may be stopped next.

    Where the stack has no other server, its own is what there is.
    """
    own = _server_of(host)
    servers = stack.servers
    others = [api for node, api in servers.items() if node != own] or list(servers.values())
    if not (answering := [api for api in others if api.answers()]):
        asked = ", ".join(api.address for api in others)
        raise HostMaintenanceError(f"no server beside {host.docker.name} answers, to tell what clients find: {asked}")
    return answering


def _refuse_without_majority(asked: Sequence[Consul], node: str) -> None:
    servers = servers_of(asked) or []
    left = [each for each in servers if is_healthy_voter(each) and each["Name"] != node]
    if len(left) <= len([each for each in servers if each["Status"] in ("leader", "voter")]) // 2:
        raise HostMaintenanceError(
            f"{node}: without it, the servers would have no majority: {states(servers)}. Nothing was changed"
        )


def _hand_over(asked: Sequence[Consul], node: str, host: str) -> bool:
    """Have another server lead than that of a node, and return whether that one led."""
    servers = servers_of(asked) or []
    if another_leads(asked, servers, node):
        return False
    if not wait_until(lambda: another_leads(asked, servers_of(asked) or [], node), _ELECTION_SECONDS, _PAUSE):
        raise HostMaintenanceError(
            f"{host}: its agent is in maintenance, and no other server leads after {_ELECTION_SECONDS} s: "
            f"{states(servers_of(asked) or [])}. return-host {host} ends the maintenance"
        )
    return any((each["Name"], each["Status"]) == (node, "leader") for each in servers)


def _is_back(asked: Sequence[Consul], node: str | None) -> bool:
    """Return whether a server is a healthy voter; no server is none to wait for."""
    return node is None or any(is_healthy_voter(each) for each in servers_of(asked) or [] if each["Name"] == node)


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


def _missing(client: Consul, host: StackHost) -> list[str]:
    """Return the services of a host that clients do not find there."""
    found = _found(client, host)
    return [service.id for service in host.roster.services if service.id not in found]


def _not_found_until_then(client: Consul, host: StackHost) -> str | None:
    """Return what clients find nowhere while a host is drained; None: each of its services has another instance."""
    gone = [service.id for service in host.roster.services if not client.discover(service.name)]
    if not gone:
        return None
    names = f": {', '.join(gone)}" if len(gone) < len(host.roster) else ""
    return f"{_services(len(gone))} {'is' if len(gone) == 1 else 'are'} not found until then{names}"


def _services(count: int) -> str:
    return f"{count} service{'' if count == 1 else 's'}"
