"""The board: the status of each service now, and since when it has it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from consul_cluster.client import ConsulError
from operations.watch.events import Away, Back, Changed, Event, Started
from services.roster import Roster


@dataclass
class Board:
    """Turns the news from Consul into events.

    Attributes:
        roster: the services.
        node: which they are registered on.
        statuses: by service id; none before the first look.
        changed: monotonic time at which a service's last change was seen, by id.
        away: why there is no news, while there is none.
    """

    roster: Roster
    node: str
    statuses: Mapping[str, str] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    away: str | None = None

    def take(self, news: Mapping[str, str] | ConsulError) -> list[Event]:
        """Take in the statuses by service id, or why there are none; return what has happened since."""
        return list(self._lost(str(news)) if isinstance(news, ConsulError) else self._changed(news))

    def seconds(self, service_id: str) -> float | None:
        """Return how long a service has been in its state; None: since before the start."""
        since = self.changed.get(service_id)
        return None if since is None else time.monotonic() - since

    def _lost(self, reason: str) -> Iterator[Event]:
        if self.away is None:
            yield Away(_now(), reason)
        self.away = reason

    def _changed(self, statuses: Mapping[str, str]) -> Iterator[Event]:
        if self.away is not None:
            yield Back(_now())
        self.away, before, self.statuses = None, self.statuses, statuses
        if not before:
            yield Started(_now(), self.node, statuses)
            return
        for service_id, status in statuses.items():
            if status != before[service_id]:
                yield Changed(_now(), service_id, before[service_id], status, self.seconds(service_id))
                self.changed[service_id] = time.monotonic()


def _now() -> datetime:
    return datetime.now().astimezone()
