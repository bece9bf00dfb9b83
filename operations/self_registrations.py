"""`self-registrations`: which services still register themselves beside the stack, and which of them can stop."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import typer

from consul_cluster.catalog_entries import CatalogEntry, catalog_entries
from consul_cluster.health_status import check_status, worst_status
from operations.command_line import DEFAULT_STACK, AsJson, StackName
from operations.output import print_json, print_line, print_rows
from operations.stack import Stack
from services.field_types import OWNER_KEY, host_and_port
from services.model import Service


@dataclass(frozen=True)
class Instance:
    """One registration of a service in the catalog.

    Attributes:
        id: of the registration.
        node: that it is on.
        address: where clients find it: its own, or its node's where it has none.
        port: its port; 0: none.
        status: the worst status of its checks; `missing` if it has none.
        heartbeat: status of its TTL checks; None where it has none, and so sends no heartbeats.
        tags: by which clients choose it.
        meta: that clients read.
        owner: the Pulumi resource that registered it; None: another party did.
    """

    id: str
    node: str
    address: str
    port: int
    status: str
    heartbeat: str | None
    tags: tuple[str, ...]
    meta: Mapping[str, str]
    owner: str | None

    @property
    def alive(self) -> bool:
        """Whether its service may still register it: it sends heartbeats, or an HTTP check of it passes."""
        return (self.heartbeat or self.status) == "passing"

    @property
    def at(self) -> str:
        """`host:port`, or the host alone."""
        return host_and_port(self.address, self.port)


Step = Literal["deploy", "compare", "release", "done"]


@dataclass(frozen=True)
class Verdict:
    """Where a service is in its migration.

    Attributes:
        step: the next one of docs/migration.md; `done`: it has dropped its heartbeats.
        message: what is the case, and what to do.
        wrong: the two registrations contradict each other.
    """

    step: Step
    message: str
    wrong: bool = False


@dataclass(frozen=True)
class Comparison:
    """A service as the stack registered it, and as it registered itself.

    Attributes:
        service: as the roster states it.
        agent_node: its agent's node.
        drain_node: of the server that checks it while the agent is replaced; None: none does.
        ours: what the stack registered; None: nothing.
        own: what the service, or another party, registered under its name.
    """

    service: Service
    agent_node: str
    drain_node: str | None
    ours: Instance | None
    own: tuple[Instance, ...]

    @property
    def verdict(self) -> Verdict:
        """The first that applies; what contradicts stands before what is to be done."""
        return next(_verdicts(self))

    @property
    def unstated_tags(self) -> tuple[str, ...]:
        """Tags that the service gives itself, and that clients lose when it stops: the roster has them not."""
        return tuple(dict.fromkeys(tag for own in self.own for tag in own.tags if tag not in self.service.tags))

    @property
    def unstated_meta(self) -> dict[str, str]:
        """The same of its meta."""
        stated = self.service.meta.items()
        return {key: text for own in self.own for key, text in own.meta.items() if (key, text) not in stated}

    @property
    def to_state(self) -> str:
        """What its line in services/ has to say, so that clients lose nothing; blank: nothing."""
        own = {"tags": self.unstated_tags, "meta": self.unstated_meta}
        return ", ".join(f"{field}={value!r}" for field, value in own.items() if value)

    @property
    def can_drop(self) -> bool:
        """True if the service's own registration can be removed safely."""
        return self.verdict.step == "release"


_STEPS: Mapping[Step, str] = {
    "deploy": "to deploy: the agent does not have them",
    "compare": "to compare: keep both registrations",
    "release": "to release: they can stop registering themselves",
    "done": "done: they register themselves no more",
}


_RELEASE = "deploy a release that does not register itself"
_ANOTHER_ID = "give its line another one, by which it can move there while `up` replaces the agent's container"


def _verdicts(one: Comparison) -> Iterator[Verdict]:
    yield from _contradictions(one)
    service, ours = one.service, one.ours
    if ours is None:
        yield Verdict("deploy", "the next deployment registers it")
        return
    if ours.status != "passing":
        yield Verdict("compare", f"the agent's check is {ours.status}: keep the heartbeats")
    if not one.own:
        yield Verdict("done", "nothing to do")
    for own in one.own:
        if own.at != ours.at:
            yield Verdict("compare", f"{own.id} is at {own.at}: keep the heartbeats until both agree")
    if left := ", ".join(f"{own.id} on {own.node}" for own in one.own if not own.alive):
        yield Verdict("done", f"deregister what it left: {left}")
    if one.to_state:
        yield Verdict("compare", f"first, its line in services/{service.kind}_services.py: {one.to_state}")
    yield Verdict("release", _RELEASE)


def _contradictions(one: Comparison) -> Iterator[Verdict]:
    service, ours = one.service, one.ours
    for own in one.own:
        if own.port != (port := service.port or 0):
            yield Verdict("compare", f"{own.id} is at port {own.port}, the roster says {port}", wrong=True)
        if ours is None and own.id == service.id and own.node == one.agent_node:
            yield Verdict("deploy", f"another party holds the id {own.id} at the agent: {_RELEASE}", wrong=True)
        elif ours is None and own.node == one.agent_node:
            yield Verdict("deploy", f"{own.id} stands in its place at the agent: {_RELEASE}", wrong=True)
        if own.id == service.id and own.node == one.drain_node:
            yield Verdict("compare", f"{own.node} has its id: {_ANOTHER_ID}", wrong=True)
        if ours and ours.status == "critical" and own.heartbeat == "passing":
            yield Verdict("compare", "it sends heartbeats, but the agent's check fails", wrong=True)


def compare_stack(stack: Stack) -> list[Comparison]:
    """Return each service of a stack beside what else the catalog has under its name; a request a node, and two more.

    Raises:
        consul_cluster.client.ConsulError: Consul does not answer.
    """
    found = [(entry.service["Service"], _instance(entry)) for entry in catalog_entries(stack.consul)]
    return [_comparison(stack, service, found) for service in stack.roster.services]


def _comparison(stack: Stack, service: Service, found: Iterable[tuple[str, Instance]]) -> Comparison:
    host = stack.host_of(service)
    node = host.node
    named = [instance for name, instance in found if name == service.name]
    stacks = [each for each in named if each.node == node and (each.owner or "").startswith(stack.owner_prefix)]
    ours = next((each for each in stacks if each.id == service.id), None)
    twins = {each.address for each in stack.roster.services if each.name == service.name and each != service}
    return Comparison(
        service,
        host.docker.names.agent_node,
        host.docker.names.server_node if stack.settings.registration == "agent" else None,
        ours,
        tuple(each for each in named if each not in stacks and each.at not in twins),
    )


def _instance(entry: CatalogEntry) -> Instance:
    node, service, its = entry.node, entry.service, entry.checks
    return Instance(
        id=service["ID"],
        node=node["Node"],
        address=service["Address"] or node["Address"],
        port=service["Port"],
        status=_worst([*its, *entry.node_checks]) if its else "missing",
        heartbeat=_worst(ttl) if (ttl := [check for check in its if check["Type"] == "ttl"]) else None,
        tags=tuple(service["Tags"]),
        meta=service["Meta"],
        owner=service["Meta"].get(OWNER_KEY),
    )


def _worst(checks: Iterable[Mapping[str, Any]]) -> str:
    return worst_status(check_status(check) for check in checks)


def self_registrations(stack: StackName = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Show which services still register themselves, and which of them can stop.

    For each service: the agent's registration, with its status and where it
    says that the service is; the service's own, with its node and its heartbeat (a TTL check); and the next step of
    docs/migration.md: deploy, compare, release, or done. Release is next where the agent's check passes, both name the
    same address and port, and the roster states all tags and meta that the service gives itself: else clients would
    lose them, and the last column says what its line in services/ lacks. Nothing is changed.

    The exit code is 1 where the two contradict each other: another port than the roster's, heartbeats of a service
    whose check fails, or another party that holds the service's id at the agent, or at the server that checks it while
    the agent is replaced.

    Example: .local/venv/bin/python -m operations self-registrations --stack staging --json
    """
    compared = compare_stack(Stack.load(stack))
    if as_json:
        print_json([_document(one) for one in compared])
    else:
        print_rows(("Service", "Agent's", "Its own", "Step", "What to do"), [_row(one) for one in compared])
        for line in _summary(compared):
            print_line(line)
    raise typer.Exit(any(one.verdict.wrong for one in compared))


def _row(one: Comparison) -> tuple[str, ...]:
    ours = f"{one.ours.status} {one.ours.at}" if one.ours else "missing"
    own = ", ".join(f"{each.heartbeat or 'no'} heartbeat, {each.at} on {each.node}" for each in one.own)
    verdict = one.verdict
    return (
        one.service.id,
        ours,
        own or "-",
        verdict.step,
        ("wrong: " if verdict.wrong else "") + verdict.message,
    )


def _summary(compared: list[Comparison]) -> Iterator[str]:
    count = Counter(one.verdict.step for one in compared)
    for step, what in _STEPS.items():
        if count[step]:
            yield f"{count[step]} of {len(compared)} {what}"
    if count["release"]:
        yield f"To release: {_RELEASE}; or, where ACLs are on, give the service a token that can only read."
        yield (
            "Do not point one that registers itself at the shared agent: at each start, it may remove what the agent "
            "has of its name and port, the stack's registration too."
        )
    wrong = sum(one.verdict.wrong for one in compared)
    if wrong:
        yield f"{wrong} contradict the roster: see what is wrong above"


def _document(one: Comparison) -> dict[str, Any]:
    verdict = one.verdict
    return {
        "service": one.service.id,
        "container": one.service.container,
        "roster": one.service.address,
        "agent": _listed(one.ours) if one.ours else None,
        "own": [_listed(each) for each in one.own],
        "step": verdict.step,
        "message": verdict.message,
        "wrong": verdict.wrong,
        "can_drop": one.can_drop,
        "to_state": one.to_state,
    }


def _listed(one: Instance) -> dict[str, Any]:
    registered = {"id": one.id, "node": one.node, "at": one.at, "status": one.status, "heartbeat": one.heartbeat}
    return {**registered, "tags": one.tags, "meta": one.meta}
