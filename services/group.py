"""A group of services: what they have in common, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from traceback import walk_stack
from typing import TypedDict, Unpack

from pydantic import JsonValue

from services.checks import Check
from services.environment import Environment, Location
from services.field_types import host
from services.model import Service, TaggedAddress, Weights

VERSION = "v1"


class Options(TypedDict, total=False):
    """What a service's line can say beside its name and port. The fields of `Service` have the same meaning.

    Attributes:
        path: of the group's HTTP check, for this service.
        interval: of the group's check, for this service.
        checks: instead of the group's check.
        tags: beside the group's.
        meta: beside the group's.
    """

    path: str
    interval: timedelta
    checks: tuple[Check, ...]
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    id: str
    container: str
    host: str
    weights: Weights
    tagged_addresses: Mapping[str, TaggedAddress]
    enable_tag_override: bool
    same_address_as: str
    configuration: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Group:
    """What the services of a group have in common.

    Attributes:
        kind: its short name; its services are listed in services/<kind>_services.py.
        title: what commands print above its services.
        suffix: that the name of each of its services ends with.
        tags: of each service, before the environment's name.
        meta: of each service.
        check: of each service whose line says nothing else.
    """

    kind: str
    title: str
    suffix: str
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    check: Check

    def service(self, environment: Environment, name: str, port: int | None, **options: Unpack[Options]) -> Service:
        """Return a service in its container: `billing_service` runs in `isa-billing`.

        Args:
            environment: of the stack.
            name: without the group's suffix.
            port: that it listens on; None: none.
            options: what it has of its own.

        Raises:
            pydantic.ValidationError: a value is not Consul's.
            ValueError: the name has the suffix already, two of the options contradict each other, or one of several
                values is none.
        """
        if self.suffix and (not name or str(name).endswith(self.suffix)):
            raise ValueError(f"name: {name!r} must be one without {self.suffix}, which its group adds")
        refuse_single_values(options)
        if "host" in options:  # also where the stack has another one
            host(options["host"])
        full_name = f"{name}{self.suffix}"
        fields = {key: value for key, value in options.items() if key not in _OF_THE_GROUP}
        container = options.get("container", f"isa-{full_name.removesuffix('_service').replace('_', '-')}")
        service_id = options.get("id", full_name)
        located = environment.locations.get(service_id, Location())
        own = {
            "id": service_id,
            "name": full_name,
            "kind": self.kind,
            "container": container,
            "host": located.host or environment.host or options.get("host", container),
            "port": located.port or port,
            "tags": (*self.tags, environment.name, *options.get("tags", ())),
            "meta": {"version": VERSION, "environment": environment.name, **self.meta, **options.get("meta", {})},
            "checks": self._checks(options),
            "line": _line_of(f"/{self.kind}_services.py"),
        }
        return Service.model_validate({**fields, **own})

    def _checks(self, options: Options) -> tuple[Check, ...]:
        changes = {key: options[key] for key in ("path", "interval") if key in options}
        if "checks" not in options:
            return (type(self.check).model_validate({**dict(self.check), **changes}),)
        if changes:
            raise ValueError(f"{' and '.join(changes)} cannot stand beside checks: put it into a check")
        return options["checks"]


def refuse_single_values(options: Options) -> None:
    """Check that what a line states several of is several: Python takes a text for a sequence of letters.

    Raises:
        ValueError: it is one, without a comma.
    """
    for key, value in options.items():
        kinds, right = _COLLECTIONS.get(key, (object, ""))
        if not isinstance(value, kinds):
            raise ValueError(f"{key}: must be {right}")


def _line_of(file: str) -> int | None:
    """Return the line at which code of a file, whose path ends so, calls this; None: it does not."""
    lines = [line for frame, line in walk_stack(None) if frame.f_code.co_filename.endswith(file)]
    return lines[-1] if lines else None


_COLLECTIONS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "tags": ((tuple, list), 'a tuple, which has a comma: ("preferred",)'),
    "checks": ((tuple, list), "a tuple, which has a comma: (HttpCheck(),)"),
    "meta": (Mapping, 'a dictionary: {"team": "billing"}'),
}
# What a line says beside what the group has; all else is a field of the service.
_OF_THE_GROUP = ("path", "interval", "checks", "tags", "meta", "id", "container", "host")
