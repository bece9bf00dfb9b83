"""Whether every check passes and really ran, and clients find what passes (guide, "Verify Health Checks Working")."""

import re
from collections.abc import Iterator

from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.snapshot import Catalog, Place, Snapshot
from services.definition import check_target, duration
from services.model import Check, HttpCheck, Service

METRIC = "consul_runtime_alloc_bytes"
"""A metric that every Consul has: https://developer.hashicorp.com/consul/docs/agent/telemetry"""


def health(seen: Snapshot) -> Verdict:
    """Judge the checks of what is registered: each passes, and its output says that it ran."""
    if not seen.catalog:
        return unseen("health")
    services = [each for each in seen.target.roster.services if _place(seen, each) in seen.catalog.instances]
    findings = [finding for service in services for finding in _sick(seen, seen.catalog, service)]
    well = len(services) - len({finding.subject for finding in findings})
    summary = f"{well} of the {len(services)} registered pass, by checks that ran"
    return Verdict("health", summary, [*_of_node(seen.catalog, seen.target.node), *findings])


def discovery(seen: Snapshot) -> Verdict:
    """Judge whether clients find every instance that passes; one that does not is found wanting elsewhere."""
    if not seen.catalog or seen.discovered is None:
        return unseen("discovery")
    api = seen.target.consul
    passing = [service for service in seen.target.roster.services if _passes(seen.catalog, _place(seen, service))]
    findings = [
        Finding(
            service.name,
            f"found at {api.address}/v1/health/service/{service.name}?passing",
            f"passes in the catalog on {seen.target.node}, and is not found",
            f"ask again; if it stays: docker logs {seen.target.node}, and the node's own checks in the UI",
        )
        for service in passing
        if _place(seen, service) not in seen.discovered[service.name]
    ]
    found = len(passing) - len(findings)
    whose = "the agent" if seen.target.agent else "the server: the agent's API is not published"
    return Verdict("discovery", f"{found} of the {len(passing)} that pass are found through {whose}", findings)


def metrics(seen: Snapshot) -> Verdict:
    """Judge whether the agent gives its metrics (guide, "Verify Agent Metrics")."""
    agent = seen.target.agent
    if not agent:
        return Verdict("metrics", "not looked at: the agent's API is not published")
    if not seen.agent:
        return unseen("metrics")
    answer = seen.agent.metrics
    count = len(re.findall(r"^# TYPE ", answer, re.MULTILINE))
    findings = [
        Finding(
            f"{agent.address}/v1/agent/metrics?format=prometheus",
            METRIC,
            answer[:200] or "nothing",
            "telemetry.prometheus_retention_time must be set in the agent's config, as in services/agent_config.py",
        )
    ]
    return Verdict("metrics", f"{count} for Prometheus", [] if METRIC in answer else findings)


def _place(seen: Snapshot, service: Service) -> Place:
    return Place(seen.target.node, service.id)


def _passes(catalog: Catalog, place: Place) -> bool:
    return place in catalog.instances and catalog.passing(place) and catalog.passing(Place(place.node, ""))


def _of_node(catalog: Catalog, node: str) -> Iterator[Finding]:
    for check in catalog.checks.get(Place(node, ""), {}).values():
        if check["Status"] != "passing":  # clients then find none of its services, whatever their own checks say
            told = f"{check['Status']}: {check['Output'].strip() or check['Notes']}"
            cure = f"have it alive, or end its maintenance: on {node}, consul maint -disable"
            yield Finding(node, f"passing: {check['Name']}", told, cure)


def _sick(seen: Snapshot, catalog: Catalog, service: Service) -> Iterator[Finding]:
    checks = catalog.checks.get(_place(seen, service), {})
    # The agent sends the servers an output that alone has changed only after minutes: its own is the newer one.
    newer = seen.agent.checks.get(service.id, {}) if seen.agent else {}
    for check in service.checks:
        known = checks.get(check.id)
        if not known:
            continue  # which is a wrong registration
        latest = newer.get(check.id, known)
        statuses = list(dict.fromkeys((known["Status"], latest["Status"])))
        if statuses != ["passing"] or not _ran(service, check).match(latest["Output"]):
            told = f"{', but at the agent '.join(statuses)}: {latest['Output'].strip() or 'it has not run yet'}"
            cure = advice.start(seen.target, service) if latest["Output"] else "wait, and verify again"
            every = f"; its check runs every {duration(check.interval)}"
            yield Finding(service.name, f"passing: {_success(service, check)}", told, cure + every)


def _success(service: Service, check: Check) -> str:
    if isinstance(check, HttpCheck):
        return f"HTTP GET {check_target(service, check)}: 200 OK"
    return f"TCP connect {check_target(service, check)}: Success"


def _ran(service: Service, check: Check) -> re.Pattern[str]:
    """Return what the output of a check that passed begins with; any 2xx passes."""
    begins = re.escape(_success(service, check))
    return re.compile(begins.replace("200\\ OK", r"2\d\d "))
