"""How the services of a roster are, as the catalog shows them."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.table import Table

from cluster.agent_configuration import AGENT_NODE
from cluster.client import Consul
from services.model import Check, Kind
from services.roster import Roster

GROUPS: Mapping[Kind, str] = {"user": "User microservices", "ai": "AI services", "grpc": "gRPC infrastructure"}
_RANKS = ("passing", "warning", "critical")
COLOURS = {"passing": "green", "warning": "yellow", "critical": "red", "missing": "red"}


def statuses(consul: Consul, roster: Roster, node: str = AGENT_NODE) -> dict[str, str]:
    """Return each service's status on a node, by id."""
    return worst(consul.node_checks(node), roster)


def worst(checks: Iterable[Mapping[str, Any]], roster: Roster) -> dict[str, str]:
    """Return each service's status by id: passing, warning, critical, or missing where a node has no check of it.

    It is the worst of its own checks and of its node's, for which discovery leaves it out too.

    Args:
        checks: a node's, as `Consul.node_checks` returns them.
        roster: the services.
    """
    found: dict[str, list[str]] = {}
    for check in checks:
        found.setdefault(check["ServiceID"], []).append(check["Status"])
    of_node = found.get("", [])
    return {
        service.id: max(found[service.id] + of_node, key=_RANKS.index) if service.id in found else "missing"
        for service in roster.services
    }


def await_passing(
    consul: Consul, roster: Roster, say: Callable[[str], Any], patience: float, node: str = AGENT_NODE
) -> dict[str, str]:
    """Wait until every check passes, telling of progress; returns the statuses at the end of the wait.

    Args:
        consul: any agent's API.
        roster: the services.
        say: takes a line whenever more services pass.
        patience: seconds to wait at the most.
        node: which they are registered on.
    """
    deadline, told = time.monotonic() + patience, -1
    while True:
        now = statuses(consul, roster, node)
        passing = sum(status == "passing" for status in now.values())
        if passing > told:
            say(f"{passing} of {len(now)} passing")
            told = passing
        if passing == len(now) or time.monotonic() > deadline:
            return now
        time.sleep(0.5)


def table(roster: Roster, now: Mapping[str, str]) -> Table:
    """Return what a person wants to see: each service, by group, with its status."""
    rows = Table("Service", "Address", "Check", "Status")
    for kind, title in GROUPS.items():
        rows.add_section()
        rows.add_row(f"[bold]{title}")
        for service in roster.of_kind(kind):
            status = now[service.id]
            checks = ", ".join(_short(check) for check in service.checks)
            rows.add_row(service.name, service.address, checks, f"[{COLOURS[status]}]{status}")
    return rows


def _short(check: Check) -> str:
    return f"{check.kind.upper()}, {check.interval.total_seconds():g} s"
