"""The report of `verify` on a cluster."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from operations.stack import Stack
from operations.verify.duplicates import Stray, others, strays
from operations.verify.findings import Verdict
from operations.verify.health import discovery, health, metrics
from operations.verify.kv_entries import kv_entries
from operations.verify.members import apis, members
from operations.verify.observed_state import ObservedState, observe
from operations.verify.registrations import registrations
from waiting import wait_until

AREAS: tuple[Callable[[ObservedState], Verdict | None], ...] = (
    apis,
    members,
    registrations,
    health,
    discovery,
    metrics,
    others,
    kv_entries,
)


@dataclass(frozen=True)
class Report:
    """What a cluster is like at one moment.

    Attributes:
        stack: the stack's name.
        verdicts: one an area.
        strays: every instance that the roster does not state.
        seconds: that it took to observe it.
    """

    stack: str
    verdicts: tuple[Verdict, ...]
    strays: tuple[Stray, ...]
    seconds: float

    @property
    def well(self) -> bool:
        """Whether all is as stated."""
        return all(verdict.well for verdict in self.verdicts)


def report(stack: Stack) -> Report:
    """Observe a running cluster, and judge every area."""
    started = time.monotonic()
    observed = observe(stack)
    verdicts = tuple(verdict for judge in AREAS if (verdict := judge(observed)))
    return Report(stack.name, verdicts, strays(observed), time.monotonic() - started)


def report_once(stack: Stack, holds: Callable[[Report], bool], seconds: float, pause: float = 0.1) -> Report:
    """Return the first report for which a condition holds, or the last one before the time is over.

    Args:
        stack: the stack whose cluster is observed.
        holds: the condition.
        seconds: how long to wait at most.
        pause: seconds between two reports.
    """
    latest: list[Report] = []

    def holds_now() -> bool:
        latest[:] = [report(stack)]
        return holds(latest[0])

    wait_until(holds_now, seconds, pause)
    return latest[0]
