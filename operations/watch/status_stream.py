"""A stream of the status of each service on a node, as soon as it changes."""

import time
from collections.abc import Iterator, Mapping

from consul_cluster.client import Consul, ConsulError
from consul_cluster.health_status import service_statuses
from services.roster import Roster

_WAIT = "10s"  # Consul adds up to a sixteenth; a read ends after 15 s
_PAUSE = 1.0


def status_stream(consul: Consul, node: str, roster: Roster) -> Iterator[Mapping[str, str] | ConsulError]:
    """Yield each service's status by id, now and after each change; where Consul has no answer, why. It never ends.

    Args:
        consul: whom to ask, with blocking queries: https://developer.hashicorp.com/consul/api-docs/features/blocking
        node: which the services are registered on.
        roster: the services.
    """
    index = 0
    while True:
        try:
            checks, index = consul.node_checks_after(node, index, _WAIT)
        except ConsulError as error:
            yield error
            index = 0
            time.sleep(_PAUSE)
        else:
            yield service_statuses(checks, roster)
