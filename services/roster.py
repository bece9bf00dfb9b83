"""The roster: all services of a stack, which must be able to stand side by side on one agent."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from errors import UserError
from services.ai_services import ai_services
from services.environment import Environment
from services.grpc_services import grpc_services
from services.model import Kind, Service
from services.user_services import user_services

_GROUPS = (user_services, ai_services, grpc_services)


class RosterError(UserError):
    """A line of a group's file is malformed, or two lines want the same thing."""


class Roster(BaseModel):
    """Services that can stand side by side on one agent.

    Raises:
        ValidationError: two of them share an id, a name, a check id, or a host and port, in whatever case.
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
            # The catalog does not know upper from lower case.
            count = Counter(value.lower() for service in self.services for value in values(service))
            for value in (value for value, times in count.items() if times > 1):
                owners = ", ".join(
                    f"{service.id} in services/{service.kind}_services.py"
                    for service in self.services
                    if value in map(str.lower, values(service))
                )
                raise ValueError(f"{what} {value!r} is used {count[value]} times ({owners}): it must be unique")
        return self

    def __len__(self) -> int:
        return len(self.services)

    def of_kind(self, kind: Kind) -> Iterator[Service]:
        """Return the services of one group, in the order of its file."""
        return (service for service in self.services if service.kind == kind)


def load_roster(environment: str = "staging", host: str | None = None) -> Roster:
    """Return all services of the three groups, checked.

    Args:
        environment: a tag and a meta value of each service.
        host: one address that stands for all container names; None: each service is at its container's name.

    Raises:
        RosterError: a line is malformed, or two of them want the same thing.
    """
    where = Environment(environment, host)
    try:
        return Roster(services=tuple(service for group in _GROUPS for service in group(where)))
    except ValidationError as error:
        raise RosterError("\n".join(_messages(error))) from None


def _messages(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False):
        if each["loc"]:
            field, message = ".".join(map(str, each["loc"])), each["msg"]
            yield f"{_line(error)}: {field}: {each['input']!r}: {message[0].lower()}{message[1:]}"
        else:  # of two services, which the message names
            yield str(each["ctx"]["error"])


def _line(error: ValidationError) -> str:
    """Return the file and line whose service is malformed: the one in the body of a group's function."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next(frame for frame in frames if frame.name in {group.__name__ for group in _GROUPS})
    return f"services/{Path(frame.filename).name}, line {frame.lineno}"
