"""A Consul API that answers what a test put into it, over real HTTP."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from cluster.client import Consul
from services.definition import register_request
from services.group import Environment
from services.grpc import grpc_service
from services.roster import Roster
from services.user import user_service

NODE = "consul-agent-shared"
BILLING = "billing_service"


def two() -> Roster:
    """A user service and a gRPC service."""
    where = Environment("staging")
    return Roster(services=(user_service(where, "billing", 8216), grpc_service(where, "minio", 50051, "storage")))


@dataclass
class FakeConsul:
    """An agent and its catalog.

    Attributes:
        bodies: what is registered with the agent, by id, as it was sent.
        nodes: by name, the address of each node of the catalog.
        catalog: by node, its services as the catalog has them.
        checks: of the catalog.
        asked: method and path of each request.
        refused: ids that a register request is answered 403 for.
        in_step: whether the servers show what the agent holds.
        broken: whether it answers to nothing but with what is no JSON.
    """

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=lambda: {NODE: "10.0.0.2"})
    catalog: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    in_step: bool = True
    broken: bool = False
    address: str = ""

    @property
    def api(self) -> Consul:
        return Consul(self.address)

    @property
    def written(self) -> list[str]:
        """The paths that something was sent to."""
        return [path for method, path in self.asked if method == "PUT"]

    def holds(self, fields: dict[str, Any], service_id: str) -> None:
        self.bodies[service_id] = register_request({"id": service_id, **fields})

    def registers(
        self, node: str, service_id: str, name: str, port: int, *checks: tuple[str, str], **more: object
    ) -> None:
        """Have a service in the catalog, with checks of a type and a status each."""
        body = {"ID": service_id, "Service": name, "Address": "", "Port": port, "Meta": {}, **more}
        self.catalog.setdefault(node, []).append(body)
        for number, (kind, status) in enumerate(checks):
            check = {"Node": node, "CheckID": f"{service_id}:{number}", "ServiceID": service_id, "ServiceName": name}
            self.checks.append({**check, "Type": kind, "Status": status, "Output": ""})

    def take(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Answer a register request."""
        if body["ID"] in self.refused:
            return 403, "Permission denied"
        self.bodies[body["ID"]] = body
        return 200, None

    def show(self, path: str, query: str) -> tuple[int, Any]:
        """Answer a question; of the filters, those by ServiceID."""
        if self.broken:
            return 200, "<html>"
        wanted = re.findall(r'^filter=ServiceID == "(.+)"$', unquote_plus(query))
        *_, what, last = path.split("/")
        if what == "service" and "/agent/" in path and last not in self.bodies:
            return 404, "unknown service ID"
        answers: dict[str, Callable[[], Any]] = {
            "/v1/agent/services": lambda: {key: _service(one) for key, one in self.bodies.items()},
            "/v1/agent/checks": lambda: {
                each["CheckID"]: each for each in self._agents_checks() if each["ServiceID"] in (wanted or self.bodies)
            },
            f"/v1/agent/service/{last}": lambda: _service(self.bodies[last]),
            "/v1/catalog/nodes": lambda: [{"Node": name} for name in self.nodes],
            f"/v1/catalog/node/{last}": lambda: self._listed(last),
            "/v1/health/state/any": lambda: self.checks,
            f"/v1/health/node/{last}": self._agents_checks,
            f"/v1/health/service/{last}": lambda: self._entries(last, "passing" in query),
        }
        return 200, answers[path]()

    def _agents_checks(self) -> list[dict[str, Any]]:
        return [check for one in self.bodies.values() for check in _checks(one)]

    def _listed(self, node: str) -> dict[str, Any]:
        known = {one["ID"]: one for one in self.catalog.get(node, [])}
        held = {key: _service(one) for key, one in self.bodies.items()} if self.in_step else {}
        return {"Node": {"Node": node, "Address": self.nodes[node]}, "Services": known | held}

    def _entries(self, name: str, passing: bool) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = [
            {
                "Node": {"Node": node},
                "Service": service,
                "Checks": [check for check in self.checks if check["ServiceID"] == service["ID"]],
            }
            for node, services in self.catalog.items()
            for service in services
            if service["Service"] == name
        ]
        return [each for each in entries if not passing or all(one["Status"] == "passing" for one in each["Checks"])]


def _service(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "ID": body["ID"],
        "Service": body["Name"],
        **{key: body[key] for key in ("Address", "Port", "Tags", "Meta")},
    }


def _checks(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **check,
            "ServiceID": body["ID"],
            "Output": "",
            "Type": "http" if "HTTP" in check else "tcp",
            "Status": "passing",
        }
        for check in body["Checks"]
    ]


@contextmanager
def serving(fake: FakeConsul) -> Iterator[FakeConsul]:
    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, query = urlsplit(self.path)[2:4]
            fake.asked.append((self.command, path))
            status, said = fake.take(json.loads(sent)) if sent else fake.show(path, query)
            body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = reply  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield fake
    server.shutdown()
    server.server_close()
