"""What happens while somebody watches, as a line for a person and as fields for a machine."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True)
class Started:
    """The first look."""

    time: datetime
    node: str
    statuses: Mapping[str, str]
    kind: ClassVar = "start"

    @property
    def text(self) -> str:
        """How many are in which state, and the names of those that do not pass."""
        counts = Counter(self.statuses.values())
        bad = [f"{name} {status}" for name, status in self.statuses.items() if status != "passing"]
        summary = f"{counts['passing']} of {len(self.statuses)} passing on {self.node}"
        return ": ".join([summary, ", ".join(bad)]) if bad else summary


@dataclass(frozen=True)
class Changed:
    """A service went from one status to another; `seconds` it had been in the old one, None: since before the start."""

    time: datetime
    service: str
    old: str
    new: str
    seconds: float | None
    kind: ClassVar = "change"

    @property
    def text(self) -> str:
        """Service, old and new status."""
        return f"{self.service} {self.old} -> {self.new}"


@dataclass(frozen=True)
class Away:
    """Consul stopped answering: what is known is what was known last."""

    time: datetime
    reason: str
    kind: ClassVar = "away"

    @property
    def text(self) -> str:
        """Why."""
        return f"no news: {self.reason}"


@dataclass(frozen=True)
class Back:
    """Consul answers again."""

    time: datetime
    kind: ClassVar = "back"

    @property
    def text(self) -> str:
        """That it does."""
        return "news again: Consul answers"


Event = Started | Changed | Away | Back


def line(event: Event) -> str:
    """Return an event as a person reads it in a log."""
    return f"{event.time.isoformat(timespec='seconds')} {event.text}"


def fields(event: Event) -> dict[str, Any]:
    """Return an event as a machine reads it: `time` in ISO 8601, `event`, and what belongs to it."""
    return {"time": event.time.isoformat(timespec="milliseconds"), "event": event.kind, **_own(event)}


def _own(event: Event) -> dict[str, Any]:
    return {key: value for key, value in asdict(event).items() if key != "time"}
