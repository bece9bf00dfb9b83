"""Breaks deployments at every step, and counts what is wrong afterwards: `make faults`.

A proxy stands between the program and the agent. At a chosen request, it kills the engine, refuses, or does not answer.
Then one plain `up` has to complete what was broken off.
"""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3

import toolchain
from components.consul_connection import Connection
from consul_cluster.client import ConsulError
from consul_cluster.drift import read_services
from operations.pulumi_engine import Engine, EngineError
from services.model import Service
from services.roster import Roster
from tests.broken_requests import BrokenRequests, Kind
from tests.killing import kill_engine
from tests.local.stacks import SECOND, EditableStack, as_deployed, new_project, new_sandbox, running, service_of
from tests.polling import polling
from tests.statuses import statuses
from waiting import wait_until

KINDS: tuple[Kind, ...] = ("kill before", "kill after", "500", "403", "no answer", "answer lost")

NAMES = ("account_service", "billing_service", "mcp_service", "minio_grpc_service")
STOPPED, REMOVED, ADDED = "billing_service", "account_service", "order_service"
_TRUE_WITHIN = 2.0  # seconds: two intervals of a check, within which it sees that its service stopped


@dataclass
class Proxy(BrokenRequests):
    """An agent's API that breaks on request.

    Attributes:
        target: address of the agent.
        address: of the proxy.
    """

    target: str = ""
    address: str = ""


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy before an agent."""
    made, http = Proxy(target=target), urllib3.PoolManager(retries=False)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            breaks = made.next()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if breaks == "kill before":
                kill_engine()
            if breaks in ("500", "403"):
                self._send(int(breaks), b"broken on purpose")
                return
            if breaks == "no answer":
                self.close_connection = True
                return
            answer = http.request(self.command, f"{made.target}{self.path}", body=body, headers=dict(self.headers))
            if breaks == "kill after":
                kill_engine()
            if breaks == "answer lost":
                self.close_connection = True
                return
            self._send(answer.status, answer.data)

        def _send(self, status: int, body: bytes) -> None:
            with suppress(OSError):  # who asked was killed
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_PUT = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.address = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()


@dataclass(frozen=True)
class Change:
    """A deployment that is broken: from one roster to another."""

    before: Roster
    after: Roster


def _changes(services: Roster) -> Mapping[str, Change]:
    stated = {service.id: service for service in services.services}
    four = Roster(services=tuple(stated[name] for name in NAMES))
    edited = [stated[name] for name in NAMES if name != REMOVED]
    edited[1] = edited[1].model_copy(update={"tags": (*edited[1].tags, "edited")})
    return {
        "create": Change(Roster(services=()), four),
        "edit": Change(four, Roster(services=(*edited, stated[ADDED]))),
        "remove all": Change(four, Roster(services=())),
    }


@dataclass
class Laboratory:
    """A stack whose agent is reached through a proxy, and a client that watches a stopped service."""

    stack: EditableStack
    proxy: Proxy
    lies: list[str] = field(default_factory=list)

    @property
    def changes(self) -> Mapping[str, Change]:
        return _changes(self.stack.sandbox.roster)

    def steps(self, name: str) -> int:
        """Return how many requests a change takes when nothing breaks."""
        change = self.changes[name]
        self._deploy(change.before)
        self.proxy.arm(0, "500")
        self._deploy(change.after)
        return self.proxy.count

    def inject(self, name: str, at: int, kind: Kind) -> list[str]:
        """Break a change at a request, complete it, and return what is wrong then."""
        change = self.changes[name]
        self._deploy(change.before)
        self.proxy.arm(at, kind)
        with suppress(EngineError):
            self._deploy(change.after)
        struck = self.proxy.struck
        self.proxy.arm(0, kind)
        if not struck:
            return [f"{name} {at} {kind}: nothing was broken"]
        try:
            self.stack.engine.unlock()
            self._deploy(change.after)
        except EngineError:
            return [f"{name} {at} {kind}: the next up failed: {self.stack.said[-300:]}"]
        return [f"{name} {at} {kind}: {violation}" for violation in self.violations(change.after)]

    def _deploy(self, roster: Roster) -> None:
        self.stack.roster = roster
        self.stack.up(refresh=True, parallel=1)

    def violations(self, roster: Roster) -> Iterator[str]:
        """Yield what is not as it has to be once a roster was deployed."""
        consul = self.stack.consul
        wanted = {service.id: as_deployed(service) for service in roster.services}
        found = read_services(consul)
        if found != wanted:
            yield f"on the agent: {found.keys()} as stated: {[key for key in wanted if found.get(key) == wanted[key]]}"
        places = [
            (node, key)
            for node in consul.catalog_nodes()
            for key in consul.node_services(node)
            if not key.startswith("consul")
        ]
        if sorted(key for _, key in places) != sorted(wanted):
            yield f"in the catalog: {sorted(places)}"

        def true() -> bool:
            expected = {key: "critical" if key == STOPPED else "passing" for key in wanted}
            return statuses(consul, roster) == expected

        if not wait_until(true, _TRUE_WITHIN + 1):
            yield f"statuses: {statuses(consul, roster)}"
        yield from self.lies
        self.lies.clear()

    def watch(self) -> None:
        """Look whether the stopped service is said to pass."""
        with suppress(ConsulError):
            for check in self.stack.consul.node_checks("consul-agent-shared"):
                if check["ServiceID"] == STOPPED and check["Status"] == "passing":
                    self.lies.append(f"{STOPPED} is stopped, and was shown as passing: {check['Output']}")


def _never_reaped(service: Service) -> Service:
    """Return a service that Consul does not remove while it is stopped."""
    long = {"deregister_critical_service_after": timedelta(hours=24)}
    return service.model_copy(update={"checks": tuple(check.model_copy(update=long) for check in service.checks)})


@contextmanager
def laboratory(folder: Path) -> Iterator[Laboratory]:
    """Run a sandbox in which one service is stopped, with a proxy and a client that watches."""
    whole = new_sandbox(folder / "consul", SECOND)
    some = [service for service in whole.roster.services if service.id in (*NAMES, ADDED)]
    few = Roster(services=tuple(map(_never_reaped, some)))
    sandbox = replace(whole, roster=few)
    with running(sandbox), proxy(f"http://{sandbox.agent}:8500") as broken:
        sandbox.stand_in(service_of(few, STOPPED)).stop()
        engine = Engine(toolchain.pulumi, folder / "pulumi", new_project(folder), checkpoints=True)
        stack = EditableStack(sandbox, engine, few, Connection(broken.address))
        made = Laboratory(stack, broken)
        with polling(made.watch, 0.02):
            yield made


def run(lab: Laboratory, names: Sequence[str], say: Callable[[str], object]) -> tuple[int, list[str]]:
    """Break changes, or all, at every step in every way; return how many faults there were, and the violations."""
    faults, violations = 0, list[str]()
    for name in names or lab.changes:
        steps = lab.steps(name)
        say(f"{name}: {steps} requests, {faults} faults and {len(violations)} violations so far")
        for at in range(1, steps + 1):
            for kind in KINDS:
                faults += 1
                for violation in lab.inject(name, at, kind):
                    say(violation)
                    violations.append(violation)
    return faults, violations


def main() -> int:
    """Return the exit code: 1 if there was a violation."""
    with tempfile.TemporaryDirectory() as folder, laboratory(Path(folder)) as lab:
        faults, violations = run(lab, sys.argv[1:], lambda line: sys.stdout.write(f"{line}\n"))
    sys.stdout.write(f"{faults} faults, {len(violations)} violations\n")
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())
