"""Reads Consul's definition files, and the bodies of its register requests, which have the same fields.

https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from errors import UserError
from operations.import_services.found_service import FoundCheck, FoundService
from services.consul_definition import CHECK_FIELDS, SERVICE_FIELDS

_SERVICE_FIELDS = ("id", *SERVICE_FIELDS)
_CHECK_FIELDS = ("id", *CHECK_FIELDS)
# What a value has to be: text, unless it stands here. Consul's API takes a span as nanoseconds too.
_SPANS = ("interval", "timeout", "ttl", "deregister_critical_service_after")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "port": (int,),
    **dict.fromkeys(("success_before_passing", "failures_before_warning", "failures_before_critical"), (int,)),
    **dict.fromkeys(("enable_tag_override", "tcp_use_tls", "grpc_use_tls", "tls_skip_verify"), (bool,)),
    **dict.fromkeys(("tags", "checks", "services"), (list,)),
    **dict.fromkeys(("meta", "weights", "tagged_addresses", "header", "service", "check"), (dict,)),
    **dict.fromkeys(_SPANS, (str, int)),
}
_WORDS = {int: "a whole number", bool: "true or false", list: "a list", dict: "an object", str: "text"}
# What is read otherwise, or says nothing of the service.
_IGNORED = ("check", "checks", "status", "service_id", "check_id", "check_i_d")


class DefinitionFileError(UserError):
    """A file is not what Consul reads."""


def read_files(paths: Iterable[Path]) -> Iterator[FoundService]:
    """Yield the services of definition files. A folder stands for all its files that end in `.json`.

    Raises:
        DefinitionFileError: a file cannot be read, is no JSON, or has no service.
    """
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise DefinitionFileError(f"{path}: has no file that ends in .json")
        for file in files:
            yield from _of_document(_load(file), file)


def _load(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise DefinitionFileError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DefinitionFileError(f"{file}: is not JSON: {error}. HCL has to be written as JSON first") from None
    if not isinstance(document, dict):
        raise DefinitionFileError(f"{file}: must be an object with service or services, or one service")
    return document


def _of_document(document: Mapping[str, Any], file: Path) -> Iterator[FoundService]:
    keys = _typed(document, file)
    one, several = keys.get("service"), keys.get("services")
    services = [*(several or []), *([one] if one else [])] or ([document] if "name" in keys else [])
    if not services or not all(isinstance(each, dict) for each in services):
        raise DefinitionFileError(f"{file}: has neither service nor services, nor the name of one")
    apart = [_typed(each, file) for each in [*(keys.get("checks") or []), keys.get("check")] if isinstance(each, dict)]
    for service in services:
        found = _service(service, file)
        service_id = found.fields.get("id") or found.fields.get("name")
        # A check may stand beside the service that it names.
        own = [] if service is document else [check for check in apart if check.get("service_id") == service_id]
        yield FoundService(found.fields, (*found.checks, *map(_check, own)), found.unexpressed)


def _service(service: Mapping[str, Any], file: Path) -> FoundService:
    keys = _typed(service, file)
    listed = [*(keys.get("checks") or []), *([keys["check"]] if keys.get("check") else [])]
    fields = {key: value for key, value in keys.items() if key in _SERVICE_FIELDS and value is not None}
    checks = tuple(_check(_typed(check, file)) for check in listed if isinstance(check, dict))
    return FoundService(fields, checks, _others(keys, _SERVICE_FIELDS))


def _check(keys: Mapping[str, Any]) -> FoundCheck:
    fields = {key: value for key, value in keys.items() if key in _CHECK_FIELDS and value is not None}
    fields |= {key: f"{fields[key]}ns" for key in _SPANS if isinstance(fields.get(key), int)}
    check_id = keys.get("id") or keys.get("check_id") or keys.get("check_i_d")
    return FoundCheck({**fields, **({"id": check_id} if check_id else {})}, _others(keys, _CHECK_FIELDS))


def _others(keys: Mapping[str, Any], known: Iterable[str]) -> tuple[str, ...]:
    """Return the fields that the roster has no words for, where they say anything."""
    return tuple(sorted(key for key, value in keys.items() if value and key not in (*known, *_IGNORED)))


# By the letters alone: Consul takes `tls_skip_verify`, `TLSSkipVerify` and `tlsSkipVerify`.
_SPELLINGS = {key.replace("_", ""): key for key in (*_SERVICE_FIELDS, *_CHECK_FIELDS, *_IGNORED, "service", "services")}


def _typed(fields: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the fields by the roster's keys, each a value of the type that Consul reads.

    Raises:
        DefinitionFileError: one is of another.
    """
    keys = _by_key(fields)
    known = {key: _TYPES.get(key, (str,)) for key in keys if key in _TYPES or key in (*_SERVICE_FIELDS, *_CHECK_FIELDS)}
    for key, types in known.items():
        if type(keys[key]) not in (*types, type(None)):
            words = " or ".join(_WORDS[each] for each in types)
            raise DefinitionFileError(f"{file}: {key}: {keys[key]!r}: must be {words}")
    for each in (keys.get("tagged_addresses") or {}).values():
        if not isinstance(each, dict):
            raise DefinitionFileError(f"{file}: tagged_addresses: {each!r}: must be an object with address and port")
    return keys


def _by_key(fields: Mapping[str, Any]) -> dict[str, Any]:
    letters = {key: key.replace("_", "").lower() for key in fields}
    return {_SPELLINGS.get(letters[key], key): value for key, value in fields.items()}
