"""Moving a stack from one registration to another: a service changes nodes at once, and takes its checks' status along.

The engine deletes what is stated no more after everything else. Until then a service would be in the catalog twice, on
the agent's node and on the external one. These hooks move what this stack itself registered, and nothing else, when
its successor is created; the engine's own deletion then finds it gone. A new check would be critical until its first
run, up to an interval later: until then, what the other registration last found is what is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from services.consul_api import Consul, NoAnswerError
from services.marks import owner
from services.model import MARK
from services.render import api, definition
from services.rules import Roster

Checks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Places:
    """Where the stack's services can be.

    Attributes:
        agent: the shared agent; None where its API is not published.
        servers: whose catalog it is.
        node: the external node.
        roster: the services.
    """

    agent: Consul | None
    servers: Consul
    node: str
    roster: Roster


def stack_owner() -> str:
    """Return what the marks of the stack that runs begin with."""
    return owner(pulumi.get_project(), pulumi.get_stack())


def to_agent(places: Places) -> pulumi.ResourceHookBinding:
    """Move a service, or all of them, from the external node to the agent before the agent is to have it."""
    ours, services = stack_owner(), {service.id: service for service in places.roster.services}

    def move(args: pulumi.ResourceHookArgs) -> None:
        only = (args.new_inputs or {}).get("service_id")
        for service_id, found in places.servers.node_services(places.node).items():
            meta = found["Meta"] or {}  # the catalog's is null where a service was registered without any
            if only not in (None, service_id) or not meta.get(MARK, "").startswith(ours):
                continue
            checks = _by_id(places.servers.node_checks(places.node), service_id)
            places.servers.deregister_from_catalog(places.node, service_id)
            if places.agent and service_id in services:
                fields = definition(services[service_id])
                fields["meta"][MARK] = meta[MARK]
                places.agent.register(_with_status(api(fields), checks))

    return pulumi.ResourceHookBinding(before_create=[_hook("move-to-agent", move)])


def to_catalog(places: Places) -> pulumi.ResourceHookBinding:
    """Move a service from the agent to the external node when it is created there, and keep its status when it changes.

    The provider writes a status with every change: critical for a new check, and otherwise one that it once read.
    """
    ours, agent = stack_owner(), places.agent
    known: dict[str, Checks] = {}

    def leave(args: pulumi.ResourceHookArgs) -> None:
        service_id = (args.new_inputs or {})["serviceId"]
        found = agent.service(service_id) if agent else None
        if agent and found and found["Meta"].get(MARK, "").startswith(ours):
            known[service_id] = agent.checks(service_id)
            agent.deregister(service_id)

    def stay(args: pulumi.ResourceHookArgs) -> None:
        service_id = (args.new_inputs or {})["serviceId"]
        known[service_id] = _by_id(places.servers.node_checks(places.node), service_id)

    def arrive(args: pulumi.ResourceHookArgs) -> None:
        inputs = args.new_inputs or {}
        before, stated = known.get(inputs["serviceId"], {}), {check["checkId"] for check in inputs["checks"]}
        for check_id, check in _by_id(places.servers.node_checks(places.node), inputs["serviceId"]).items():
            if check_id not in stated:  # the provider changes and adds checks, and removes none
                places.servers.deregister_check(places.node, check_id)
            elif check_id in before:
                places.servers.set_status(check, before[check_id]["Status"], before[check_id]["Output"])

    arrives = _hook("arrive-in-catalog", arrive)
    return pulumi.ResourceHookBinding(
        before_create=[_hook("leave-agent", leave)],
        before_update=[_hook("stay-in-catalog", stay)],
        after_create=[arrives],
        after_update=[arrives],
    )


def _by_id(checks: list[dict[str, Any]], service_id: str) -> Checks:
    return {check["CheckID"]: check for check in checks if check["ServiceID"] == service_id}


def _with_status(body: dict[str, Any], known: Checks) -> dict[str, Any]:
    for check in body["Checks"]:
        if found := known.get(check["CheckID"]):
            check["Status"] = found["Status"]
    return body


def _hook(name: str, move: Callable[[pulumi.ResourceHookArgs], None]) -> pulumi.ResourceHook:
    def run(args: pulumi.ResourceHookArgs) -> None:
        try:
            move(args)
        except NoAnswerError:
            pulumi.log.debug(f"{name}: nobody answers: nothing can have been registered there")

    return pulumi.ResourceHook(name, run)
