"""`drain-host` and `return-host`: take a Docker host out of what clients find, and back in."""

from collections.abc import Collection, Sequence
from typing import Annotated

import typer

from consul_cluster.autopilot import Servers, another_leads, is_healthy_voter, servers_of, states
from consul_cluster.client import Consul
from errors import UserError
from operations.command_line import COMMANDS, DEFAULT_STACK, StackName
from operations.output import print_line
from operations.stack import Stack, StackHost
from waiting import wait_until

# Seconds. The agent tells the servers at once of its maintenance. A server that starts takes some 15 to join, and
# autopilot some 10 more until it is a voter; a check takes an interval and a timeout until it has run.
_DRAIN_SECONDS = 15
_RETURN_SECONDS = 60
_ELECTION_SECONDS = 60
_PAUSE = 0.5

DRAINED_BY = "drain-host "
"""What the reason of a drained host's maintenance begins with; its name follows."""

HostName = Annotated[str, typer.Argument(metavar="HOST", help="The host, as `hosts` of the stack names it.")]


class HostMaintenanceError(UserError):
    """There is no such host, or the cluster cannot do without it."""


def drain_host(host: HostName, stack: StackName = DEFAULT_STACK) -> None:
    """Have clients find no service of a host, and its server not lead: then the host can be stopped.

    The host's agent gets into node maintenance, which stays over its restart. Nothing is done where the other servers
    would be no majority without the host's own. The host's services are not found until `return-host`, unless another
    host has an instance of the same name.

    Example: .local/venv/bin/python -m operations drain-host h3 --stack staging
    """
    loaded = Stack.load(stack).with_role("management")
    drained = _host(loaded, host)
    server = _server_of(drained)
    servers, silent = _servers(loaded, drained)
    if server:
        _refuse_without_majority(servers, silent, server)
    loaded.agents[drained.node].maintain_node(DRAINED_BY + host)
    led = bool(server and _hand_over(servers, silent, server, host))
    if not wait_until(lambda: not _found(servers[0], drained), _DRAIN_SECONDS, _PAUSE):
        raise HostMaintenanceError(
            f"{host}: its agent is in maintenance, and after {_DRAIN_SECONDS} s clients still find "
            f"{', '.join(_found(servers[0], drained))} there: do not stop the host, and run drain-host again"
        )
    print_line(f"{host}: its agent is in maintenance: clients find none of its {_services(len(drained.roster))}")
    if led:
        print_line(f"{host}: its server {server} led, and another one leads now")
    print_line(f"next: the host can be stopped; {COMMANDS} return-host {host} --stack {stack} brings it back")
    if warning := _not_found_until_then(servers[0], drained):
        print_line(f"warning: {warning}")


def return_host(host: HostName, stack: StackName = DEFAULT_STACK) -> None:
    """End the maintenance of a host, and wait until clients find its services again.

    It waits up to a minute, for the host's server to be a healthy voter too. Ends with 0 if it is one, and clients find
    all of the services, else with 1.

    Example: .local/venv/bin/python -m operations return-host h3 --stack staging
    """
    loaded = Stack.load(stack).with_role("management")
    returned = _host(loaded, host)
    loaded.agents[returned.node].maintain_node(None)
    server = _server_of(returned)
    servers, _ = _servers(loaded, returned)

    def has_server() -> bool:
        return server is None or (loaded.servers[server].answers() and _is_healthy_voter(servers, server))

    wait_until(lambda: has_server() and not _missing(servers[0], returned), _RETURN_SECONDS, _PAUSE)
    missing, total, is_back = _missing(servers[0], returned), len(returned.roster), has_server()
    names = f": not {', '.join(missing)}" if missing else ""
    print_line(f"{host}: clients find {total - len(missing)} of its {_services(total)}{names}")
    if not is_back:
        found = states(servers_of(servers) or [])
        print_line(f"{host}: its server {server} does not answer, or is no healthy voter: {found}")
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


def _servers(stack: Stack, host: StackHost) -> tuple[Sequence[Consul], frozenset[str]]:
    """Return the APIs of the servers on other hosts that answer, and the nodes of those that do not.

    The host's own may be stopped next: it is asked only where the stack has no other.
    """
    own = _server_of(host)
    servers = stack.servers
    others = {node: api for node, api in servers.items() if node != own} or servers
    answering = {node: api for node, api in others.items() if api.answers()}
    if not answering:
        asked = ", ".join(api.address for api in others.values())
        raise HostMaintenanceError(f"no server beside {host.docker.name} answers, to tell what clients find: {asked}")
    return list(answering.values()), frozenset(others.keys() - answering.keys())


def _refuse_without_majority(asked: Sequence[Consul], silent: Collection[str], node: str) -> None:
    """Refuse where the other servers would be no majority.

    The leader calls a server healthy for some seconds after it was stopped: one that does not answer does not count.
    """
    servers = servers_of(asked) or []
    left = [each for each in servers if is_healthy_voter(each) and each["Name"] not in {node, *silent}]
    if len(left) <= len([each for each in servers if each["Status"] in ("leader", "voter")]) // 2:
        no_answer = f"; no answer from {', '.join(sorted(silent))}" if silent else ""
        raise HostMaintenanceError(
            f"{node}: without it, the servers would have no majority: {states(servers)}{no_answer}. Nothing was changed"
        )


def _hand_over(asked: Sequence[Consul], silent: Collection[str], node: str, host: str) -> bool:
    """Have another server lead than that of a node, none of the silent ones, and return whether that one led."""

    def answering() -> Servers:
        return [each for each in servers_of(asked) or [] if each["Name"] not in silent]

    servers = answering()
    if another_leads(asked, servers, node):
        return False
    if not wait_until(lambda: another_leads(asked, answering(), node), _ELECTION_SECONDS, _PAUSE):
        raise HostMaintenanceError(
            f"{host}: its agent is in maintenance, and no other server leads after {_ELECTION_SECONDS} s: "
            f"{states(servers_of(asked) or [])}. return-host {host} ends the maintenance"
        )
    return any((each["Name"], each["Status"]) == (node, "leader") for each in servers)


def _is_healthy_voter(asked: Sequence[Consul], node: str) -> bool:
    return any(is_healthy_voter(each) for each in servers_of(asked) or [] if each["Name"] == node)


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
