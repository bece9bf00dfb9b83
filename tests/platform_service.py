"""A service that registers itself, as those of the platform do before their migration. Run by path; needs py-consul.

It has the id `<name>-<host>-<port>` and a TTL check that it passes itself, or an HTTP check of `/health`. When it
starts, it first removes "stale" registrations: what its agent has of its own name and port under another id. It finds
other services over `health.service(name, passing=True)`, of which it prefers those with the tag `preferred`, and takes
a fallback where there is none; and it reads its configuration from `<name>/<key>`, as JSON where that parses.
"""

import json
import random
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import consul

TTL = 30


class Registry:
    """What each service has built in.

    Attributes:
        name: of the service.
        service_id: under which it registers itself.
    """

    def __init__(self, consul_host: str, name: str, host: str, port: int) -> None:
        self._consul: Any = consul.Consul(host=consul_host, port=8500)
        self.name, self._host, self._port = name, host, port
        self.service_id = f"{name}-{host}-{port}"

    def register(self, check: str, tags: list[str], meta: dict[str, str]) -> None:
        """Remove what is stale, and register."""
        agent = self._consul.agent
        for service_id, found in agent.services().items():
            if (found["Service"], found["Port"]) == (self.name, self._port) and service_id != self.service_id:
                agent.service.deregister(service_id)
        url = f"http://{self._host}:{self._port}/health"
        checks = {
            "ttl": consul.Check.ttl(f"{TTL}s"),
            "http": consul.Check.http(url, interval="15s", timeout="5s", deregister="90s"),
        }
        agent.service.register(
            self.name,
            self.service_id,
            address=self._host,
            port=self._port,
            tags=tags,
            meta=meta,
            check=checks[check],
        )
        if check == "ttl":
            Thread(target=self._heartbeats, daemon=True).start()

    def _heartbeats(self) -> None:
        while True:
            with suppress(consul.ConsulException, OSError):
                self._consul.agent.check.ttl_pass(f"service:{self.service_id}")
            time.sleep(TTL / 3)

    def discover(self, name: str, fallback: str) -> str:
        """Return where to reach another service."""
        _, entries = self._consul.health.service(name, passing=True)
        services = [entry["Service"] for entry in entries]
        preferred = [each for each in services if "preferred" in each["Tags"]]
        if not services:
            return fallback
        chosen = random.choice(preferred or services)  # noqa: S311 - as the platform's services do
        return f"http://{chosen['Address']}:{chosen['Port']}"

    def configured(self, key: str) -> object:
        """Return a value of this service's own configuration, or None."""
        _, entry = self._consul.kv.get(f"{self.name}/{key}")
        if not entry:
            return None
        text = entry["Value"].decode()
        try:
            value: object = json.loads(text)
        except ValueError:
            return str(text)
        return value


def serve(host: str, port: int) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host, port), Health) as server:
        server.serve_forever()


def main(settings: str) -> None:
    """Run one release of a service; `registers` of a release is the kind of its check, or null."""
    stated = json.loads(settings)
    registry = Registry(stated["consul"], stated["name"], stated["host"], stated["port"])
    if stated["registers"]:
        registry.register(stated["registers"], stated["tags"], stated["meta"])
    serve(stated["host"], stated["port"])


if __name__ == "__main__":
    main(*sys.argv[1:])
