"""Every registration in the catalog, with its node and its checks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consul_cluster.client import Consul


@dataclass(frozen=True)
class CatalogEntry:
    """One registration, as the catalog's API returns its parts.

    Attributes:
        node: that it is on.
        service: the registration itself.
        checks: its own.
        node_checks: of its node. An agent that is gone leaves its last statuses.
    """

    node: Mapping[str, Any]
    service: dict[str, Any]
    checks: list[dict[str, Any]]
    node_checks: list[dict[str, Any]]


def catalog_entries(consul: Consul) -> Iterator[CatalogEntry]:
    """Yield every registration, by node; this takes a request a node, and two more.

    Raises:
        consul_cluster.client.ConsulError: Consul does not answer.
    """
    checks = defaultdict[tuple[str, str], list[dict[str, Any]]](list)
    for check in consul.catalog_checks():
        checks[check["Node"], check["ServiceID"]].append(check)
    for node in sorted(consul.catalog_nodes()):
        found = consul.catalog_node(node) or {"Node": {}, "Services": {}}
        for service_id, service in found["Services"].items():
            yield CatalogEntry(found["Node"], service, checks[node, service_id], checks[node, ""])
