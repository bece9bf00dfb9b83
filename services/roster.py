"""The roster: all services of a stack, which must be able to stand side by side on one agent."""

import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened

from pydantic import ValidationError, model_validator
from pydantic_core import ErrorDetails

from errors import UserError
from services import configuration_values
from services.ai_services import AI, ai_services
from services.checks import GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.environment import Environment
from services.field_types import Frozen
from services.group import Group, Options
from services.grpc_services import GRPC, grpc_services
from services.model import Service, TaggedAddress, Weights
from services.user_services import USER, user_services
from services.validation_errors import field_and_message

# In the order in which they are shown. A group of your own goes here.
_SERVICES = ((USER, user_services), (AI, ai_services), (GRPC, grpc_services))

GROUPS = tuple(group for group, _ in _SERVICES)
"""What the services of each group have in common."""

_FIELDS: Mapping[str, Iterable[str]] = {
    part.__name__: [name for name in part.model_fields if name != "kind"]
    for part in (HttpCheck, TcpCheck, GrpcCheck, TtlCheck, Weights, TaggedAddress)
}
"""The fields of what a line is made of, for messages."""

_SHOWN = (str, int, float, timedelta, type(None))  # what a message repeats: not whole checks


_MADE_OF = {"name": ("id", "container", "host"), "container": ("host",)}
"""What a group makes of a field where the line does not state it: wrong with that field, it is no second mistake."""


class RosterError(UserError):
    """A line of a group's file is malformed, or two lines want the same thing."""


class Roster(Frozen):
    """Services that can stand side by side on one agent.

    Raises:
        ValidationError: two of them share an id or a check id, in whatever case; or a host and port, unless they say
            so; or their names differ only in case.
    """

    services: tuple[Service, ...]

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Roster":
        # The catalog does not know upper from lower case.
        ids = ((service.id.lower(), service) for service in self.services)
        check_ids = ((check.id.lower(), service) for service in self.services for check in service.checks)
        for what, keyed in (("id", ids), ("check id", check_ids)):
            for value, users in _shared(keyed).items():
                raise ValueError(f"{what} {value!r} is used {len(users)} times ({_lines(users)}): it must be unique")
        return self

    @model_validator(mode="after")
    def _names_in_one_spelling(self) -> "Roster":
        for value, users in _shared((service.name.lower(), service) for service in self.services).items():
            if len(names := sorted({service.name for service in users})) > 1:
                raise ValueError(
                    f"names {' and '.join(names)} ({_lines(users)}) are one to Consul's catalog, which does not know "
                    f"upper from lower case: {value!r} must be spelled in one way"
                )
        return self

    @model_validator(mode="after")
    def _addresses_shared_on_purpose(self) -> "Roster":
        listening = ((service.address.lower(), service) for service in self.services if service.port)
        for address, users in _shared(listening).items():
            ids = {service.id for service in users}
            if sum(service.same_address_as not in ids - {service.id} for service in users) > 1:
                raise ValueError(
                    f"address {address!r} is used {len(users)} times ({_lines(users)}): it must be unique. Where it is "
                    f"one service under two names, say so in a line: same_address_as={users[0].id!r}"
                )
        return self

    @model_validator(mode="after")
    def _one_configuration_a_name(self) -> "Roster":
        values: dict[str, tuple[str, Service]] = {}
        for service in self.services:
            for key, text in _kv_entries(service).items():
                other_text, other = values.setdefault(key, (text, service))
                if text != other_text:
                    raise ValueError(
                        f"KV key {key!r} has two values ({_lines((other, service))}): instances of one name read the "
                        "same keys"
                    )
        return self

    @property
    def kv_configuration(self) -> Mapping[str, str]:
        """The services' values in Consul's KV store: JSON texts by key."""
        return {key: text for service in self.services for key, text in _kv_entries(service).items()}

    def __len__(self) -> int:
        return len(self.services)

    def of_kind(self, kind: str) -> Iterator[Service]:
        """Return the services of one group, in the order of its file."""
        return (service for service in self.services if service.kind == kind)


def _kv_entries(service: Service) -> dict[str, str]:
    values = {**configuration_values.FOR_ALL_SERVICES, **service.configuration}
    return {f"{service.name}/{key}": configuration_values.json_text(value) for key, value in values.items()}


def _shared(keyed: Iterable[tuple[str, Service]]) -> dict[str, list[Service]]:
    """Return the services by key, of each key that more than one of them has."""
    by_key: dict[str, list[Service]] = {}
    for key, service in keyed:
        by_key.setdefault(key, []).append(service)
    return {key: services for key, services in by_key.items() if len(services) > 1}


def _lines(services: Iterable[Service]) -> str:
    return "; ".join(f"{service.id} in {service.place}" for service in services)


def load_roster(environment: Environment) -> Roster:
    """Return the services of all groups that a stack has, checked.

    Raises:
        RosterError: a line is malformed, or two of them want the same thing, or the stack names an id that none has.
    """
    try:
        configuration_values.check_for_all_services()
    except ValidationError as error:
        raise RosterError(
            f"services/configuration_values.py: FOR_ALL_SERVICES: {_message(error.errors()[0])}"
        ) from None
    try:
        services = [
            service for group, services_of in _SERVICES for service in _checked(group, services_of(environment))
        ]
        shared = {
            f"{service.place}: {service.id}: same_address_as": [service.same_address_as]
            for service in services
            if service.same_address_as
        }
        named = {"leaveOut": environment.left_out, "locations": environment.locations, **shared}
        _refuse_unknown(named, {service.id for service in services})
        return Roster(services=tuple(service for service in services if service.id not in environment.left_out))
    except ValidationError as error:
        raise RosterError("\n".join(_messages(error))) from None
    except (NameError, TypeError, ValueError) as error:  # of a call, such as one without a port
        raise RosterError(f"{_line(error)}: {error}") from None


def _checked(group: Group, services: Iterable[object]) -> Iterator[Service]:
    for service in services:
        if not isinstance(service, Service):
            file, line = f"services/{group.kind}_services.py", f"{group.kind}(NAME, PORT), with a comma after it"
            raise RosterError(f"{file}: {shortened(service)} is no service: a line is {line}")
        yield service


def _refuse_unknown(named: Mapping[str, Iterable[str]], ids: Collection[str]) -> None:
    for key, stated in named.items():
        for unknown in sorted(set(stated) - set(ids)):
            meant = f": {near} is" if (near := nearest(unknown, ids)) else ""
            raise RosterError(f"{key}: {unknown!r} is no id of a service in services/{meant}")


def nearest(unknown: str, ids: Iterable[str]) -> str | None:
    """Return the id that may be meant. That both end like all services of a group says nothing."""
    by_stem = {_stem(each): each for each in ids}
    near = get_close_matches(_stem(unknown), by_stem, 1)
    return by_stem[near[0]] if near else None


def _stem(service_id: str) -> str:
    return min((service_id.removesuffix(group.suffix) for group in GROUPS), key=len)


def _messages(error: ValidationError) -> Iterable[str]:
    details = error.errors(include_url=False)
    if error.title == Roster.__name__:  # of two services, which the message names
        return [str(each["ctx"]["error"]) for each in details]
    wrong = {each["loc"][:1] for each in details}
    follow = {(field,) for cause, fields in _MADE_OF.items() if (cause,) in wrong for field in fields}
    part = "" if error.title == Service.__name__ else f"{error.title}: "
    fields = _FIELDS.get(error.title, Options.__annotations__)
    return [f"{_line(error)}: {part}{_message(each, fields)}" for each in details if each["loc"][:1] not in follow]


def _message(each: ErrorDetails, fields: Iterable[str] = ()) -> str:
    field, message = field_and_message(each)
    if not field:  # of a check whose fields do not fit each other
        return message
    if each["type"] == "extra_forbidden":
        return f"{field}: there is no such field, but {', '.join(fields)}"
    given = each["input"]
    shown = f"{given.total_seconds():g} s" if isinstance(given, timedelta) else f"{given!r}"
    value = f"{shown}: " if isinstance(given, _SHOWN) and not message.startswith(shown) else ""
    return f"{field}: {value}{message[0].lower()}{message[1:]}"


def _line(error: Exception) -> str:
    """Return the file and line whose service is malformed: the one in the body of a group's function."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next(frame for frame in frames if frame.name in {services_of.__name__ for _, services_of in _SERVICES})
    return f"services/{Path(frame.filename).name}, line {frame.lineno}"
