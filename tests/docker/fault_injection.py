"""Breaks changes of a stack on a Docker engine at every step, and counts what is wrong afterwards.

`make faults STACK=docker-local`. After each fault, one `up`, as `make up` runs it, has to complete the change.
`python -m tests.docker.fault_injection 3 agent 500` breaks at every third step, the circle `agent` alone, by 500 alone.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from subprocess import CalledProcessError
from unittest.mock import patch

from consul_cluster.client import Consul, ConsulError
from consul_cluster.health_status import MAINTENANCE, service_statuses
from errors import UserError
from operations import down
from operations.lost_server import has_lost_its_server
from operations.pulumi_engine import EngineError
from operations.stack import Stack
from services.roster import Roster
from tests.broken_requests import BrokenRequests, Kind
from tests.docker.catalog_watch import accept_any_certificate
from tests.docker.conftest import (
    AGENT,
    HTTPS,
    SERVER,
    another_agent_config,
    docker,
    instances,
    obstacle,
    ours,
    project,
    status,
)
from tests.docker.docker_proxy import docker_proxy
from tests.forty_services import forty_roster
from tests.killing import kill_engine
from tests.maintenance import maintain
from tests.polling import polling
from tests.statuses import statuses
from waiting import wait_until

NAMES = ("account_service", "billing_service", "mcp_service", "minio_grpc_service")
STOPPED, TAKEN_OUT, ADDED = "billing_service", "mcp_service", "order_service"
_DONE = "creating|created|updating|updated|deleting|deleted|replacing|replaced"
_STEP = re.compile(rf"^ *(\+|-|~|\+-|\+\+|--|<|>|=) .*\b({_DONE})\b")
AGENT_CONFIG = "/consul/config/agent-config.json"
_SETTLED = 20  # seconds in which an agent runs each check
# Seconds in which consul-esm does, after the servers were away: it takes its lock again when its session has ended,
# after twice 15 s, and another 15 s, and looks every 10 s.
# https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions
_ESM_SETTLED = 60
# Seconds until an agent compares all that it holds with the servers. It can lose a change of a status: one that it has
# not yet told them of when the service is registered again, or `consul reload` runs (docs/troubleshooting.md).
_COMPARED = 120
_ANSWERS = 100  # that the client gets at least while a change is broken and completed

# What happens after a step that the engine prints.
STEP_FAULTS: Mapping[str, Callable[[], object]] = {
    "engine killed": kill_engine,
    "server dies": lambda: docker("kill", SERVER),
    "agent dies": lambda: docker("kill", AGENT),
}
# What happens to a request to Docker that changes something.
REQUEST_FAULTS: Mapping[str, Kind] = {kind: kind for kind in ("500", "no answer", "answer lost")}


@dataclass(frozen=True)
class State:
    """What is deployed.

    Attributes:
        name: of the state.
        config: more settings of the stack.
        retry: the agent's retry_interval; another one replaces its container.
        added: whether the roster has one service more.
        replaces: names of resources that the change to this state replaces.
    """

    name: str
    config: Mapping[str, str] = field(default_factory=dict)
    retry: str = "5s"
    added: bool = False
    replaces: tuple[str, ...] = ()


def _secured(stage: str, *replaces: str) -> State:
    https = HTTPS if stage in ("sent", "on") else {}
    return State(f"{stage} {' '.join(replaces)}", {"security": stage, **https}, replaces=replaces)


def _registration(registration: str) -> State:
    return State(registration, {"registration": registration})


# Each is a circle of states: the change from each one to the next is broken, again and again.
CHANGES: Mapping[str, Sequence[State]] = {
    "agent": (State("retry 6s", retry="6s"), State("retry 7s", retry="7s")),
    "services": (State("four"), State("five", added=True)),
    "registration": tuple(map(_registration, ("agent", "catalog", "files", "agent", "files", "catalog"))),
    "security": tuple(map(_secured, ("accepted", "sent", "on", "sent"))),
    "keys": (
        _secured("on", "keys-gossip"),
        _secured("on", "acl-registration-token"),
        _secured("on", "acl-agent-token"),
        _secured("on", "keys-management"),
        _secured("on", "keys-staging-consul-key", "keys-consul-agent-shared-key"),
        _secured("on", "keys-authority-key"),
    ),
}


def _roster(added: bool) -> Roster:
    """Return services with quick checks, none of which Consul removes while it is stopped."""
    checks = {"deregister_critical_service_after": timedelta(hours=24), "timeout": timedelta(seconds=1)}
    roster = forty_roster(names=(*NAMES, ADDED) if added else NAMES, interval=timedelta(seconds=1))
    return Roster(
        services=tuple(
            service.model_copy(update={"checks": tuple(check.model_copy(update=checks) for check in service.checks)})
            for service in roster.services
        )
    )


@dataclass
class Laboratory:
    """A stack that is changed, and a client that watches a stopped service and one in maintenance."""

    folder: Path
    requests: BrokenRequests
    lies: list[str] = field(default_factory=list)
    ways: list[Consul] = field(default_factory=list)
    answers: int = 0

    @contextmanager
    def stack(self, state: State) -> Iterator[Stack]:
        """Have the program state what a state deploys."""
        roster = _roster(state.added)
        with (
            patch("services.roster.load_roster", lambda *_: roster),
            patch("components.consul_agent.agent_config", another_agent_config(state.retry)),
        ):
            stack = project(self.folder, "docker-local", **{"security": "off", **state.config})
            with suppress(UserError):  # the state has no tokens yet
                self.ways = [*self.ways[-1:], accept_any_certificate(stack.server)]
            yield stack

    def deploy(self, state: State, fault: str = "", at: int = 0) -> bool:
        """Run `up`, whether it finishes or not, and break it at a step or request; returns whether it was broken."""
        steps, struck = 0, False

        def print_line(line: str) -> None:
            nonlocal steps, struck
            steps += bool(_STEP.search(line))
            if fault in STEP_FAULTS and not struck and 0 < at <= steps:
                with suppress(CalledProcessError):  # no such container runs at this step: it dies at a later one
                    STEP_FAULTS[fault]()
                    struck = True

        with self.stack(state) as stack:
            urns = [each for each in stack.engine.urns() if each.rpartition("::")[2] in state.replaces]
            self.requests.arm(at if fault in REQUEST_FAULTS else 0, REQUEST_FAULTS.get(fault, "500"))
            with suppress(EngineError):
                replace(stack.engine, print_line=print_line).up(parallel=1, replace=urns if at else None)
        struck = struck or self.requests.struck
        self.requests.arm(0, "500")
        return struck

    def inject(self, state: State, fault: str, at: int) -> tuple[bool, list[str]]:
        """Break the change to a state, and complete it; returns whether it was broken, and what is wrong then."""
        self.answers = 0
        struck = self.deploy(state, fault, at)
        found = list(self.complete(state))
        if self.answers < _ANSWERS:
            found.append(f"the client saw the catalog {self.answers} times alone: what it did not see proves nothing")
        return struck, found

    def start(self, state: State) -> list[str]:
        """Deploy a state, stop a service and take one out, with nothing broken; returns what is wrong then."""
        self.deploy(state)
        docker("pause", "isa-billing")
        with self.stack(state) as stack:
            take_out(stack)
            wait_until(lambda: status(stack, STOPPED) == "critical", _SETTLED)
        self.lies.clear()  # until then, it was right that it passes
        return list(self.complete(state))

    def complete(self, state: State) -> Iterator[str]:
        """Run one plain `up`, and yield what is wrong after it."""
        said: list[str] = []
        with self.stack(state) as stack:
            stack.engine.unlock()
            try:
                lost = has_lost_its_server(stack)
                replace(stack.engine, print_line=said.append).up(run_program=lost)
            except EngineError:
                yield f"the next up failed: {' '.join(said)[-1500:]}"
                return
        with self.stack(state) as stack:  # whose authority and tokens are those of the state now
            self.ways = self.ways[-1:]
            yield from self.violations(stack, state)

    def violations(self, stack: Stack, state: State) -> Iterator[str]:
        """Yield what is not as it has to be after an `up`."""
        unlike = {STOPPED: "critical", TAKEN_OUT: MAINTENANCE}
        wanted = {service.id: unlike.get(service.id, "passing") for service in stack.roster.services}
        settled = _ESM_SETTLED if stack.settings.registration == "catalog" else _SETTLED
        if not self.shows(stack, wanted, settled):
            own, in_catalog = own_statuses(stack), statuses(stack.server, stack.roster, stack.node)
            if own == wanted and self.shows(stack, wanted, _COMPARED):
                say(f"Consul's agent had lost a change of status; the catalog had {in_catalog}")
            else:
                yield f"statuses in the catalog: {in_catalog}; as the agent has them: {own}"
            take_out(stack)  # so that the next fault has one in maintenance
        places = sorted((service.name, stack.node) for service in stack.roster.services)
        if instances(stack) != places:
            yield f"in the catalog: {instances(stack)}"
        if f'"retry_interval": "{state.retry}"' not in (config := docker("exec", AGENT, "cat", AGENT_CONFIG)):
            yield f"the agent runs with {config}"
        yield from self.lies
        self.lies.clear()
        said: list[str] = []
        try:
            again = replace(stack.engine, print_line=said.append).up().summary.resource_changes or {}
        except EngineError:
            yield f"the second up failed: {' '.join(said)[-1500:]}"
            return
        # The Consul provider takes a maintenance for a check of its own: docs/registrations.md.
        expected = {"same", "update"} if stack.settings.registration == "catalog" else {"same"}
        others = [line for line in said if _STEP.search(line) and ":" in line and TAKEN_OUT not in line]
        if others or not expected.issuperset(map(str, again)):
            yield f"the second up changes something: {again} {' '.join(filter(_STEP.search, said))}"

    def shows(self, stack: Stack, wanted: Mapping[str, str], seconds: float) -> bool:
        """Return whether the catalog shows these statuses within some seconds."""
        return wait_until(lambda: statuses(stack.server, stack.roster, stack.node) == wanted, seconds)

    def watch(self) -> None:
        """Look whether the stopped service is said to pass, or clients find the one in maintenance."""
        for way in self.ways:
            with suppress(ConsulError):
                self.lies += [f"{TAKEN_OUT} is found on {each['Node']['Node']}" for each in way.discover(TAKEN_OUT)]
                checks = way.catalog_checks()
                self.answers += any(check["ServiceName"] == STOPPED for check in checks)
                for check in checks:
                    if check["ServiceName"] == STOPPED and check["Status"] == "passing":
                        self.lies.append(f"passes on {check['Node']}: {check['Output'][:60]}")


def take_out(stack: Stack) -> None:
    """Put a service in maintenance, as an operator does."""
    shown = stack.with_role("removal")
    for agent in shown.agents.values():
        if agent.service(TAKEN_OUT):  # what is not there, was said already
            maintain(agent.address, TAKEN_OUT, "by an operator", shown.credentials.token, shown.credentials.ca)


def own_statuses(stack: Stack) -> Mapping[str, str]:
    """Return the status of each service as its agent has it."""
    agents = stack.with_role("removal").agents.values()
    checks = [check for agent in agents for check in agent.all_checks().values()]
    return service_statuses(checks, stack.roster)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(lab: Laboratory, name: str, kinds: Collection[str], stride: int) -> tuple[int, int]:
    """Break every change of a circle at every step; returns how many faults and violations there were."""
    states = CHANGES[name]
    found = lab.start(states[0])
    say(f"{name}: {states[0].name}, nothing broken: {found or 'well'}")
    faults, violations = 0, len(found)
    for kind in kinds:
        todo, at = set(range(len(states))), 1
        while todo:
            for index in (*range(1, len(states)), 0):
                state = states[index]
                struck, found = lab.inject(state, kind, at)
                faults, violations = faults + struck, violations + len(found)
                say(f"{name}: to {state.name}, {kind} at {at}{'' if struck else ' (not broken)'}: {found or 'well'}")
                if not struck:
                    todo.discard(index)
            at += stride
    return faults, violations


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory() as folder, docker_proxy(Path(folder)) as requests:
        lab = Laboratory(Path(folder), requests)
        with polling(lab.watch, 0.02):
            try:
                yield lab
            finally:
                with lab.stack(State("end")) as stack:
                    with suppress(Exception):
                        docker("unpause", "isa-billing")
                    down.destroy(stack)


def main(stride: str = "1", *names: str) -> int:
    if reason := obstacle():
        sys.exit(reason)
    faults = violations = 0
    kinds = [kind for kind in (*STEP_FAULTS, *REQUEST_FAULTS) if kind in names] or [*STEP_FAULTS, *REQUEST_FAULTS]
    for name in [name for name in CHANGES if name in names] or CHANGES:
        with laboratory() as lab:
            new = run(lab, name, kinds, int(stride))
        faults, violations = faults + new[0], violations + new[1]
        say(f"{name}: {faults} faults, {violations} violations so far")
    left_over = ours()
    say(f"{faults} faults, {violations} violations; left over: {left_over or 'nothing'}")
    return bool(violations or left_over or not faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
