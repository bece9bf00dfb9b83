"""Writes a service as a line of the roster: only what differs from what its group has anyway."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import durationpy
from pydantic import BaseModel, ValidationError

from operations.import_services.found_service import FoundCheck, FoundService
from services.ai_services import ai_service
from services.checks import DEREGISTER_FLOOR, Check, GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.environment import Environment
from services.field_types import identifier
from services.group import Group
from services.grpc_services import GRPC, grpc_service
from services.model import Service, TaggedAddress, Weights
from services.user_services import USER
from services.validation_errors import reasons

IMPORTED = Group(kind="imported", title="Imported services", suffix="", tags=(), meta={}, check=HttpCheck())
"""The group of what has a name of no other group."""

_ENVIRONMENT = Environment("staging")
_OF_CONSUL = {"timeout": "10s"}  # https://developer.hashicorp.com/consul/api-docs/agent/check#timeout
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared, not listened on


@dataclass(frozen=True)
class RosterLine:
    """What a service becomes.

    Attributes:
        kind: of the group whose file the line belongs in.
        text: the line. It is a comment where the roster cannot have the service as it is.
        unexpressed: what the line does not say, a line each.
    """

    kind: str
    text: str
    unexpressed: tuple[str, ...]


def roster_line(found: FoundService) -> RosterLine:
    """Return the line of a service."""
    name = str(found.fields.get("name", ""))
    kind, short_name, role = _group(name, found)
    unexpressed = [f"{key} is left out" for key in found.unexpressed]
    options = dict(_options(kind, short_name, role, found, unexpressed))
    arguments = [_python(short_name), repr(found.fields.get("port") or None), *([_python(role)] if role else [])]
    call = f"{kind}({', '.join([*arguments, *(f'{key}={_python(value)}' for key, value in options.items())])}),"
    try:
        _build(kind, short_name, role)(found.fields.get("port") or None, **options)
    except (ValidationError, TypeError, ValueError) as error:
        return RosterLine(kind, f"# {call}", (*unexpressed, *(f"it cannot be stated: {why}" for why in reasons(error))))
    return RosterLine(kind, call, tuple(unexpressed))


def _group(name: str, found: FoundService) -> tuple[str, str, str | None]:
    """Return the group of a service, its name there, and its role where it needs one."""
    tags = found.fields.get("tags") or ()
    if name.endswith("_grpc_service"):
        role = next((str(tag) for tag in tags if tag not in _GRPC_TAGS), "service")
        return "grpc", name.removesuffix("_grpc_service"), role
    if name.endswith("_service"):
        return "ai" if "ai-service" in tags else "user", name.removesuffix("_service"), None
    return IMPORTED.kind, name, None


_GRPC_TAGS = (*GRPC.tags, _ENVIRONMENT.name)


def _build(kind: str, name: str, role: str | None) -> Callable[..., Service]:
    def build(port: int | None, **options: Any) -> Service:  # noqa: ANN401 - what is found, checked by the model
        if kind == "grpc":
            return grpc_service(_ENVIRONMENT, name, port, role or "", **options)
        if kind == "ai":
            return ai_service(_ENVIRONMENT, name, port, **options)
        return (USER if kind == "user" else IMPORTED).service(_ENVIRONMENT, name, port, **options)

    return build


def _options(
    kind: str, name: str, role: str | None, found: FoundService, unexpressed: list[str]
) -> Iterator[tuple[str, Any]]:
    fields = found.fields
    usual = _build(kind, "any", role)(1)
    usual = usual.model_copy(update={"name": fields.get("name", "")})
    if (service_id := fields.get("id")) and service_id != fields.get("name"):
        yield "id", service_id
    yield from _place(fields, _build(kind, name, role), unexpressed)
    tags = fields.get("tags") or []
    if added := [tag for tag in usual.tags if tag not in tags]:
        unexpressed.append(f"it gets the tags of its group: {', '.join(added)}")
    if own := tuple(dict.fromkeys(tag for tag in tags if tag not in usual.tags)):
        yield "tags", own
    stated = {**usual.meta, **({"type": name} if kind == "ai" else {})}
    if meta := {key: text for key, text in (fields.get("meta") or {}).items() if stated.get(key) != text}:
        yield "meta", meta
    yield from _checks(found, usual.checks[0], unexpressed)
    if weights := _lower(fields.get("weights")):
        yield "weights", Weights.model_construct(**weights)
    if tagged := {tag: _lower(each) for tag, each in (fields.get("tagged_addresses") or {}).items()}:
        yield "tagged_addresses", {tag: TaggedAddress.model_construct(**each) for tag, each in tagged.items()}
    if fields.get("enable_tag_override"):
        yield "enable_tag_override", True


def _place(
    fields: Mapping[str, Any], build: Callable[..., Service], unexpressed: list[str]
) -> Iterator[tuple[str, Any]]:
    try:
        container = build(1).container
    except ValidationError:  # of its name, which the whole line then names
        container = ""
    address = fields.get("address")
    if not address:
        unexpressed.append(f"it has no address: the container {container} is taken for it")
    elif address != container:
        yield "host" if "." in address or ":" in address else "container", address


def _checks(found: FoundService, usual: Check, unexpressed: list[str]) -> Iterator[tuple[str, Any]]:
    checks = list(_with_ids([check for each in found.checks if (check := _check(each, found, unexpressed))], found))
    if not checks:
        unexpressed.append("it has no check that the roster has words for: its group's is put there")
        return
    if len(checks) == 1 and type(checks[0]) is type(usual):
        differing = _differing(checks[0], usual)
        if differing.keys() <= {"path", "interval"}:
            yield from differing.items()
            return
    yield "checks", tuple(checks)


def _with_ids(checks: Iterable[Check], service: FoundService) -> Iterator[Check]:
    """Yield checks with an id each: the roster gives one without an id that of its kind, which only one can have."""
    service_id = service.fields.get("id") or service.fields.get("name")
    count: Counter[str] = Counter()
    for check in checks:
        count[check.kind] += not check.id
        if check.id or count[check.kind] == 1:
            yield check
        else:
            yield check.model_copy(update={"id": f"{service_id}-{check.suffix}-{count[check.kind]}"})


def _check(found: FoundCheck, service: FoundService, unexpressed: list[str]) -> Check | None:
    fields = found.fields
    name = fields.get("id") or fields.get("name") or "a check"
    unexpressed.extend(f"{name}: {what} is left out" for what in found.unexpressed)
    kind = next((kind for kind in _KINDS if kind in fields), None)
    if not kind:
        return None
    try:
        return _KINDS[kind].model_validate(_check_fields(kind, fields, service, name, unexpressed))
    except (ValidationError, ValueError, durationpy.DurationError) as error:
        unexpressed.extend(f"{name}: {why}: the check is left out" for why in reasons(error))
        return None


_KINDS: Mapping[str, type[HttpCheck] | type[TcpCheck] | type[GrpcCheck] | type[TtlCheck]] = {
    "http": HttpCheck,
    "tcp": TcpCheck,
    "grpc": GrpcCheck,
    "ttl": TtlCheck,
}


def _check_fields(
    kind: str, fields: Mapping[str, Any], service: FoundService, name: str, unexpressed: list[str]
) -> dict[str, Any]:
    made: dict[str, Any] = {"deregister_critical_service_after": _reap(fields, name, unexpressed)}
    service_id, service_name = service.fields.get("id") or service.fields.get("name"), service.fields.get("name")
    if fields.get("id") not in (None, f"{service_id}-{_KINDS[kind].suffix}"):
        made |= _id(fields["id"], name, unexpressed)
    if fields.get("name") not in (None, f"{service_name} {kind.upper()}", f"Service '{service_name}' check"):
        made["name"] = fields["name"]
    if kind == "ttl":
        return {**made, **({"ttl": durationpy.from_str(fields["ttl"])} if fields["ttl"] else {})}
    made |= {key: durationpy.from_str(fields.get(key) or _OF_CONSUL.get(key, "10s")) for key in ("interval", "timeout")}
    made |= {key: fields[key] for key in _AS_THEY_ARE if key in fields}
    made |= {"use_tls": True} if fields.get(f"{kind}_use_tls") or str(fields[kind]).startswith("https:") else {}
    return {**made, **_target(kind, str(fields[kind]), service, name, unexpressed)}


def _id(check_id: str, name: str, unexpressed: list[str]) -> dict[str, str]:
    """Return the id of a check. One that nobody gave an id has `service:<id>` from Consul."""
    try:
        return {"id": identifier(check_id)}
    except ValueError:
        unexpressed.append(
            f"{name}: the check gets another id, since an id of the roster has no character but A-Z a-z 0-9 - _"
        )
        return {}


def _reap(fields: Mapping[str, Any], name: str, unexpressed: list[str]) -> timedelta | None:
    text = fields.get("deregister_critical_service_after")
    after = durationpy.from_str(text) if text else None
    if after and after < DEREGISTER_FLOOR:
        unexpressed.append(f"{name}: it deregisters after 1 minute, as Consul does where less is stated: {text}")
        return DEREGISTER_FLOOR
    return after or None


_AS_THEY_ARE = (
    "method",
    "header",
    "body",
    "tls_server_name",
    "tls_skip_verify",
    "success_before_passing",
    "failures_before_warning",
    "failures_before_critical",
)


def _target(kind: str, target: str, service: FoundService, name: str, unexpressed: list[str]) -> dict[str, Any]:
    """Return what a check's target says: its path, its gRPC service, and its port where the service has another."""
    if not target:
        return {}
    url = urlsplit(target if kind == "http" else f"//{target}")
    if not url.hostname or not (url.port or kind == "http"):
        raise ValueError(f"{target!r} has no host and port")
    address = service.fields.get("address")
    if url.hostname != address and (address or url.hostname not in _LOOPBACK):
        unexpressed.append(f"{name}: it asks {url.hostname}, and will ask the service's own address")
    port = url.port or (443 if url.scheme == "https" else 80)
    made: dict[str, Any] = {} if port == service.fields.get("port") else {"port": port}
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if kind == "http":
        made["path"] = path
    elif kind == "grpc" and url.path.strip("/"):
        made["service"] = url.path.strip("/")
    return made


def _differing(check: Check, usual: Check) -> dict[str, Any]:
    stated, common = dict(check), {**dict(usual), "id": ""}
    return {key: value for key, value in stated.items() if value != common[key]}


def _lower(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key.lower(): value for key, value in (fields or {}).items()}


def _python(value: object) -> str:
    """Return a value as a person writes it in the roster."""
    if isinstance(value, timedelta):
        return f"timedelta(seconds={value.total_seconds():g})"
    if isinstance(value, HttpCheck | TcpCheck | GrpcCheck | TtlCheck | Weights | TaggedAddress):
        stated = {key: each for key, each in dict(value).items() if each != _default(value, key)}
        return f"{type(value).__name__}({', '.join(f'{key}={_python(each)}' for key, each in stated.items())})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_python, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python(key)}: {_python(each)}" for key, each in value.items()) + "}"
    return re.sub(r"^'([^'\"\\]*)'$", r'"\1"', repr(value))


def _default(model: BaseModel, key: str) -> object:
    return type(model).model_fields[key].get_default(call_default_factory=True)
