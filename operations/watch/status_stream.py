"""A stream of the status of each service on a node, as soon as it changes."""

import time
from collections.abc import Iterator, Mapping

from consul_cluster.client import Consul, ConsulError
from consul_cluster.health_status import DRAINED, MISSING, service_statuses
from consul_cluster.ownership import is_owned_by
from services.roster import Roster

_WAIT = "10s"  # Consul adds up to a sixteenth; a read ends after 15 s
_PAUSE = 1.0


def status_stream(
    consul: Consul, node: str, roster: Roster, owner_prefix: str, server_node: str
) -> Iterator[Mapping[str, str] | ConsulError]:
    """Yield each service's status by id, now and after each change; where Consul has no answer, why. It never ends.

    Args:
        consul: whom to ask, with blocking queries: https://developer.hashicorp.com/consul/api-docs/features/blocking
        node: which the services are registered on.
        roster: the services.
        owner_prefix: what the owners of the stack's registrations begin with.
        server_node: of the server, on which an interrupted run leaves services.
    """
    index = 0
    while True:
        try:
            checks, index = consul.node_checks_after(node, index, _WAIT)
            statuses = _with_drained(service_statuses(checks, roster), consul, owner_prefix, server_node)
        except ConsulError as error:
            yield error
            index = 0
            time.sleep(_PAUSE)
        else:
            yield statuses


def _with_drained(
    statuses: Mapping[str, str], consul: Consul, owner_prefix: str, server_node: str
) -> Mapping[str, str]:
    """Return statuses that tell a drained service from one that is missing."""
    missing = [service_id for service_id, status in statuses.items() if status == MISSING]
    server = consul.node_services(server_node) if missing else {}
    drained = [each for each in missing if each in server and is_owned_by(server[each]["Meta"], owner_prefix)]
    return {**statuses, **dict.fromkeys(drained, DRAINED)}
