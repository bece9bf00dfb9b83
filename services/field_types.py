"""The types of fields of services and checks, with Consul's rules."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

OWNER_KEY = "managed-by"
"""Key in a service's meta that names its owner: the Pulumi resource that registered it (`consul_cluster.ownership`)."""

# Consul's limits: https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference#meta
_META_KEYS = 63  # Consul takes one more: the owner.
_META_VALUE = 512
_HOST_NAME = 253

_ID = re.compile(r"[A-Za-z0-9_-]{1,63}")
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")  # a container's name may have a `_`
_META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def identifier(value: str) -> str:
    """Accept what Consul takes for an id, and DNS for a part of a name.

    Raises:
        ValueError: it is none.
    """
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


def _with_a_unit(value: object) -> object:
    if isinstance(value, int | float | str):
        raise ValueError("must be a timedelta with its unit, such as timedelta(seconds=30)")
    return value


def _duration(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0 s")
    if value % timedelta(milliseconds=1) or value > timedelta(days=365):
        raise ValueError("must be whole milliseconds, and at most 365 days")
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


Identifier = Annotated[str, AfterValidator(identifier)]
Host = Annotated[str, AfterValidator(host)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Duration = Annotated[timedelta, BeforeValidator(_with_a_unit), AfterValidator(_duration)]
Meta = Annotated[Mapping[str, str], AfterValidator(_meta), PlainSerializer(dict)]


class Frozen(BaseModel):
    """A model that does not change after it was checked, and that takes no field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def host_and_port(host: str, port: int | None) -> str:
    """Return `host:port`, as a client would write it; the host alone where there is no port, which is 0 to Consul."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
