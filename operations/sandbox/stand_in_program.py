"""Stands in for one of the platform's services on `local`: really listens, really answers, really stops.

Run by path, and, unless it speaks gRPC, with the standard library alone: 40 of them start at once.
"""

import json
import socket
import socketserver
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import Any

_SERVING = b"\x08\x01"  # a HealthCheckResponse: https://github.com/grpc/grpc/blob/master/doc/health-checking.md


class Server(socketserver.ThreadingTCPServer):
    """Listens again at once after it was stopped."""

    allow_reuse_address = True
    daemon_threads = True


def answering(paths: Sequence[str]) -> type[BaseHTTPRequestHandler]:
    """Return what answers 200 on some paths, whatever the method, and 404 elsewhere."""

    class Health(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(HTTPStatus.OK if self.path in paths else HTTPStatus.NOT_FOUND)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass  # a check every 10 s is no news

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815 - http.server's names

    return Health


def grpc_server(host: str, port: int) -> Callable[[], object]:
    """Listen, and return what answers SERVING to gRPC's health protocol, whatever service it asks for."""
    import grpc  # noqa: PLC0415 - it takes longer to import than all else here

    check: Any = grpc.unary_unary_rpc_method_handler(lambda *_: _SERVING)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})])
    server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    server.start()
    return server.wait_for_termination


def listening(host: str, port: int, kind: str, paths: Sequence[str]) -> Callable[[], object]:
    """Listen, and return what serves the port: HTTP, gRPC, or plain TCP that accepts and closes."""
    if kind == "grpc":
        return grpc_server(host, port)
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return Server((host, port), answering(paths) if kind == "http" else socketserver.BaseRequestHandler).serve_forever


def report(agent: str, check_id: str, seconds: float) -> None:
    """Tell the agent again and again that the service is well, as one with a TTL check does."""
    request = urllib.request.Request(f"{agent}/v1/agent/check/pass/{check_id}", method="PUT")  # noqa: S310 - http
    while True:
        with suppress(OSError):  # the agent is away, or does not have the check yet
            urllib.request.urlopen(request, timeout=seconds).close()  # noqa: S310 - http
        time.sleep(seconds)


def main(task: str) -> None:
    """Do until told to stop what `operations.sandbox.stand_ins` says."""
    stated = json.loads(task)
    work = [listening(stated["host"], *port) for port in stated["ports"]]
    work += [partial(report, stated["agent"], *each) for each in stated["reports"]]
    threads = [Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
