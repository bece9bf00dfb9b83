"""Consul without Consul: a local HTTP server that answers as Consul 1.17.2 does."""

import json
import re
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


def serve(answer: Callable[[Asked], Answer], port: int = 0) -> ThreadingHTTPServer:
    """Listen on a port, or on a free one."""

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

        do_GET = do_PUT = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


Wrote = list[tuple[str, str, Any]]


@dataclass
class FakeConsul:
    """An agent and a catalog that hold what a test gives them, and what they are told.

    Attributes:
        name: by which it is known in `wrote`.
        wrote: who was told what, in order: its name, the path, and the body.
        services: the agent's, by id, as its API shows them.
        checks: the agent's, by id, as its API shows them.
        nodes: the catalog's, by name, as `/v1/catalog/node` shows them.
        node_checks: the catalog's, as `/v1/health/node` shows them.
        refuses: status and words of the answer to everything.
        refuses_writes: status and words of the answer to every change.
        tokens: with which it was asked.
        address: of its API.
    """

    name: str = "consul"
    wrote: Wrote = field(default_factory=list)
    services: dict[str, Fields] = field(default_factory=dict)
    checks: dict[str, Fields] = field(default_factory=dict)
    nodes: dict[str, Fields] = field(default_factory=dict)
    node_checks: list[Fields] = field(default_factory=list)
    refuses: tuple[int, bytes] | None = None
    refuses_writes: tuple[int, bytes] | None = None
    tokens: set[str | None] = field(default_factory=set)
    address: str = ""

    def answer(self, asked: Asked) -> Answer:
        body = json.loads(asked.body) if asked.body else None
        self.tokens.add(asked.headers.get("X-Consul-Token"))
        refusal = self.refuses or (self.refuses_writes if asked.method == "PUT" else None)
        if refusal:
            return *refusal, {}
        if asked.method == "PUT":
            self.wrote.append((self.name, asked.path, body))
            self.change(asked.path, body)
            return 200, b"", {}
        found = self.found(asked)
        if found is None and "/agent/" in asked.path:
            return 404, b"unknown service ID: " + asked.path.rpartition("/")[2].encode(), {}
        return 200, json.dumps(found).encode(), {}

    def found(self, asked: Asked) -> Any:  # noqa: ANN401 - JSON
        what, _, name = asked.path.removeprefix("/v1/").rpartition("/")
        match what, unquote(name):
            case "agent", "self":
                return {"Config": {"NodeName": "consul-agent-shared"}}
            case "agent", "checks":
                [of] = re.findall(r'ServiceID == "(\w+)"', asked.query["filter"][0])
                return {check_id: check for check_id, check in self.checks.items() if check["ServiceID"] == of}
            case "agent/service", service_id:
                return self.services.get(service_id)
            case "catalog/node", node:
                return self.nodes.get(node)
            case "health/node", node:
                return [check for check in self.node_checks if check["Node"] == node]
            case "health/service", service:
                checks = list(self.checks.values())
                held = [each for each in self.services.values() if each["Service"] == service]
                return [{"Service": each, "Checks": checks} for each in held]
        raise AssertionError(asked)

    def change(self, path: str, body: Any) -> None:  # noqa: ANN401 - JSON
        if path == "/v1/agent/service/register":
            self.services[body["ID"]] = {
                "Service": body["Name"],
                **{key: body[key] for key in ("Address", "Port", "Tags", "Meta")},
            }
            self.checks |= {each["CheckID"]: {**each, "ServiceID": body["ID"]} for each in body["Checks"]}
        elif path == "/v1/catalog/deregister":
            if "CheckID" not in body:
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
