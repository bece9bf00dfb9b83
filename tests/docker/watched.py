"""What a client sees of the services while something happens."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from cluster.client import ConsulError
from operations.local import Local
from tests.meanwhile import meanwhile


@dataclass
class Watched:
    """What a client saw of the services while something happened.

    Attributes:
        twice: services of which the catalog had two instances at once.
        missing: the longest time in seconds for which a service had no passing instance.
        looks: how often the catalog was seen.
    """

    twice: set[str] = field(default_factory=set)
    missing: float = 0.0
    looks: int = 0


@contextmanager
def watched(*stacks: Local) -> Iterator[Watched]:
    """Look at the servers' catalog, by the first of these ways to reach it that lets one in."""
    found = Watched()
    servers = [stack.target.server for stack in stacks]
    for server in servers:  # sees what another authority signs too, where the first is replaced meanwhile
        server._http.connection_pool_kw["cert_reqs"] = "CERT_NONE"
    names = {service.name for service in stacks[0].roster.services}
    seen = dict.fromkeys(names, time.monotonic())

    def catalog() -> list[dict[str, Any]]:
        for server in servers:
            with suppress(ConsulError):
                return server.catalog_checks()
        return []

    def look() -> None:
        if checks := catalog():
            found.looks += 1
            counts = Counter(check["ServiceName"] for check in checks)
            found.twice |= {name for name in names if counts[name] > 1}
            for name in names & {check["ServiceName"] for check in checks if check["Status"] == "passing"}:
                seen[name] = time.monotonic()
            found.missing = max(found.missing, time.monotonic() - min(seen.values()))

    with meanwhile(look, 0.02):
        yield found
