"""Consul without Consul: a local HTTP server that answers as Consul 1.17.2 does."""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Fields = dict[str, Any]
Answer = tuple[int, bytes, dict[str, str]]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


def serve(answer: Callable[[Asked], Answer], port: int = 0, tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    """Listen on a port, or on a free one; over TLS, if there is a context for it."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            asked = Asked(self.command, parts.path, parse_qs(parts.query), dict(self.headers), body)
            status, said, headers = answer(asked)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


HEADER = "X-Consul-Token"
Wrote = list[tuple[str, str, Any]]


@dataclass
class FakeConsul:
    """An agent and a catalog that hold what a test gives them, and what they are told.

    Attributes:
        name: by which it is known in `wrote`.
        wrote: who was told what, in order: its name, the path (with the method, if it is not PUT), and the body.
        services: the agent's, by id, as its API shows them.
        checks: the agent's, by id, as its API shows them.
        nodes: the catalog's, by name, as `/v1/catalog/node` shows them.
        node_checks: the catalog's, as `/v1/health/node` shows them.
        secrets: of the ACL tokens, by accessor.
        leader: address of the servers'; blank where they have none.
        refuses: status and words of the answer to everything.
        refuses_writes: status and words of the answer to every change.
        refuses_token: status and words of the answer to who asks for its own ACL token.
        refuses_next: status and words of the answers to the next changes, one a change.
        tokens: with which it was asked.
        address: of its API.
    """

    name: str = "consul"
    wrote: Wrote = field(default_factory=list)
    services: dict[str, Fields] = field(default_factory=dict)
    checks: dict[str, Fields] = field(default_factory=dict)
    nodes: dict[str, Fields] = field(default_factory=dict)
    node_checks: list[Fields] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    leader: str = "10.0.0.1:8300"
    refuses: tuple[int, bytes] | None = None
    refuses_writes: tuple[int, bytes] | None = None
    refuses_token: tuple[int, bytes] | None = None
    refuses_next: list[tuple[int, bytes]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    address: str = ""

    def answer(self, asked: Asked) -> Answer:
        body = json.loads(asked.body) if asked.body else None
        self.tokens.add(asked.headers.get(HEADER))
        writes = asked.method != "GET"
        refusal = self.refuses or (self.refuses_writes if writes else None)
        if asked.path == "/v1/acl/token/self":
            refusal = refusal or self.refuses_token
        if writes and self.refuses_next:
            refusal = self.refuses_next.pop(0)
        if refusal:
            return *refusal, {}
        if writes:
            path = asked.path if asked.method == "PUT" else f"{asked.method} {asked.path}"
            self.wrote.append((self.name, path, body))
            self.change(path, body)
            return 200, b"", {}
        found = self.found(asked)
        if found is None and "/agent/" in asked.path:
            return 404, b"unknown service ID: " + asked.path.rpartition("/")[2].encode(), {}
        return 200, json.dumps(found).encode(), {}

    def found(self, asked: Asked) -> Any:  # noqa: ANN401 - JSON
        what, _, name = asked.path.removeprefix("/v1/").rpartition("/")
        match what, unquote(name):
            case "status", "leader":
                return self.leader
            case "agent", _:
                return self.agent(name, asked)
            case "acl/token", accessor:
                return self.token(accessor, asked)
            case "agent/service", service_id:
                return self.services.get(service_id)
            case "catalog/node", node:
                return self.nodes.get(node)
            case "health/node" | "health/service", of:
                return self.health(what, of)
        raise AssertionError(asked)

    def agent(self, what: str, asked: Asked) -> Fields:
        if what == "self":
            return {"Config": {"NodeName": "consul-agent-shared"}}
        if what == "services":
            return self.services
        assert what == "checks", asked
        if "filter" not in asked.query:
            return self.checks
        [of] = re.findall(r'ServiceID == "(\w+)"', asked.query["filter"][0])
        return {check_id: check for check_id, check in self.checks.items() if check["ServiceID"] == of}

    def token(self, accessor: str, asked: Asked) -> Fields:
        if accessor != "self":
            return {"SecretID": self.secrets[accessor]}
        known = {secret: key for key, secret in self.secrets.items()}
        return {"AccessorID": known.get(asked.headers[HEADER], "00000000-0000-0000-0000-000000000002")}

    def health(self, what: str, name: str) -> list[Fields]:
        if what == "health/node":
            return [check for check in self.node_checks if check["Node"] == name]
        held = [each for each in self.services.values() if each["Service"] == name]
        return [{"Service": each, "Checks": list(self.checks.values())} for each in held]

    def change(self, path: str, body: Any) -> None:  # noqa: ANN401 - JSON
        if path == "/v1/agent/service/register":
            self.services[body["ID"]] = {
                "Service": body["Name"],
                **{key: body[key] for key in ("Address", "Port", "Tags", "Meta")},
            }
            self.checks |= {each["CheckID"]: {**each, "ServiceID": body["ID"]} for each in body["Checks"]}
        elif path == "/v1/catalog/register" and "Service" in body:
            node = {"Node": body["Node"], "Address": body["Address"], "Meta": body["NodeMeta"]}
            services = self.nodes.get(body["Node"], {"Services": {}})["Services"]
            service = {**body["Service"]}
            self.nodes[body["Node"]] = {"Node": node, "Services": {**services, service["ID"]: service}}
            self.node_checks += body["Checks"]
        elif path == "/v1/catalog/deregister" and body.keys() == {"Node"}:
            del self.nodes[body["Node"]]
        elif path == "/v1/catalog/deregister":
            if "CheckID" not in body and body["Node"] in self.nodes:
                self.nodes[body["Node"]]["Services"].pop(body["ServiceID"], None)
            gone = "CheckID" if "CheckID" in body else "ServiceID"  # a service takes its checks along
            self.node_checks = [
                check for check in self.node_checks if (check["Node"], check[gone]) != (body["Node"], body[gone])
            ]
        elif path.startswith("/v1/agent/service/deregister/"):
            self.services.pop(path.rpartition("/")[2], None)


@contextmanager
def running(consul: FakeConsul) -> Iterator[FakeConsul]:
    """Have it answer at its address."""
    server = serve(consul.answer)
    consul.address = f"http://127.0.0.1:{server.server_port}"
    yield consul
    server.shutdown()
    server.server_close()
