"""What Consul really holds of a service, in the form in which it was stated (`services.definition.definition`)."""

import re
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import durationpy

from cluster.client import Consul
from services.definition import from_notes

Fields = dict[str, Any]

COMPARED_FIELDS = ("name", "address", "port", "tags", "meta", "checks")
"""The fields of a service that a registration states."""

# What a check's output says of its target: "HTTP GET http://isa-billing:8216/health: 200 OK Output: …".
_RAN_AGAINST = re.compile(r'(?:HTTP GET (\S+)|Get "(\S+)"|TCP connect (\S+)): ')


def read_service(consul: Consul, service_id: str, patient: bool = False) -> Fields | None:
    """Return what the agent holds under an id, but for the id itself; None where it holds nothing.

    Args:
        consul: the agent.
        service_id: the service's id.
        patient: where a check last ran against something else than it states, wait for its next run: the agent keeps
            the output of before a change until then.
    """
    service = consul.service(service_id)
    if service is None:
        return None
    return normalize(service, _after_a_run(consul, service_id) if patient else consul.checks(service_id))


def read_services(consul: Consul) -> dict[str, Fields]:
    """Return what the agent holds of every service, by id, in two requests."""
    services, checks = consul.all_services(), defaultdict[str, dict[str, Fields]](dict)
    for check_id, check in consul.all_checks().items():
        checks[check["ServiceID"]][check_id] = check
    return {service_id: normalize(service, checks[service_id]) for service_id, service in services.items()}


def normalize(service: Fields, checks: Mapping[str, Fields]) -> Fields:
    """Return a service and its checks, by id, as the agent's API or the catalog's shows them, in the form stated."""
    return {
        "name": service["Service"],
        "address": service["Address"],
        "port": service["Port"],
        "tags": service["Tags"] or [],
        "meta": service["Meta"] or {},
        "checks": {check_id: _check(check) for check_id, check in checks.items()},
    }


def _check(check: Fields) -> Fields:
    defined = check.get("Definition") or {}  # of a check in the catalog that no agent runs; there it says all
    spans = defined or check
    fields = {"name": check["Name"], **from_notes(check["Notes"]), **_aim(defined)}
    for key, value in (("interval", spans.get("Interval")), ("timeout", spans.get("Timeout"))):
        fields[key] = _duration(value)
    if not check["Type"]:  # in the catalog, of a check that no agent runs
        return fields
    if check["Type"] not in fields:
        fields["type"] = check["Type"]
    elif ran_against := _ran_against(check):
        fields[check["Type"]] = ran_against
    return fields


def _aim(defined: Fields) -> Fields:
    fields = {key.lower(): defined[key] for key in ("HTTP", "TCP") if defined.get(key)}
    if reap := defined.get("DeregisterCriticalServiceAfter"):
        fields["deregister_critical_service_after"] = _duration(reap)
    return fields


def _duration(value: str | None) -> str:
    return durationpy.to_str(durationpy.from_str(value)) if value else ""


def _ran_against(check: Fields) -> str | None:
    found = _RAN_AGAINST.match(check["Output"])
    return next(filter(None, found.groups())) if found else None


def _after_a_run(consul: Consul, service_id: str) -> dict[str, Fields]:
    started = time.monotonic()
    while True:
        checks = consul.checks(service_id)
        waits = [
            seconds_of_one_run(check["Interval"], check["Timeout"])
            for check in checks.values()
            if _contradicts_itself(check)
        ]
        if time.monotonic() - started >= max(waits, default=0):
            return checks
        time.sleep(0.5)


def _contradicts_itself(check: Fields) -> bool:
    return _ran_against(check) not in (None, from_notes(check["Notes"]).get(check["Type"]))


def seconds_of_one_run(interval: str, timeout: str) -> float:
    """Return the seconds within which a check runs once: its interval and its timeout, as Consul writes them."""
    return sum(durationpy.from_str(span or "0s").total_seconds() for span in (interval, timeout))


def catalog_matches(entry: Fields | None, wanted: Mapping[str, Any] | None) -> bool:
    """Whether the servers hold a service as stated; where nothing is stated, whether they hold nothing."""
    if entry is None or wanted is None:
        return entry is wanted
    service = entry["Service"]
    return (
        (service["Address"], service["Port"], service["Tags"] or [], service["Meta"] or {})
        == (wanted["address"], wanted["port"], wanted["tags"], wanted["meta"])
    ) and {check["CheckID"] for check in entry["Checks"] if check["ServiceID"]} == wanted["checks"].keys()
