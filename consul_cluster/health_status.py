"""The health status of services: the worst status of their checks."""

from collections.abc import Iterable, Mapping
from typing import Any

from consul_cluster.client import NODE_MAINTENANCE, is_maintenance
from services.roster import Roster

MISSING = "missing"
UNCHECKED = "unchecked"
"""Stands for the status of a check that was changed and has not run since: Consul shows the one of before."""
DRAINED = "drained"
"""Stands for a service that the server's own agent has, while the shared agent's container is replaced."""
MAINTENANCE = "maintenance"
"""Stands for the critical check by which Consul keeps a service or a node that an operator has taken out."""
_BEST_FIRST = ("passing", "warning", "critical", MAINTENANCE)


def check_status(check: Mapping[str, Any]) -> str:
    """Return the status of a check, as any API shows it."""
    is_kept = check["CheckID"] == NODE_MAINTENANCE or is_maintenance(check["CheckID"])
    return MAINTENANCE if is_kept else str(check["Status"])


def worst_status(statuses: Iterable[str]) -> str:
    """Return the worst of several check statuses; `missing` if there is none.

    https://developer.hashicorp.com/consul/docs/services/usage/checks
    """
    return max(statuses, key=_BEST_FIRST.index, default=MISSING)


def service_statuses(checks: Iterable[Mapping[str, Any]], roster: Roster) -> dict[str, str]:
    """Return the status of each service of a roster, by service id.

    The status is the worst of the service's own checks and its node's checks, because Consul leaves a service out of
    discovery for either. A service without a check of its own on the node is `missing`.

    Args:
        checks: the checks of one node, as `Consul.node_checks` returns them.
        roster: the services.
    """
    by_service: dict[str, list[str]] = {}
    for check in checks:
        by_service.setdefault(check["ServiceID"], []).append(check_status(check))
    of_node = by_service.get("", [])
    return {
        service.id: worst_status([*own, *of_node]) if (own := by_service.get(service.id)) else MISSING
        for service in roster.services
    }
