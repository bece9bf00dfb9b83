"""Counts the requests that a proxy passes on, and says which of them break."""

import threading
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["kill before", "kill after", "500", "403", "no answer", "answer lost"]

_ONCE: tuple[Kind, ...] = ("kill before", "kill after", "answer lost")


@dataclass
class BrokenRequests:
    """Which request breaks, and how. A refusal lasts until the next `arm`; what else breaks does it once.

    Attributes:
        count: requests since it was armed.
        at: the request that breaks; 0: none does.
        kind: how it breaks.
    """

    count: int = 0
    at: int = 0
    kind: Kind = "500"
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, at: int, kind: Kind) -> None:
        self.count, self.at, self.kind = 0, at, kind

    @property
    def struck(self) -> bool:
        return 0 < self.at <= self.count

    def next(self) -> Kind | None:
        """Count a request, and return how it breaks, if it does."""
        with self._lock:
            self.count += 1
            breaks = self.count == self.at if self.kind in _ONCE else self.struck
            return self.kind if breaks else None
