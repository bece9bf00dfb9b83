"""What must hold for services that stand side by side on one agent."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel, ConfigDict, model_validator

from services.model import Kind, Service


class Roster(BaseModel):
    """Services that can stand side by side on one agent.

    Raises:
        ValidationError: two of them share an id, a name, a check id, or a host and port.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    services: tuple[Service, ...]

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Roster":
        unique: dict[str, Callable[[Service], Iterable[str]]] = {
            "id": lambda service: [service.id],
            "name": lambda service: [service.name],
            "address": lambda service: [service.address],
            "check id": lambda service: [check.id for check in service.checks],
        }
        for what, values in unique.items():
            count = Counter(value for service in self.services for value in values(service))
            for value in (value for value, times in count.items() if times > 1):
                owners = ", ".join(service.id for service in self.services if value in values(service))
                raise ValueError(
                    f"services/roster.py: {what} {value!r} is used {count[value]} times ({owners}): it must be unique"
                )
        return self

    def __len__(self) -> int:
        return len(self.services)

    def of_kind(self, kind: Kind) -> Iterator[Service]:
        """Return the services of one of the guide's three groups, in the roster's order."""
        return (service for service in self.services if service.kind == kind)

    @property
    def not_in_dns(self) -> tuple[str, ...]:
        """Names that Consul's DNS cannot answer for; the guide's own all have a `_`, and are found over HTTP."""
        return tuple(service.name for service in self.services if not service.in_dns)
