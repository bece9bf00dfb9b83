"""A service in Consul's two spellings: the body of the agent's API, and a definition file.

https://developer.hashicorp.com/consul/api-docs/agent/service#register-service
https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference
"""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, get_args

from services.model import Check, HttpCheck, Kind, Service
from services.roster import Roster

_API_NAMES = {
    "name": "Name",
    "address": "Address",
    "port": "Port",
    "tags": "Tags",
    "meta": "Meta",
    "http": "HTTP",
    "tcp": "TCP",
    "interval": "Interval",
    "timeout": "Timeout",
    "deregister_critical_service_after": "DeregisterCriticalServiceAfter",
    "notes": "Notes",
}
_NOTES = re.compile(r"(GET|TCP) (\S+); deregistered after (\S+) critical")


def duration(value: timedelta) -> str:
    """Return a duration as Consul returns it: `60 s` is `1m0s`. Another spelling of it would be a change each time.

    https://pkg.go.dev/time#Duration.String
    """
    if value < timedelta(seconds=1):
        return f"{value / timedelta(milliseconds=1):g}ms"
    minutes, rest = divmod(value, timedelta(minutes=1))
    seconds = f"{rest.total_seconds():g}s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def check_target(service: Service, check: Check) -> str:
    """Return what a check connects to: a URL, or host:port."""
    return f"http://{service.address}{check.path}" if isinstance(check, HttpCheck) else service.address


def check_fields(service: Service, check: Check) -> dict[str, str]:
    """Return one check in a definition file's spelling, but for its id."""
    return {
        "name": f"{service.name} {check.kind.upper()}",
        check.kind: check_target(service, check),
        "interval": duration(check.interval),
        "timeout": duration(check.timeout),
        "deregister_critical_service_after": duration(check.deregister_critical_service_after),
    }


def notes(fields: Mapping[str, str]) -> str:
    """Return, as a sentence, the part of a check that the agent runs but shows nowhere in its API.

    `/v1/agent/checks` answers with a check's name, type, interval, timeout and notes, not with what it connects to.
    """
    aim = f"GET {fields['http']}" if "http" in fields else f"TCP {fields['tcp']}"
    return f"{aim}; deregistered after {fields['deregister_critical_service_after']} critical"


def from_notes(text: str) -> dict[str, str]:
    """Return the fields that `notes` was made of; none where somebody else wrote the text."""
    found = _NOTES.fullmatch(text)
    if not found:
        return {}
    method, aim, reap = found.groups()
    return {"http" if method == "GET" else "tcp": aim, "deregister_critical_service_after": reap}


def definition(service: Service) -> dict[str, Any]:
    """Return a service as it stands in a definition file, but with its checks by id."""
    return {
        "id": service.id,
        "name": service.name,
        "address": service.host,
        "port": service.port,
        "tags": list(service.tags),
        "meta": dict(service.meta),
        "checks": {check.id: check_fields(service, check) for check in service.checks},
    }


def summary(service: Service) -> dict[str, str]:
    """Return where a service listens and what its checks connect to."""
    return {
        "address": service.address,
        "check": ", ".join(check_target(service, check) for check in service.checks),
    }


def definition_files(roster: Roster) -> dict[str, Any]:
    """Return the definition files by name, one for each group: `user-services.json` and so on."""
    return {f"{kind}-services.json": definition_file(roster.of_kind(kind)) for kind in get_args(Kind)}


def definition_file(services: Iterable[Service]) -> dict[str, Any]:
    """Return the content of one definition file."""
    return {"services": [_with_listed_checks(definition(service)) for service in services]}


def register_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition as the body of the agent's register request."""
    listed = _with_listed_checks(fields)
    checks = [{"CheckID": check["id"], **_renamed(check)} for check in listed["checks"]]
    return {"ID": listed["id"], **_renamed(listed), "Checks": checks}


def _with_listed_checks(fields: Mapping[str, Any]) -> dict[str, Any]:
    checks = [{"id": check_id, **check, "notes": notes(check)} for check_id, check in fields["checks"].items()]
    return {**fields, "checks": checks}


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {_API_NAMES[key]: value for key, value in fields.items() if key in _API_NAMES}
