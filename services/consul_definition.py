"""A service in Consul's two spellings: the body of the agent's API, and a definition file.

https://developer.hashicorp.com/consul/api-docs/agent/service#register-service
https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, get_args

from services.checks import Check, GrpcCheck, HttpCheck, Method, TtlCheck
from services.field_types import host_and_port
from services.model import Service, Weights
from services.roster import GROUPS, Roster

SERVICE_FIELDS = {
    "name": "Name",
    "address": "Address",
    "port": "Port",
    "tags": "Tags",
    "meta": "Meta",
    "weights": "Weights",
    "tagged_addresses": "TaggedAddresses",
    "enable_tag_override": "EnableTagOverride",
}
"""The fields of a service beside its id and its checks: in a definition file's spelling and in the API's."""

CHECK_FIELDS = {
    "name": "Name",
    "http": "HTTP",
    "method": "Method",
    "header": "Header",
    "body": "Body",
    "tcp": "TCP",
    "tcp_use_tls": "TCPUseTLS",
    "grpc": "GRPC",
    "grpc_use_tls": "GRPCUseTLS",
    "tls_server_name": "TLSServerName",
    "tls_skip_verify": "TLSSkipVerify",
    "ttl": "TTL",
    "interval": "Interval",
    "timeout": "Timeout",
    "success_before_passing": "SuccessBeforePassing",
    "failures_before_warning": "FailuresBeforeWarning",
    "failures_before_critical": "FailuresBeforeCritical",
    "deregister_critical_service_after": "DeregisterCriticalServiceAfter",
    "notes": "Notes",
}
"""The same of a check."""

KINDS = ("http", "tcp", "grpc", "ttl")
"""The fields of a check that say what it connects to: each check has one."""

_API_NAMES = {**SERVICE_FIELDS, **CHECK_FIELDS}

UNSHOWN = "unshown"
"""Stands for what a check has of `_UNSHOWN_FIELDS`: their fingerprint, as Consul shows it in the notes."""

SPANS = ("interval", "timeout")
"""The fields of a check that some versions of Consul show, and others do not."""

# Nothing in Consul's API shows these, nor in the notes by name.
_UNSHOWN_FIELDS = (
    "header",
    "body",
    "tls_server_name",
    "tls_skip_verify",
    "tcp_use_tls",
    "grpc_use_tls",
    "success_before_passing",
    "failures_before_warning",
    "failures_before_critical",
)
_FINGERPRINT = 16  # hexadecimal digits
_NEVER = "never deregistered"
_KIND_OF_VERB = {"TCP": "tcp", "gRPC": "grpc", "TTL": "ttl"}  # any other is the method of an HTTP check
_NOTES = re.compile(
    rf"(?P<verb>{'|'.join((*get_args(Method), *_KIND_OF_VERB))}) (?P<target>\S+); "
    rf"(?:deregistered after (?P<reap>\S+) critical|{_NEVER})"
    rf"(?:; further fields (?P<unshown>[0-9a-f]{{{_FINGERPRINT}}}))?"
)
_VERB_OF_KIND = {kind: verb for verb, kind in _KIND_OF_VERB.items()}


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
    """Return what a check asks: a URL, host:port, or host:port/service; of a TTL check, when it expires."""
    if isinstance(check, TtlCheck):
        return duration(check.ttl)
    address = host_and_port(service.host, check.port or service.port)
    if isinstance(check, HttpCheck):
        return f"{'https' if check.use_tls else 'http'}://{address}{check.path}"
    return f"{address}/{check.service}" if isinstance(check, GrpcCheck) and check.service else address


def check_fields(service: Service, check: Check) -> dict[str, Any]:
    """Return one check in a definition file's spelling, but for its id. What is as Consul has it anyway is left out."""
    fields = {
        "name": check.name or f"{service.name} {check.kind.upper()}",
        check.kind: check_target(service, check),
        **_run_by_agent(check),
    }
    if after := check.deregister_critical_service_after:
        fields["deregister_critical_service_after"] = duration(after)
    return fields


def _run_by_agent(check: Check) -> dict[str, Any]:
    if isinstance(check, TtlCheck):
        return {}
    optional: dict[str, Any] = {
        "tls_server_name": check.tls_server_name,
        "tls_skip_verify": check.tls_skip_verify,
        "success_before_passing": check.success_before_passing,
        "failures_before_warning": check.failures_before_warning,
        "failures_before_critical": check.failures_before_critical,
    }
    if isinstance(check, HttpCheck):
        header = {name: list(values) for name, values in check.header.items()}
        optional |= {"method": check.method if check.method != "GET" else None, "header": header, "body": check.body}
    else:
        optional[f"{check.kind}_use_tls"] = check.use_tls
    spans = {"interval": duration(check.interval), "timeout": duration(check.timeout)}
    return {**spans, **{key: value for key, value in optional.items() if value}}


def notes(fields: Mapping[str, Any]) -> str:
    """Return, as a sentence, the part of a check that the agent runs but shows nowhere in its API.

    `/v1/agent/checks` answers with a check's name, type, interval, timeout and notes, not with what it connects to.
    """
    kind = next(kind for kind in KINDS if kind in fields)
    aim = f"{_VERB_OF_KIND.get(kind) or fields.get('method', 'GET')} {fields[kind]}"
    after = fields.get("deregister_critical_service_after")
    parts = [aim, f"deregistered after {after} critical" if after else _NEVER]
    if unshown := _unshown(fields):
        parts.append(f"further fields {unshown}")
    return "; ".join(parts)


def from_notes(text: str) -> dict[str, str]:
    """Return the fields that `notes` was made of; none where somebody else wrote the text.

    Of the further fields there is the fingerprint, as `unshown`.
    """
    found = _NOTES.fullmatch(text)
    if not found:
        return {}
    verb, kind = found["verb"], _KIND_OF_VERB.get(found["verb"], "http")
    fields = {
        kind: found["target"],
        "method": verb if kind == "http" and verb != "GET" else None,
        "deregister_critical_service_after": found["reap"],
        UNSHOWN: found["unshown"],
    }
    return {key: value for key, value in fields.items() if value}


def with_unshown_fields(found: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return a check as Consul shows it, with the fields that it does not show, where their fingerprint is the stated.

    Args:
        found: the check, with its notes read by `from_notes`.
        stated: the check of this id as the program states it.
    """
    if found.get(UNSHOWN) != _unshown(stated):
        return dict(found)
    further = {key: stated[key] for key in _UNSHOWN_FIELDS if key in stated}
    spans = {key: stated[key] for key in SPANS if key in stated}
    return {**spans, **{key: value for key, value in found.items() if key != UNSHOWN}, **further}


def _unshown(fields: Mapping[str, Any]) -> str | None:
    """Return the fingerprint of the fields that Consul does not show; None where there are none."""
    further = {key: fields[key] for key in _UNSHOWN_FIELDS if key in fields}
    text = json.dumps(further, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT] if further else None


def expected_output(service: Service, check: Check) -> str:
    """Return the output of a run that passes; of an HTTP check, its beginning."""
    target = check_target(service, check)
    if isinstance(check, HttpCheck):
        return f"HTTP {check.method} {target}: 200 OK"
    if isinstance(check, GrpcCheck):
        return f"gRPC check {target}: success"
    if isinstance(check, TtlCheck):
        return f"a report of the service itself, at most {target} old"
    return f"{'TCP+TLS' if check.use_tls else 'TCP'} connect {target}: Success"


def output_of_pass(service: Service, check: Check, *, of_any_target: bool = False) -> re.Pattern[str]:
    """Return what the output of a check that passed begins with: it is blank until the check has run.

    Any 2xx passes, and a TTL check has what it was told.

    Args:
        service: whose check it is.
        check: one of its checks.
        of_any_target: the output may be of the target that the check had before, as the servers' is for minutes.
    """
    if isinstance(check, TtlCheck):
        return re.compile("")
    output = re.escape(expected_output(service, check))
    if of_any_target:
        output = output.replace(re.escape(check_target(service, check)), r"\S+")
    if isinstance(check, HttpCheck):
        output = rf"{output.removesuffix(re.escape('200 OK'))}2\d\d "
    return re.compile(output)


def definition(service: Service) -> dict[str, Any]:
    """Return a service as it stands in a definition file, but with its checks by id.

    What is as Consul has it anyway is left out.
    """
    return {
        "id": service.id,
        "name": service.name,
        "address": service.host,
        "port": service.port or 0,
        "tags": list(service.tags),
        "meta": dict(service.meta),
        "checks": {check.id: check_fields(service, check) for check in service.checks},
        **_optional(service),
    }


def _optional(service: Service) -> dict[str, Any]:
    tagged = {tag: each.model_dump() for tag, each in service.tagged_addresses.items()}
    own = {"address": service.host, "port": service.port}
    optional = {
        "enable_tag_override": service.enable_tag_override,
        "weights": service.weights.model_dump() if service.weights != Weights() else None,
        "tagged_addresses": {tag: address for tag, address in tagged.items() if address != own},
    }
    return {key: value for key, value in optional.items() if value}


def summary(service: Service) -> dict[str, str]:
    """Return where a service listens and what its checks connect to."""
    return {
        "address": service.address,
        "check": ", ".join(check_target(service, check) for check in service.checks),
    }


def definition_files(roster: Roster) -> dict[str, Any]:
    """Return the definition files by name, one for each group: `user-services.json` and so on."""
    kinds = dict.fromkeys([*(group.kind for group in GROUPS), *(service.kind for service in roster.services)])
    return {f"{kind}-services.json": definition_file(roster.of_kind(kind)) for kind in kinds}


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
