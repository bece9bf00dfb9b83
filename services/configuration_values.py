"""The services' configuration in Consul's KV store: key `<service name>/<key>`, value in JSON.

To give a value to every service, edit `FOR_ALL_SERVICES`; to one service, edit its line: `configuration={...}`.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, JsonValue, PlainSerializer, TypeAdapter

FOR_ALL_SERVICES: Mapping[str, JsonValue] = {}
"""Values that every service has under its own name. The line of a service can give another value for a key."""

# https://developer.hashicorp.com/consul/docs/agent/config/config-files#kv_max_value_size
_MAX_BYTES = 512 * 1024
_KEY = re.compile(r"(?!\.+(/|$))[A-Za-z0-9_.-]+(/(?!\.+(/|$))[A-Za-z0-9_.-]+)*")
_MAX_KEY = 256

# A text under such a key is a secret, in snake_case and in camelCase, and so is an address with a password, a private
# key, or a signed token (JWT).
_SECRET_KEY = re.compile(
    r"(^|[_./-]|(?<=[a-z0-9])(?=[A-Z]))(?i:password|passwd|passphrase|secret|token|credentials?"
    r"|(access|api|encryption|private|secret|signing)[_-]?key)$"
)
_SECRET_TEXT = re.compile(r"://[^/@\s]*:[^/@\s]+@|-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")


def json_text(value: JsonValue) -> str:
    """Return a value as it stands in the KV store.

    Raises:
        ValueError: JSON has no such number.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def has_value(text: str, value: str) -> bool:
    """Return whether two texts are one value in JSON, however each is spelled."""
    with suppress(ValueError):
        one, other = (json.dumps(json.loads(each), sort_keys=True) for each in (text, value))
        return one == other
    return False


def _configuration(values: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    for key, value in values.items():
        if len(key) > _MAX_KEY or not _KEY.fullmatch(key):
            raise ValueError(
                f"key {key!r} must be 1 to {_MAX_KEY} of the characters A-Z a-z 0-9 - _ . and / between two names"
            )
        if value is None:
            raise ValueError(f"value of {key!r} is None: leave the key out instead")
        if _is_secret(key, value):
            raise ValueError(
                f"value of {key!r} is a secret, and who reads Consul's KV store reads it in plain text: give it to the "
                "container by a Docker secret or by Vault"
            )
        if (size := len(json_text(value).encode())) > _MAX_BYTES:
            raise ValueError(f"value of {key!r} has {size} bytes in JSON, Consul takes at most {_MAX_BYTES}")
    return MappingProxyType(dict(values))


def _is_secret(key: str, value: JsonValue) -> bool:
    if isinstance(value, dict):
        return any(_is_secret(name, each) for name, each in value.items())
    if isinstance(value, list):
        return any(_is_secret(key, each) for each in value)
    return isinstance(value, str) and bool(value and (_SECRET_KEY.search(key) or _SECRET_TEXT.search(value)))


KvConfiguration = Annotated[Mapping[str, JsonValue], AfterValidator(_configuration), PlainSerializer(dict)]
"""Values of one service, by key. A key is a part of a path: no segment is empty, `.` or `..`."""


def check_for_all_services() -> None:
    """Check the values that all services have.

    Raises:
        ValidationError: one of them is wrong.
    """
    TypeAdapter(KvConfiguration).validate_python(FOR_ALL_SERVICES)
