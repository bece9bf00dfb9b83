"""The statuses of a stack's services, as they change."""

import time
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from threading import Thread

from consul_cluster.client import Consul, ConsulError
from consul_cluster.health_status import DRAINED, MISSING, service_statuses
from consul_cluster.ownership import is_owned_by
from operations.signals import pump
from operations.stack import Stack, StackHost

_WAIT = "10s"  # Consul adds up to a sixteenth; a read ends after 15 s
_PAUSE = 1.0

News = Mapping[str, str] | ConsulError


def stack_stream(stack: Stack) -> Iterator[News]:
    """Yield each service's status by id, now and after each change; where Consul has no answer, why. It never ends.

    Raises:
        UserError: the state, which has the access token, cannot be read.
    """
    if len(stack.hosts) == 1:
        yield from host_stream(stack, stack.hosts[0])
        return
    queue = SimpleQueue[Callable[[], News]]()
    for host in stack.hosts:
        Thread(target=pump, args=(host_stream(stack, host), queue), daemon=True).start()
    statuses: dict[str, str] = {}
    while True:
        news = queue.get()()
        if isinstance(news, ConsulError):
            yield news
            continue
        statuses |= news
        if len(statuses) == len(stack.roster):  # every host has been seen once
            yield {service.id: statuses[service.id] for service in stack.roster.services}


def host_stream(stack: Stack, host: StackHost) -> Iterator[News]:
    """Yield the same of the services of one host.

    Consul is asked by blocking queries: https://developer.hashicorp.com/consul/api-docs/features/blocking
    """
    consul, index = stack.consul, 0
    while True:
        try:
            checks, index = consul.node_checks_after(host.node, index, _WAIT)
            statuses = _with_drained(service_statuses(checks, host.roster), consul, stack, host)
        except ConsulError as error:
            yield error
            index = 0
            time.sleep(_PAUSE)
            consul = stack.consul
        else:
            yield statuses


def _with_drained(statuses: Mapping[str, str], consul: Consul, stack: Stack, host: StackHost) -> Mapping[str, str]:
    """Return statuses that tell a service which an interrupted run has left on a server from one that is missing."""
    missing = [service_id for service_id, status in statuses.items() if status == MISSING]
    server = consul.node_services(host.docker.names.server_node) if missing else {}
    drained = [each for each in missing if each in server and is_owned_by(server[each]["Meta"], stack.owner_prefix)]
    return {**statuses, **dict.fromkeys(drained, DRAINED)}
