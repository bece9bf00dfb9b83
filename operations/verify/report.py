"""Everything that `verify` says of a cluster."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from operations.target import Target
from operations.verify.duplicates import Stray, others, strays
from operations.verify.findings import Verdict
from operations.verify.health import discovery, health, metrics
from operations.verify.members import apis, members
from operations.verify.registrations import registrations
from operations.verify.snapshot import Snapshot, snapshot

AREAS: tuple[Callable[[Snapshot], Verdict], ...] = (
    apis,
    members,
    registrations,
    health,
    discovery,
    metrics,
    others,
)


@dataclass(frozen=True)
class Report:
    """What a look at a cluster says.

    Attributes:
        stack: the stack's name.
        verdicts: one an area.
        strays: every instance that the roster does not state.
        seconds: that the look took.
    """

    stack: str
    verdicts: tuple[Verdict, ...]
    strays: tuple[Stray, ...]
    seconds: float

    @property
    def well(self) -> bool:
        """Whether all is as stated."""
        return all(verdict.well for verdict in self.verdicts)


def report(target: Target) -> Report:
    """Look at a running cluster, and judge every area."""
    started = time.monotonic()
    seen = snapshot(target)
    verdicts = tuple(judge(seen) for judge in AREAS)
    return Report(target.stack, verdicts, strays(seen), time.monotonic() - started)
