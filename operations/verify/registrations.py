"""Whether every service is registered as stated."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from consul_cluster.drift import normalize, recognize, stated_fields
from consul_cluster.ownership import DEFINITION_FILES, is_owned_by, with_owner, without_owner
from operations.stack import Stack
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.observed_state import Fields, ObservedState, Place
from services.consul_definition import definition
from services.field_types import OWNER_KEY
from services.model import Service

Views = Mapping[str, Fields | None]
Difference = tuple[str, Any, Any]


def registrations(observed: ObservedState) -> Verdict:
    """Judge each service on the expected node: address, port, tags, meta with its owner, and checks."""
    if not observed.catalog:
        return unseen("registrations")
    stack, services = observed.stack, observed.stack.roster.services
    others = _without_owner(observed)
    findings = [finding for service in services if (finding := _finding(observed, service, others))]
    summary = f"{len(services) - len(findings)} of {len(services)} on {stack.node}, with all fields and checks"
    absent = [finding for finding in findings if finding.found == _NOTHING]
    if len(absent) == len(services):
        findings = [_all_missing(observed)]
    return Verdict("registrations", summary, findings)


_NOTHING = "it is not registered there"


def _all_missing(observed: ObservedState) -> Finding:
    stack = observed.stack
    what_to_do = advice.deploy(stack)
    if observed.deployed_ids and not stack.settings.trial:
        # Consul has removed them, since all have failed for too long.
        what_to_do = f"start their containers, then {advice.register_again(stack, stack.roster.services[0])}"
    return Finding(f"all {len(stack.roster)}", f"registered on {stack.node}", "none of them is", what_to_do)


def _finding(observed: ObservedState, service: Service, others: Mapping[tuple[str, int], str]) -> Finding | None:
    views = _views(observed, service)
    expected = f"registered on {observed.stack.node_of(service)} at {service.address}"
    if not any(views.values()):
        return Finding(service.id, expected, *_why_absent(observed, service, others))
    for where, missing in _LACKING.items():
        if where in views and not views[where]:
            return Finding(service.id, expected, *missing)
    return _difference(observed.stack, service, stated(observed.stack, service), views)


def _why_absent(observed: ObservedState, service: Service, others: Mapping[tuple[str, int], str]) -> tuple[str, str]:
    """Return what stands in the place of a service, and what to do."""
    stack, deploy = observed.stack, advice.deploy(observed.stack)
    if _is_drained(observed, service):
        found = f"it is on {_drain_node(stack, service)}, which checks it since an `up` was interrupted"
        return found, f"{deploy}: it moves back"
    if by := others.get((service.name, service.port or 0)):
        found = f"{by}, which the service itself registered, stands in its place"
        return found, f"{advice.without_self_registration(service)}; then {deploy}"
    if service.id in (observed.deployed_ids or ()):  # so Consul has removed it, or somebody has
        return _NOTHING, f"{advice.start(stack, service)}, then {advice.register_again(stack, service)}"
    return _NOTHING, deploy


def _without_owner(observed: ObservedState) -> Mapping[tuple[str, int], str]:
    return {
        place: service_id
        for agent in observed.agents.values()
        for place, service_id in without_owner(
            {service_id: normalize(dict(each), {}) for service_id, each in agent.services.items()}
        ).items()
    }


def _drain_node(stack: Stack, service: Service) -> str:
    return stack.host_of(service).docker.names.server_node


def _is_drained(observed: ObservedState, service: Service) -> bool:
    """Return whether a run that replaced the agent's container has left a service on the server."""
    instance = observed.catalog and observed.catalog.instances.get(
        Place(_drain_node(observed.stack, service), service.id)
    )
    return bool(instance and is_owned_by(instance["Meta"], observed.stack.owner_prefix))


_AGAIN = (
    "wait a minute, and verify again: the agent writes it again. If it stays away, see the agent's log: a token may "
    "lack service:write, or the agent has lost the servers"
)

# Findings where the agent or the catalog lacks what the other has.
_LACKING = {
    "the agent": (
        "the catalog has it, and the agent does not: within 2 minutes, it vanishes there too",
        "wait; what then is missing, the next deployment registers",
    ),
    "the catalog": (
        "the agent has it, and the catalog does not",
        _AGAIN,
    ),
}


def stated(stack: Stack, service: Service) -> dict[str, Any]:
    """Return what the catalog and the agent are to show of a service."""
    kind = stack.settings.registration
    resource = DEFINITION_FILES if kind == "files" else stack.host_of(service).resource(service)
    fields = definition(with_owner(service, stack.owner_prefix + resource))
    if kind == "catalog":
        fields["meta"] |= _OF_THE_PROVIDER
    return stated_fields(fields)


# The Consul provider adds this to a service's meta. Consul's UI shows a sign for it.
_OF_THE_PROVIDER = {"external-source": "terraform"}


# An agent tells the servers a new output of a check only after minutes, and a new interval or timeout with the next
# change of its status: old ones say nothing. https://developer.hashicorp.com/consul/docs/architecture/anti-entropy
_KNOWN_LATE = {"Output": "", "Interval": "", "Timeout": "", "Definition": {}}


def _views(observed: ObservedState, service: Service) -> Views:
    views: dict[str, Fields | None] = {}
    agent = observed.agent_of(service)
    if agent and observed.stack.settings.registration != "catalog":
        registered = agent.services.get(service.id)
        checks = _checks(agent.checks.get(service.id))
        views["the agent"] = normalize(dict(registered), checks) if registered else None
    if observed.catalog:
        place = Place(observed.stack.node_of(service), service.id)
        entry, checks = observed.catalog.instances.get(place), _checks(observed.catalog.checks.get(place))
        if observed.stack.settings.registration != "catalog":
            checks = {check_id: {**check, **_KNOWN_LATE} for check_id, check in checks.items()}
        views["the catalog"] = normalize(dict(entry), checks) if entry else None
    return views


def _checks(checks: Mapping[str, Fields] | None) -> dict[str, dict[str, Any]]:
    return {check_id: dict(check) for check_id, check in (checks or {}).items()}


def _difference(stack: Stack, service: Service, wanted: Fields, views: Views) -> Finding | None:
    recognized = {where: recognize(view, wanted) for where, view in views.items() if view}
    differing = {where: found for where, view in recognized.items() if (found := list(_differences(wanted, view)))}
    if not differing:
        return None
    every = dict.fromkeys((path, _text(want)) for found in differing.values() for path, want, _ in found)
    expected = [f"{path} {want}" for path, want in every if want != _NONE] or ["nothing more"]
    what_to_do = advice.deploy(stack)
    if any(OWNER_KEY not in view["meta"] for view in recognized.values()):  # the service registers itself under the id
        what_to_do = f"{advice.without_self_registration(service)}; {advice.take_over(stack, service)}"
    by_what: dict[str, list[str]] = {}
    for where, found in differing.items():
        by_what.setdefault(_list(f"{path} {_text(have)}" for path, _, have in found), []).append(where)
    message = "; ".join(f"{' and '.join(wheres)}: {what}" for what, wheres in by_what.items())
    return Finding(service.id, _list(expected), message, what_to_do)


def _differences(wanted: Fields, found: Fields, path: str = "") -> Iterator[Difference]:
    for key in sorted(wanted.keys() | found.keys()):
        want, have = wanted.get(key), found.get(key)
        if isinstance(want, Mapping) and isinstance(have, Mapping):
            yield from _differences(want, have, "" if key == "checks" else f"{path}{key} ")
        elif want != have:
            yield f"{path}{key}", want, have


_NONE = "none"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return f"({_list(f'{key} {_text(each)}' for key, each in value.items())})"
    if isinstance(value, list):
        return f"[{_list(map(str, value))}]"
    return _NONE if value in (None, "") else str(value)


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)
