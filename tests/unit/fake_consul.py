"""A Consul of a server and an agent that answers over real HTTP, with a catalog that a test can change."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from cluster.agent_configuration import EXTERNAL_NODE_META
from operations import local
from operations.engine import Engine
from operations.paths import FOLDER, ROOT
from operations.target import Target
from operations.verify.registrations import stated
from settings import Settings
from tests.forty_services import forty_roster

Fields = dict[str, Any]
METRICS = "# TYPE consul_runtime_alloc_bytes gauge\nconsul_runtime_alloc_bytes 1\n"
SERVER, AGENT = "staging-consul", "consul-agent-shared"


@dataclass
class FakeConsul:
    """Shows what its fields hold; the agent holds what the catalog has on its node, but for what is `unheld`."""

    members: dict[str, Fields]
    nodes: dict[str, Fields]
    services: dict[tuple[str, str], Fields]
    checks: dict[tuple[str, str], Fields]
    metrics: tuple[int, str] = (200, METRICS)
    hidden: set[str] = field(default_factory=set)
    unheld: set[str] = field(default_factory=set)
    refuses: tuple[int, str] | None = None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    version: int = 1

    def add(self, node: str, service_id: str, name: str, **meta: str) -> None:
        """Add an instance without checks."""
        self.nodes.setdefault(node, {"Node": node, "Meta": {}})
        self.services[node, service_id] = {
            "ID": service_id,
            "Service": name,
            "Address": "",
            "Port": 1,
            "Tags": [],
            "Meta": meta,
        }

    def set_status(self, check_id: str, status: str, output: str = "") -> None:
        """Change a check, and wake who waits for that."""
        for (_, known), check in self.checks.items():
            if known == check_id:
                check.update(Status=status, Output=output)
        self.version += 1

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, object]:
        if self.refuses:
            return self.refuses
        if path == "/v1/agent/metrics":
            return self.metrics
        area, *rest = path.removeprefix("/v1/").split("/")
        shown: dict[str, Callable[..., object]] = {
            "agent": self._of_agent,
            "catalog": self._of_catalog,
            "health": self._of_health,
        }
        return 200, shown[area](*rest, index=int(query.get("index", ["0"])[0]))

    def _of_agent(self, what: str, **_: object) -> object:
        if what == "members":
            return list(self.members.values())
        if what == "services":
            return {key: entry for (node, key), entry in self.services.items() if self._held(node, key)}
        return {key: check for (node, key), check in self.checks.items() if self._held(node, check["ServiceID"])}

    def _of_catalog(self, what: str, name: str = "", **_: object) -> object:
        if what == "nodes":
            return list(self.nodes.values())
        found = {key: entry for (node, key), entry in self.services.items() if node == name}
        return {"Node": self.nodes[name], "Services": found} if name in self.nodes else None

    def _of_health(self, what: str, name: str, index: int) -> object:
        if what == "state":
            return list(self.checks.values())
        if what == "service":
            return [] if name in self.hidden else list(self._passing(name))
        self._wait(index)
        return [check for (node, _), check in self.checks.items() if node == name]

    def put(self, path: str, body: Any) -> tuple[int, object]:  # noqa: ANN401 - JSON
        if path.startswith("/v1/agent/service/deregister/"):
            self._drop(AGENT, unquote(path.rpartition("/")[2]))
        elif path == "/v1/catalog/deregister":
            self._drop(body["Node"], body["ServiceID"])
        return 200, None

    def _drop(self, node: str, service_id: str) -> None:
        self.services.pop((node, service_id), None)

    def _held(self, node: str, service_id: str) -> bool:
        return node == AGENT and bool(service_id) and service_id not in self.unheld

    def _passing(self, name: str) -> Iterator[Fields]:
        for (node, service_id), entry in self.services.items():
            checks = [c for (at, _), c in self.checks.items() if at == node and c["ServiceID"] in ("", service_id)]
            if entry["Service"] == name and all(check["Status"] == "passing" for check in checks):
                yield {"Node": {"Node": node}, "Service": entry, "Checks": checks}

    def _wait(self, index: int) -> None:
        until = time.monotonic() + 5
        while self.version == index and time.monotonic() < until:
            time.sleep(0.005)


@contextmanager
def serving(consul: FakeConsul) -> Iterator[str]:
    """Answer at an address of its own."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            consul.asked.append((self.command, self.path, json.loads(body) if body else None))
            if self.command == "PUT":
                status, said = consul.put(parts.path, json.loads(body) if body else None)
            else:
                status, said = consul.get(parts.path, parse_qs(parts.query))
            data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Consul-Index", str(consul.version))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def aim_at(agent: str | None, server: str, **config: object) -> Target:
    """Return the stack `local`, at two addresses."""
    given = {"agentAddress": agent, "serverAddress": server, "serviceHost": "127.0.0.3", "docker": False, **config}
    return Target("consul-staging", "local", Settings.model_validate(given), forty_roster(host="127.0.0.3"))


def found_here(patch: pytest.MonkeyPatch, aim: Callable[[], Target]) -> None:
    """Have the commands find a stack by its name, and no other, as this clone's own; its engine cannot run."""

    def here(_: object, name: str) -> local.Local:
        assert name == aim().stack
        return local.Local(aim(), Engine(lambda: FOLDER / "none", FOLDER, ROOT), None, print)

    patch.setattr(local, "here", here)


def well(aim: Target) -> FakeConsul:
    """Return a Consul in which all is as the stack states it."""
    external = aim.settings.registration == "catalog"
    consul = FakeConsul(
        members={
            SERVER: {"Name": SERVER, "Status": 1, "Tags": {"role": "consul"}},
            AGENT: {"Name": AGENT, "Status": 1, "Tags": {"role": "node"}},
        },
        nodes={SERVER: {"Node": SERVER, "Meta": {}}, AGENT: {"Node": AGENT, "Meta": {}}},
        services={},
        checks={(node, "serfHealth"): _check(node, "", "serfHealth", Output="alive") for node in (SERVER, AGENT)},
    )
    if external:
        consul.nodes[aim.node] = {"Node": aim.node, "Meta": dict(EXTERNAL_NODE_META)}
        consul.add(AGENT, "consul-esm:1", "consul-esm")
    consul.add(SERVER, "consul", "consul")
    for service in aim.roster.services:
        wanted = stated(aim, service)
        consul.services[aim.node, service.id] = {
            "ID": service.id,
            "Service": wanted["name"],
            **{key.capitalize(): wanted[key] for key in ("address", "port", "tags", "meta")},
        }
        for check_id, check in wanted["checks"].items():
            consul.checks[aim.node, check_id] = _run(aim.node, service.id, check_id, check, external)
    return consul


def _run(node: str, service_id: str, check_id: str, check: Fields, external: bool) -> Fields:
    """Return a check as Consul shows it after it ran: as 1.17.2 spells one of an agent's, or one of consul-esm's."""
    kind = "http" if "http" in check else "tcp"
    aim, reap = check[kind], check["deregister_critical_service_after"]
    output = f"HTTP GET {aim}: 200 OK Output: " if kind == "http" else f"TCP connect {aim}: Success"
    spans = {"Interval": check["interval"], "Timeout": check["timeout"]}
    defined = {kind.upper(): aim, "DeregisterCriticalServiceAfter": reap, **spans}
    notes = f"{'GET' if kind == 'http' else 'TCP'} {aim}; deregistered after {reap} critical"
    own = {"Definition": defined} if external else {"Type": kind, "Notes": notes, **spans}
    return _check(node, service_id, check_id, Name=check["name"], Output=output, **own)


def _check(node: str, service_id: str, check_id: str, **fields: object) -> Fields:
    blank = {
        "Name": check_id,
        "Status": "passing",
        "Notes": "",
        "Output": "",
        "Type": "",
        "Interval": "",
        "Timeout": "",
    }
    return {"Node": node, "ServiceID": service_id, "CheckID": check_id, "Definition": {}, **blank, **fields}
