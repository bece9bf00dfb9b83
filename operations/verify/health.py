"""Whether every check passes and really ran, and clients find what passes."""

import re
from collections.abc import Iterator

from consul_cluster.client import NODE_MAINTENANCE, is_maintenance
from operations.stack import Stack
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.observed_state import Catalog, Fields, ObservedState, Place
from operations.verify.registrations import stated
from services.checks import Check, TtlCheck
from services.consul_definition import duration, expected_output, from_notes, output_of_pass
from services.model import Service

_ANSWER = re.compile(r"HTTP [A-Z]+ \S+: ([1345]\d\d .*?) Output: ")

_METRICS = re.compile(r"^# TYPE consul_", re.MULTILINE)
"""What stands before each metric of Consul's. Which ones there are grows in the first seconds of an agent.

https://developer.hashicorp.com/consul/docs/agent/telemetry
"""


def health(observed: ObservedState) -> Verdict:
    """Judge the checks of what is registered: each passes, and its output says that it ran."""
    if not observed.catalog:
        return unseen("health")
    services = _registered(observed, observed.catalog)
    findings = [finding for each in services for finding in _failing(observed, observed.catalog, each)]
    well = len(_passing(observed, observed.catalog))
    summary = f"{well} of the {len(services)} registered pass, by checks that ran"
    stack = observed.stack
    of_nodes = [finding for node in stack.nodes for finding in _of_node(stack, observed.catalog, node)]
    return Verdict("health", summary, [*of_nodes, *findings])


def discovery(observed: ObservedState) -> Verdict:
    """Judge whether clients find every instance that passes; `health` judges one that does not pass."""
    if not observed.catalog or observed.discovered is None:
        return unseen("discovery")
    api = observed.stack.consul
    passing = _passing(observed, observed.catalog)
    findings = [
        _not_found(observed, service, api.address)
        for service in passing
        if _place(observed, service) not in observed.discovered[service.name]
    ]
    found = len(passing) - len(findings)
    whose = {0: "the server: the agent's API is not published", 1: "the agent"}.get(
        len(observed.stack.agents), "an agent"
    )
    return Verdict("discovery", f"{found} of the {len(passing)} that pass are found through {whose}", findings)


def _not_found(observed: ObservedState, service: Service, address: str) -> Finding:
    node = observed.stack.node_of(service)
    return Finding(
        service.id,
        f"found at {address}/v1/health/service/{service.name}?passing",
        f"passes in the catalog on {node}, and is not found",
        f"ask again; if it stays: docker logs {node}, and the node's own checks in the UI",
    )


def metrics(observed: ObservedState) -> Verdict:
    """Judge whether each agent gives its metrics."""
    agents = observed.stack.agents
    if not agents:
        return Verdict("metrics", "not looked at: the agent's API is not published")
    if not observed.agents:
        return unseen("metrics")
    counts = {node: len(_METRICS.findall(view.metrics)) for node, view in observed.agents.items()}
    findings = [
        Finding(
            f"{agents[node].address}/v1/agent/metrics?format=prometheus",
            "metrics whose names begin with consul_",
            observed.agents[node].metrics[:200] or "nothing",
            "set telemetry.prometheus_retention_time in the agent's config: consul_cluster/agent_configuration.py",
        )
        for node, count in counts.items()
        if not count
    ]
    return Verdict("metrics", f"{', '.join(map(str, counts.values()))} for Prometheus", findings)


def _place(observed: ObservedState, service: Service) -> Place:
    return Place(observed.stack.node_of(service), service.id)


def _registered(observed: ObservedState, catalog: Catalog) -> list[Service]:
    return [service for service in observed.stack.roster.services if _place(observed, service) in catalog.instances]


def _passing(observed: ObservedState, catalog: Catalog) -> list[Service]:
    """Return the services that are well, as is their node: clients find no service of one that is not."""
    return [
        service
        for service in _registered(observed, catalog)
        if catalog.passing(place := _place(observed, service))
        and catalog.passing(Place(place.node, ""))
        and not any(_failing(observed, catalog, service))
    ]


def _of_node(stack: Stack, catalog: Catalog, node: str) -> Iterator[Finding]:
    for check_id, check in catalog.checks.get(Place(node, ""), {}).items():
        if check_id == NODE_MAINTENANCE:
            yield _maintenance(stack, node, check)
        elif check["Status"] != "passing":  # Clients then find none of its services.
            message = f"{check['Status']}: {check['Output'].strip() or check['Notes']}"
            alive = f"have it alive: {advice.run_consul(stack, node)}"
            what_to_do = alive if check_id == _ALIVE else "have what it checks be well"
            yield Finding(node, f"passing: {check['Name']}", message, what_to_do)


_ALIVE = "serfHealth"  # https://developer.hashicorp.com/consul/docs/services/usage/checks


def _maintenance(stack: Stack, node: str, check: Fields) -> Finding:
    end = advice.end_maintenance(stack, node, check)
    return Finding(
        check["ServiceID"] or node, "found by clients", f"in maintenance: {check['Notes']}", f"end it: {end}"
    )


def _failing(observed: ObservedState, catalog: Catalog, service: Service) -> Iterator[Finding]:
    checks = catalog.checks.get(_place(observed, service), {})
    # The servers get an output whose status stays the same only after minutes: the agent's own is newer.
    agent = observed.agent_of(service)
    newer = agent.checks.get(service.id, {}) if agent else {}
    stack = observed.stack
    for check_id, each in checks.items():
        if is_maintenance(check_id):
            yield _maintenance(stack, stack.node_of(service), each)
    for check in service.checks:
        known = checks.get(check.id)
        if not known:
            continue  # `registrations` judges that.
        latest = newer.get(check.id, known)
        statuses = list(dict.fromkeys((known["Status"], latest["Status"])))
        is_current = agent and stack.settings.registration != "catalog"  # consul-esm writes an output as late
        ran = output_of_pass(service, check, of_any_target=not is_current)
        if statuses != ["passing"] or not ran.match(latest["Output"]):
            message = f"{', but at the agent '.join(statuses)}: {latest['Output'].strip() or 'it has not run yet'}"
            passed_elsewhere = statuses == ["passing"] and latest["Output"]
            elsewhere = _of_another_target(stack, service, check, latest["Notes"])
            what_to_do = elsewhere if passed_elsewhere else _advice(stack, service, latest["Output"])
            yield Finding(
                service.id, f"passing: {expected_output(service, check)}", message, f"{what_to_do}; {_pace(check)}"
            )


def _of_another_target(stack: Stack, service: Service, check: Check, notes: str) -> str:
    wanted = stated(stack, service)["checks"][check.id]
    if from_notes(notes).get(check.kind) == wanted.get(check.kind):
        return f"that is of another target: wait for its next run, and if it stays so, {advice.deploy(stack)}"
    return f"that is of another target, and the stated one is not deployed yet: {advice.deploy(stack)}"


def _pace(check: Check) -> str:
    if isinstance(check, TtlCheck):
        return f"it has to report every {duration(check.ttl)}"
    return f"its check runs every {duration(check.interval)}"


def _advice(stack: Stack, service: Service, output: str) -> str:
    if not output:
        return "wait, and verify again"
    if answer := _ANSWER.match(output):
        file = f"services/{service.kind}_services.py"
        return f"the service runs, and answers {answer[1]} there: mend it, or the path of its check in {file}"
    return advice.start(stack, service)
