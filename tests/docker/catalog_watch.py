"""What a client sees of the services in the catalog while something happens."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from consul_cluster.client import Consul, ConsulError
from services.roster import Roster
from tests.polling import polling

PAUSE = 0.02  # seconds between two requests


@dataclass
class CatalogWatch:
    """What a client saw of the services.

    Attributes:
        twice: services of which the catalog had two instances at once.
        missing: the longest time in seconds for which a service had no passing instance.
        answers: how often the catalog answered.
    """

    twice: set[str] = field(default_factory=set)
    missing: float = 0.0
    answers: int = 0


def accept_any_certificate(client: Consul) -> Consul:
    """Have a client go on while the authority of the certificates is replaced; returns it."""
    client._http.connection_pool_kw["cert_reqs"] = "CERT_NONE"
    return client


@contextmanager
def watch_catalog(roster: Roster, *servers: Consul, at_least: int = 10) -> Iterator[CatalogWatch]:
    """Ask for the catalog's checks again and again while a block runs.

    Args:
        roster: the services that are watched.
        servers: ways to reach the catalog. The first one that answers is taken, each time.
        at_least: how many answers there must have been at the end of the block.

    Raises:
        AssertionError: there were fewer answers: nothing missing was seen because nothing was seen.
    """
    watch = CatalogWatch()
    for server in servers:
        accept_any_certificate(server)
    names = {service.name for service in roster.services}
    last_passing = dict.fromkeys(names, time.monotonic())

    def catalog() -> list[dict[str, Any]]:
        for server in servers:
            with suppress(ConsulError):
                return server.catalog_checks()
        return []

    def poll() -> None:
        if checks := catalog():
            watch.answers += 1
            counts = Counter(check["ServiceName"] for check in checks)
            watch.twice |= {name for name in names if counts[name] > 1}
            for name in names & {check["ServiceName"] for check in checks if check["Status"] == "passing"}:
                last_passing[name] = time.monotonic()
            watch.missing = max(watch.missing, time.monotonic() - min(last_passing.values()))

    with polling(poll, PAUSE):
        yield watch
    assert watch.answers >= at_least, f"the catalog answered {watch.answers} times, fewer than {at_least}"
