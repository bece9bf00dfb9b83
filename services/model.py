"""What is registered: a service, where it listens, and how Consul checks it.

Pure data, validated when it is built. Nothing here knows Pulumi, Docker or a network.
"""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

Kind = Literal["user", "ai", "grpc"]

# Consul raises shorter ones without a message:
# https://developer.hashicorp.com/consul/docs/services/configuration/checks-configuration-reference
DEREGISTER_FLOOR = timedelta(minutes=1)
SHORTEST_INTERVAL = timedelta(seconds=1)

OWNER_KEY = "managed-by"
"""Key in a service's meta that names its owner: the Pulumi resource that registered it (`consul_cluster.ownership`)."""

# Consul's limits: https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference#meta
_META_KEYS = 63  # Consul takes one more: the owner.
_META_VALUE = 512
_HOST_NAME = 253

_ID = re.compile(r"[A-Za-z0-9_-]{1,63}")
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")  # a container's name may have a `_`
_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _identifier(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(f"{value!r} must be 1 to 63 of the characters A-Z a-z 0-9 - _")
    return value


def host(value: str) -> str:
    """Accept a host name or an IP address that a client can connect to.

    Raises:
        ValueError: it is neither, or it is an address of no host (`0.0.0.0`, `::`), which Consul refuses.
    """
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        if (
            len(value) <= _HOST_NAME
            and not _numeric(value)
            and all(_HOST_LABEL.fullmatch(part) for part in value.split("."))
        ):
            return value
        raise ValueError(f"{value!r} is neither a host name nor an IP address") from None
    if "%" in value:
        raise ValueError(f"{value!r} has a zone, which is another one on another machine")
    if address.is_unspecified:
        raise ValueError(f"{value!r} is every interface, not a host: give the address that clients connect to")
    return value


def _numeric(value: str) -> bool:
    """Whether a text only looks like an IP address: `10.0.0.300` is no host name either."""
    return value.rpartition(".")[2].isdigit()


def _duration(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0 s")
    if value % timedelta(milliseconds=1) or value > timedelta(days=365):
        raise ValueError("must be whole milliseconds, and at most 365 days")
    return value


def _runnable(value: timedelta) -> timedelta:
    if value < SHORTEST_INTERVAL:
        raise ValueError("must be at least 1 second: Consul runs no check more often")
    return value


def _above_floor(value: timedelta) -> timedelta:
    if value < DEREGISTER_FLOOR:
        raise ValueError("must be at least 1 minute: Consul looks no sooner")
    return value


def _meta(value: Mapping[str, str]) -> Mapping[str, str]:
    if len(value) > _META_KEYS:
        raise ValueError(f"has {len(value)} keys: at most {_META_KEYS} can be, beside the owner that is added")
    for key, text in value.items():
        if not _META_KEY.fullmatch(key):
            raise ValueError(f"key {key!r} must be 1 to 128 of the characters A-Z a-z 0-9 - _")
        if key == OWNER_KEY:
            raise ValueError(f"key {OWNER_KEY!r} names the owner, and is added by the program")
        if key.startswith("consul-"):
            raise ValueError(f"key {key!r} begins with consul-, which Consul keeps for itself")
        if (size := len(text.encode())) > _META_VALUE:
            raise ValueError(f"value of {key!r} has {size} bytes, Consul takes at most {_META_VALUE}")
    return MappingProxyType(dict(value))


Identifier = Annotated[str, AfterValidator(_identifier)]
Host = Annotated[str, AfterValidator(host)]
Duration = Annotated[timedelta, AfterValidator(_duration)]
Meta = Annotated[Mapping[str, str], AfterValidator(_meta), PlainSerializer(dict)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Check(_Frozen):
    """What every check has.

    Attributes:
        id: unique on the agent: Consul keys checks by it.
        interval: between the start of one run and the next; at least 1 second.
        timeout: of one run.
        deregister_critical_service_after: time in critical after which Consul removes the service; at least 1 minute.
    """

    id: Identifier
    interval: Annotated[Duration, AfterValidator(_runnable)]
    timeout: Duration
    deregister_critical_service_after: Annotated[Duration, AfterValidator(_above_floor)]


class HttpCheck(_Check):
    """Passes when a GET of `path` on the service's host and port answers 2xx."""

    kind: Literal["http"] = "http"
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/health"


class TcpCheck(_Check):
    """Passes when the service's host and port accept a connection."""

    kind: Literal["tcp"] = "tcp"


Check = Annotated[HttpCheck | TcpCheck, Field(discriminator="kind")]


class Service(_Frozen):
    """One service: what Consul shows, and where the agent finds it.

    Attributes:
        id: unique on the agent.
        name: what clients look up; here the same as the id.
        kind: the group that it belongs to.
        container: the Docker container that it runs in.
        host: name or address that clients and the agent connect to: the container, unless the stack says otherwise.
        port: 1 to 65535.
    """

    id: Identifier
    name: Identifier
    kind: Kind
    container: Host
    host: Host
    port: Annotated[int, Field(ge=1, le=65535, strict=True)]
    tags: tuple[Annotated[str, Field(min_length=1)], ...]
    meta: Meta
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]

    @property
    def address(self) -> str:
        """`host:port`, as a client would write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
