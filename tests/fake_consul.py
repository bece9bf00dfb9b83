"""Consul without Consul: a local HTTP server that answers as Consul 1.17.2 does."""

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from consul_cluster.client import Consul

Fields = dict[str, Any]
Answer = tuple[int, bytes, dict[str, str]]
Refusal = tuple[int, str]
Wrote = list[tuple[str, str, Any]]

AGENT, SERVER = "consul-agent-shared", "staging-consul"
_TOKEN_HEADER = "X-Consul-Token"  # noqa: S105 - a name
_METRICS = "# TYPE consul_runtime_alloc_bytes gauge\nconsul_runtime_alloc_bytes 1\n"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@contextmanager
def serve(answer: Callable[[Request], Answer], port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answer on a port, or on a free one, and over TLS, if there is a context for it; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            status, text, headers = answer(
                Request(self.command, parts.path, parse_qs(parts.query), dict(self.headers), body)
            )
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()


@dataclass
class FakeConsul:
    """The API of an agent and of the servers; shows what a test puts into it, and keeps what it is asked.

    Attributes:
        name: by which it is known in `wrote`.
        wrote: every change that was accepted: the name, the path (with the method, if it is not PUT), and the body.
        requests: all, in order.
        tokens: with which it was asked.
        services: the agent's, by id, as its API shows them.
        checks: the agent's, by id, as its API shows them.
        in_sync: whether the servers show what the agent holds.
        nodes: of the catalog, by name, as `/v1/catalog/node` shows them.
        node_checks: what the catalog has beside the agent's own.
        undiscovered: names of services that discovery leaves out.
        members: of the cluster, by name.
        secrets: of the ACL tokens, by accessor.
        leader: address of the servers'; blank where they have none.
        metrics: status and text of the answer to who asks for them.
        refuses: status and words of the answer to everything.
        refuses_writes: status and words of the answer to every change.
        refuses_ids: of services that nobody may register with the agent.
        refuses_paths: of requests that nobody may send.
        refuses_token: status and words of the answer to who asks for its own ACL token.
        refuses_next: status and words of the answers to the next changes, one a change.
        index: of the catalog; a query with this one waits for another.
        address: of its API.
        node: of its own agent.
    """

    name: str = "consul"
    wrote: Wrote = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    services: dict[str, Fields] = field(default_factory=dict)
    checks: dict[str, Fields] = field(default_factory=dict)
    in_sync: bool = True
    nodes: dict[str, Fields] = field(default_factory=dict)
    node_checks: list[Fields] = field(default_factory=list)
    undiscovered: set[str] = field(default_factory=set)
    members: dict[str, Fields] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    leader: str = "10.0.0.1:8300"
    metrics: Refusal = (200, _METRICS)
    refuses: Refusal | None = None
    refuses_writes: Refusal | None = None
    refuses_ids: set[str] = field(default_factory=set)
    refuses_paths: set[str] = field(default_factory=set)
    refuses_token: Refusal | None = None
    refuses_next: list[Refusal] = field(default_factory=list)
    index: int = 1
    address: str = ""
    node: str = AGENT

    @property
    def api(self) -> Consul:
        return Consul(self.address)

    @property
    def written(self) -> list[str]:
        """The paths of the changes that were accepted."""
        return [path for _, path, _ in self.wrote]

    # What a test puts into it

    def add_node(self, name: str, meta: dict[str, str] | None = None, **fields: str) -> Fields:
        """Have a node in the catalog; returns its services."""
        node = self.nodes.setdefault(
            name, {"Node": {"Node": name, "Address": "10.0.0.9", "Meta": meta or {}, **fields}, "Services": {}}
        )
        services: Fields = node["Services"]
        return services

    def add(self, node: str, service_id: str, name: str, *checks: Fields, **fields: object) -> None:
        """Have an instance on a node, with checks; on the agent's node, the agent holds it."""
        services = self.add_node(node)
        if node == self.node:
            services = self.services
        services[service_id] = {
            "ID": service_id,
            "Service": name,
            "Address": "",
            "Port": 1,
            "Tags": [],
            "Meta": {},
            **fields,
        }
        for each in checks:
            self.add_check(node, service_id, **each)

    def add_check(self, node: str, service_id: str, **fields: Any) -> None:  # noqa: ANN401 - JSON
        """Have a check; of a service on the agent's node, the agent runs it."""
        texts = dict.fromkeys(("Notes", "Output", "Type", "Interval", "Timeout"), "")
        own = {"CheckID": f"{service_id}-check", "Status": "passing", "Definition": {}, **texts, **fields}
        check = {"Node": node, "ServiceID": service_id, "Name": own["CheckID"], **own}
        if node == self.node and service_id:
            self.checks[check["CheckID"]] = check
        else:
            self.node_checks.append(check)

    def service(self, node: str, service_id: str) -> Fields:
        """An instance as the catalog has it."""
        service: Fields = self.catalog()[node]["Services"][service_id]
        return service

    def check(self, node: str, check_id: str) -> Fields:
        """A check as the catalog has it."""
        [check] = [each for each in self.catalog_checks(node) if each["CheckID"] == check_id]
        return check

    def set_status(self, check_id: str, status: str, output: str = "") -> None:
        """Change a check, and answer those who wait for that."""
        for check in (*self.checks.values(), *self.node_checks):
            if check["CheckID"] == check_id:
                check.update(Status=status, Output=output)
        self.index += 1

    def remove(self, node: str, service_id: str) -> None:
        """Have an instance and its checks no more."""
        if node == self.node:
            self.services.pop(service_id, None)
            self.checks = {key: each for key, each in self.checks.items() if each.get("ServiceID") != service_id}
        if node in self.nodes:
            self.nodes[node]["Services"].pop(service_id, None)
        self.node_checks = [
            each for each in self.node_checks if (each["Node"], each["ServiceID"]) != (node, service_id)
        ]

    # What it shows

    def catalog(self) -> dict[str, Fields]:
        """Every node, with its services."""
        node: Fields = {"Node": self.node, "Meta": {}, "TaggedAddresses": None}
        own: dict[str, Fields] = {self.node: {"Node": node, "Services": {}}} if self.services else {}
        agent = self.services if self.in_sync else {}
        return {
            name: {**node, "Services": {**node["Services"], **(agent if name == self.node else {})}}
            for name, node in {**own, **self.nodes}.items()
        }

    def catalog_checks(self, node: str | None = None) -> list[Fields]:
        own = [each for each in self.node_checks if node in (None, each["Node"])]
        return [*own, *(self.checks.values() if self.in_sync and node in (None, self.node) else ())]

    def instances(self, name: str, conditions: dict[str, str], passing: bool) -> Iterator[Fields]:
        """Yield what the catalog has of a service's name, as `/v1/health/service` shows it."""
        if name in self.undiscovered and passing:
            return
        for node, entry in self.catalog().items():
            for service_id, service in entry["Services"].items():
                of = {"Node.Node": node, "Service.ID": service_id}
                checks = [each for each in self.catalog_checks(node) if each["ServiceID"] in ("", service_id)]
                pass_all = not passing or all(each["Status"] == "passing" for each in checks)
                if service.get("Service") == name and pass_all and conditions.items() <= of.items():
                    shown = {"ID": service_id, **_as_servers_show(service)}
                    yield {"Node": entry["Node"], "Service": shown, "Checks": checks}

    # HTTP

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        self.tokens.add(request.headers.get(_TOKEN_HEADER))
        body = json.loads(request.body) if request.body else None
        if refusal := self._refusal(request, body):
            return refusal[0], refusal[1].encode(), {}
        if request.method != "GET":
            path = request.path if request.method == "PUT" else f"{request.method} {request.path}"
            self.wrote.append((self.name, path, body))
            self._change(path, body)
            return 200, b"", {}
        if request.path == "/v1/agent/metrics":
            return self.metrics[0], self.metrics[1].encode(), {}
        shown = self._show(request)
        if shown is None and "/agent/" in request.path:
            return 404, b"unknown service ID: " + request.path.rpartition("/")[2].encode(), {}
        return 200, json.dumps(shown).encode(), {"X-Consul-Index": str(self.index)}

    def _refusal(self, request: Request, body: Any) -> Refusal | None:  # noqa: ANN401 - JSON
        if request.path == "/v1/internal/acl/authorize":
            return 401, "ACL support disabled"
        if request.method != "GET" and self.refuses_next:
            return self.refuses_next.pop(0)
        if request.path == "/v1/txn" and (wrong := _unfit_for_transaction(body)):
            return wrong
        if request.path in self.refuses_paths or (isinstance(body, dict) and body.get("ID") in self.refuses_ids):
            return 403, "Permission denied"
        of_token = self.refuses_token if request.path == "/v1/acl/token/self" else None
        return self.refuses or of_token or (self.refuses_writes if request.method != "GET" else None)

    def _show(self, request: Request) -> Any:  # noqa: ANN401 - JSON
        where = dict(re.findall(r'([\w.]+) == "([^"]*)"', request.query.get("filter", [""])[0]))
        passing = "passing" in request.query
        whole: dict[str, Callable[[], Any]] = {
            "status/leader": lambda: self.leader,
            "agent/members": lambda: list(self.members.values()),
            "acl/tokens": lambda: [{"AccessorID": key, "SecretID": each} for key, each in self.secrets.items()],
            "agent/services": lambda: self.services,
            "agent/checks": lambda: {key: each for key, each in self.checks.items() if where.items() <= each.items()},
            "catalog/nodes": lambda: [each["Node"] for each in self.catalog().values()],
            "health/state/any": self.catalog_checks,
        }
        named: dict[str, Callable[[str], Any]] = {
            "agent/service": self.services.get,
            "acl/token": lambda accessor: self._token(accessor, request),
            "catalog/node": self._catalog_node,
            "health/node": lambda node: self._changed_checks(node, request),
            "health/service": lambda service: list(self.instances(service, where, passing)),
        }
        path = request.path.removeprefix("/v1/")
        if path in whole:
            return whole[path]()
        what, _, name = path.rpartition("/")
        return named[what](unquote(name))

    def _catalog_node(self, name: str) -> Fields | None:
        node = self.catalog().get(name)
        return node and {**node, "Services": {key: _as_servers_show(each) for key, each in node["Services"].items()}}

    def _changed_checks(self, node: str, request: Request) -> list[Fields]:
        [index] = request.query.get("index", ["0"])
        until = time.monotonic() + 5
        while self.index == int(index) and time.monotonic() < until:
            time.sleep(0.005)
        return self.catalog_checks(node)

    def _token(self, accessor: str, request: Request) -> Fields:
        if accessor != "self":
            return {"SecretID": self.secrets[accessor]}
        known = {secret: key for key, secret in self.secrets.items()}
        return {"AccessorID": known.get(request.headers[_TOKEN_HEADER], "00000000-0000-0000-0000-000000000002")}

    def _change(self, path: str, body: Any) -> None:  # noqa: ANN401 - JSON
        if path == "/v1/agent/service/register":
            self.register(body)
        elif path.startswith("/v1/agent/join/"):
            self.leader = "10.0.0.1:8300"
        elif path.startswith("/v1/agent/check/deregister/"):
            del self.checks[unquote(path.rpartition("/")[2])]
        elif path.startswith("/v1/agent/service/deregister/"):
            self.remove(self.node, unquote(path.rpartition("/")[2]))
        elif path == "/v1/catalog/register" and "Service" in body:
            self.add_node(body["Node"])
            self.nodes[body["Node"]]["Node"] = {
                "Node": body["Node"],
                "Address": body["Address"],
                "Meta": body["NodeMeta"],
            }
            self.nodes[body["Node"]]["Services"][body["Service"]["ID"]] = dict(body["Service"])
            self.node_checks += body["Checks"]
        elif path == "/v1/txn":
            for operation in body:
                self._operate(operation)
        elif path == "/v1/catalog/deregister" and body.keys() == {"Node"}:
            del self.nodes[body["Node"]]
        elif path == "/v1/catalog/deregister" and "CheckID" in body:
            gone = (body["Node"], body["CheckID"])
            self.node_checks = [each for each in self.node_checks if (each["Node"], each["CheckID"]) != gone]
        elif path == "/v1/catalog/deregister":
            self.remove(body["Node"], body["ServiceID"])

    def _operate(self, operation: Fields) -> None:
        if "Check" in operation:
            self.node_checks.append(operation["Check"]["Check"])
            return
        node, service = operation["Service"]["Node"], operation["Service"]["Service"]
        if operation["Service"]["Verb"] == "delete":
            self.remove(node, service["ID"])
        else:
            self.nodes[node]["Services"][service["ID"]] = service

    def register(self, body: Fields) -> None:
        """Hold a service with the agent, and its checks, as they stand in a register request."""
        fields = {key: body[key] for key in ("Address", "Port", "Tags", "Meta")}
        self.services[body["ID"]] = {"ID": body["ID"], "Service": body["Name"], **fields}
        checks: Iterable[Fields] = body["Checks"]
        for each in checks:
            kind = next(kind for kind in ("http", "tcp", "grpc", "ttl") if kind.upper() in each)
            run = {"Node": self.node, "Type": kind, "Status": "critical", "Output": "", **each, "ServiceID": body["ID"]}
            self.checks[each["CheckID"]] = run


def _as_servers_show(service: Fields) -> Fields:
    """Return a service as the servers' API shows it: unlike an agent's, without a port that is 0, or an empty meta."""
    shown = {key: value for key, value in service.items() if key != "Port" or value}
    return {**shown, "Meta": service.get("Meta") or None}


def _unfit_for_transaction(operations: list[Fields]) -> Refusal | None:
    """Return the refusal of what Consul takes in no transaction."""
    for each in operations:
        if shown := {"Type", "Interval", "Timeout"} & each.get("Check", {}).get("Check", {}).keys():
            return 400, f'Failed to parse body: json: unknown field "{min(shown)}"'
        if "Service" in each and not each["Service"]["Service"].get("Service"):
            return 409, "Must provide service name (Service.Service) when service ID is provided"
    return None


@contextmanager
def running(consul: FakeConsul) -> Iterator[FakeConsul]:
    """Have it answer at its address."""
    with serve(consul.answer) as consul.address:
        yield consul
