"""`status`: the services of a stack as the catalog has them."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from consul_cluster.health_status import service_statuses
from operations.command_line import DEFAULT_STACK, StackName
from operations.output import STATUS_COLOURS, console
from operations.stack import Stack
from services.checks import Check, TtlCheck
from services.roster import GROUPS, Roster


def status(stack: StackName = DEFAULT_STACK) -> None:
    """Show the services as the catalog has them."""
    loaded = Stack.load(stack)
    statuses = service_statuses(checks_of(loaded), loaded.roster)
    console.print(status_table(loaded.roster, statuses))


def checks_of(stack: Stack) -> list[dict[str, Any]]:
    """Return the checks that the catalog has on all nodes of a stack."""
    consul = stack.consul
    return [check for node in stack.nodes for check in consul.node_checks(node)]


def status_table(roster: Roster, statuses: Mapping[str, str]) -> Table:
    """Return the services by group, each with its status, as a table for a terminal."""
    rows = Table("Service", "Address", "Check", "Status")
    for group in GROUPS:
        rows.add_section()
        rows.add_row(f"[bold]{group.title}")
        for service in roster.of_kind(group.kind):
            status = statuses[service.id]
            checks = ", ".join(_summary(check) for check in service.checks)
            rows.add_row(service.id, service.address, checks, f"[{STATUS_COLOURS[status]}]{status}")
    return rows


def _summary(check: Check) -> str:
    span = check.ttl if isinstance(check, TtlCheck) else check.interval
    return f"{check.kind.upper()}, {span.total_seconds():g} s"
