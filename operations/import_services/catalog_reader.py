"""Reads what a running Consul has: every service of its catalog, but for Consul's own."""

from collections.abc import Iterator
from typing import Any

from consul_cluster.catalog_entries import CatalogEntry, catalog_entries
from consul_cluster.client import Consul
from consul_cluster.drift import normalize, target_in_output
from operations.import_services.found_service import FoundCheck, FoundService
from services.field_types import OWNER_KEY

# Consul does not show it either, and 90 s is what all groups have.
_DEREGISTRATION = {"deregister_critical_service_after": "1m30s"}
_UNSHOWN = "what the check asks, which Consul does not show until it has passed once"


def read_catalog(consul: Consul) -> Iterator[FoundService]:
    """Yield every service, by node.

    Raises:
        consul_cluster.client.ConsulError: Consul does not answer.
    """
    for entry in catalog_entries(consul):
        if entry.service["Service"] != "consul":
            yield _service(entry)


def _service(entry: CatalogEntry) -> FoundService:
    service, address = entry.service, entry.service["Address"] or entry.node["Address"]
    by_id = {check["CheckID"]: check for check in entry.checks}
    fields = normalize({**service, "Address": address}, by_id)  # without the checks of a maintenance
    meta = {key: text for key, text in fields["meta"].items() if key != OWNER_KEY}
    found = tuple(
        _check(check_id, check, target_in_output(by_id[check_id])) for check_id, check in fields.pop("checks").items()
    )
    return FoundService({"id": service["ID"], **fields, "meta": meta}, found)


def _check(check_id: str, check: dict[str, Any], target: str | None) -> FoundCheck:
    kind = check.pop("type", None)
    fields = {**_DEREGISTRATION, **check, "id": check_id}
    if kind in ("http", "tcp", "grpc") and target:
        return FoundCheck({**fields, kind: target})
    if kind in ("http", "tcp", "grpc", "ttl"):
        return FoundCheck({**fields, kind: ""}, ("after how long it expires" if kind == "ttl" else _UNSHOWN,))
    return FoundCheck(fields, (f"a check of type {kind}",) if kind else ())
