"""Drift: what Consul really holds of a service, in the form in which the program states it.

`services.consul_definition.definition` returns what is stated; the functions here return what Consul holds. Where the
two are equal, there is no drift. Of what Consul does not show, a fingerprint in the check's notes is compared.
"""

import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import durationpy

from consul_cluster.client import Consul, is_maintenance
from services.consul_definition import SPANS, duration, from_notes, with_unshown_fields

Fields = dict[str, Any]

COMPARED_FIELDS = ("name", "address", "port", "tags", "meta", "checks")
"""The fields of a service that are compared."""

OPTIONAL_FIELDS = ("enable_tag_override", "weights", "tagged_addresses")
"""Fields of which a service has only what is not Consul's default: stated, or set by another party, which is drift."""

# The output of a check names its target: "HTTP GET http://isa-billing:8216/health: 200 OK Output: …".
_TARGET_IN_OUTPUT = re.compile(
    r'(?:HTTP [A-Z]+ (\S+)|[A-Z][a-z]+ "(\S+)"|TCP(?:\+TLS)? connect (\S+)|gRPC check (\S+)): '
)


def stated_fields(props: Mapping[str, Any]) -> Fields:
    """Return the fields of a service as the inputs of its resource state them."""
    return with_integers({key: props[key] for key in (*COMPARED_FIELDS, *OPTIONAL_FIELDS) if key in props})


def with_integers(value: Mapping[str, Any]) -> Fields:
    """Return a document whose numbers are whole, as the program states them: Pulumi returns each as a float."""
    document: Fields = json.loads(json.dumps(value), parse_float=lambda number: int(float(number)))
    return document


def recognize(found: Mapping[str, Any], stated: Mapping[str, Any]) -> Fields:
    """Return a service as Consul shows it, completed from what is stated where nothing contradicts it.

    Args:
        found: in the form of `read_service`.
        stated: its fields. Where these let other parties change the tags in the catalog, the tags are the stated ones.
    """
    checks = {
        check_id: with_unshown_fields(check, stated.get("checks", {}).get(check_id, {}))
        for check_id, check in found["checks"].items()
    }
    others_tag = stated.get("enable_tag_override") and found.get("enable_tag_override")
    return {**found, "checks": checks, **({"tags": stated["tags"]} if others_tag else {})}


def read_service(consul: Consul, service_id: str, await_run: bool = False) -> Fields | None:
    """Return the fields of a service that an agent holds, without its id; None if the agent does not hold it.

    Args:
        consul: the agent.
        service_id: the id of the service.
        await_run: wait for the next run of a check whose output names another target than its notes. Until that run,
            the agent keeps the output of the check as it was before it was changed.
    """
    service = consul.service(service_id)
    if service is None:
        return None
    return normalize(service, _checks_after_a_run(consul, service_id) if await_run else consul.checks(service_id))


def read_services(consul: Consul) -> dict[str, Fields]:
    """Return the fields of every service that an agent holds, by id. This takes two requests."""
    services, checks = consul.all_services(), defaultdict[str, dict[str, Fields]](dict)
    for check_id, check in consul.all_checks().items():
        checks[check["ServiceID"]][check_id] = check
    return {service_id: normalize(service, checks[service_id]) for service_id, service in services.items()}


def normalize(service: Fields, checks: Mapping[str, Fields]) -> Fields:
    """Return a service and its checks in the form in which they are stated.

    Args:
        service: as the agent's API or the catalog's returns it.
        checks: by check id, from the same API.
    """
    return {
        "name": service["Service"],
        "address": service["Address"],
        "port": service["Port"],
        "tags": service["Tags"],
        "meta": service["Meta"],
        "checks": {key: _normalize_check(check) for key, check in checks.items() if not is_maintenance(key)},
        **_optional_fields(service),
    }


def _optional_fields(service: Fields) -> Fields:
    weights, tagged = service.get("Weights") or {}, service.get("TaggedAddresses") or {}
    default = {"Address": service["Address"], "Port": service["Port"]}
    found = {
        "enable_tag_override": service.get("EnableTagOverride"),
        "weights": _lower(weights) if weights != {"Passing": 1, "Warning": 1} else None,
        "tagged_addresses": {key: _lower(value) for key, value in tagged.items() if value != default},
    }
    return {key: value for key, value in found.items() if value}


def _lower(fields: Fields) -> Fields:
    return {key.lower(): value for key, value in fields.items()}


def catalog_matches(entry: Fields | None, stated: Mapping[str, Any]) -> bool:
    """Return whether the catalog holds a service as it is stated.

    Args:
        entry: the service as `Consul.in_catalog` returns it.
        stated: its fields.
    """
    if entry is None:
        return False
    service = entry["Service"]
    return (
        (service["Address"], service["Port"], service["Meta"]) == (stated["address"], stated["port"], stated["meta"])
        and (service["Tags"] == stated["tags"] or "enable_tag_override" in stated)
    ) and _check_ids(entry) == stated["checks"].keys()


def _check_ids(entry: Fields) -> set[str]:
    ids = {check["CheckID"] for check in entry["Checks"] if check["ServiceID"]}
    return {check_id for check_id in ids if not is_maintenance(check_id)}


def seconds_of_one_run(check: Mapping[str, Any]) -> float:
    """Return the seconds within which a check runs once, or a TTL check expires.

    Args:
        check: as it is stated, or as Consul shows it.
    """
    known = {key.lower(): value for key, value in check.items()}
    spans = (known.get(key) or "0s" for key in ("interval", "timeout", "ttl"))
    return sum(durationpy.from_str(span).total_seconds() for span in spans)


def ran_as_stated(check: Fields) -> bool:
    """Return whether the output of a check can be of its present target, and not of the one before it was changed."""
    stated = from_notes(check["Notes"])
    return target_in_output(check) in (None, *(stated.get(kind) for kind in ("http", "tcp", "grpc")))


def _normalize_check(check: Fields) -> Fields:
    """Return a check as it is stated, as far as Consul shows it: versions differ in which of these fields they fill."""
    definition = check.get("Definition") or {}  # The catalog fills it for a check that no agent runs.
    kind = check.get("Type")  # The catalog leaves it blank for such a check.
    fields = {"name": check["Name"], **from_notes(check["Notes"]), **_from_definition(definition)}
    if kind != "ttl":  # which nobody runs
        shown = {key: _duration(definition.get(key.capitalize()) or check.get(key.capitalize())) for key in SPANS}
        fields |= {key: span for key, span in shown.items() if span}
    if not kind:
        return fields
    if kind not in fields:
        fields["type"] = kind
    elif target := target_in_output(check):
        fields[kind] = target
    return fields


def _from_definition(definition: Fields) -> Fields:
    """Return what the catalog shows of a check that no agent runs, and an agent of none."""
    method = definition.get("Method")
    fields = {
        "http": definition.get("HTTP"),
        "tcp": definition.get("TCP"),
        "method": method if method != "GET" else None,
        "header": definition.get("Header"),
        "tls_skip_verify": definition.get("TLSSkipVerify"),
        "deregister_critical_service_after": _duration(definition.get("DeregisterCriticalServiceAfter")),
    }
    return {key: value for key, value in fields.items() if value}


def _duration(value: str | None) -> str:
    return duration(durationpy.from_str(value)) if value not in (None, "", "0s") else ""


def target_in_output(check: Fields) -> str | None:
    """Return what the last run of a check connected to, where its output says that."""
    found = _TARGET_IN_OUTPUT.match(check["Output"])
    return next(filter(None, found.groups())) if found else None


def _checks_after_a_run(consul: Consul, service_id: str) -> dict[str, Fields]:
    started = time.monotonic()
    while True:
        checks = consul.checks(service_id)
        runs = [seconds_of_one_run(check) for check in checks.values() if not ran_as_stated(check)]
        if time.monotonic() - started >= max(runs, default=0):
            return checks
        time.sleep(0.5)
