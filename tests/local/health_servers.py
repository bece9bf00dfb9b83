"""Servers that each kind of check can ask, in this process, and that can be made to fail."""

import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc

import toolchain

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # of a HealthCheckResponse


@dataclass
class HealthServers:
    """What answers on a host, as long as it is well.

    Attributes:
        host: that they listen on.
        certificate: of the servers with TLS, and its key; nobody knows its authority.
        well: whether they answer as a healthy service does.
        names: that clients asked for in their TLS handshakes.
    """

    host: str
    certificate: tuple[Path, Path]
    well: bool = True
    names: list[str | None] = field(default_factory=list)

    def answers(self, handler: BaseHTTPRequestHandler, method: str, header: str, body: bytes) -> bool:
        """Whether a request is the one that a healthy service answers."""
        length = int(handler.headers.get("Content-Length", 0))
        asked = handler.command, handler.headers.get("X-Probe", ""), handler.rfile.read(length)
        return self.well and asked == (method, header, body)

    @property
    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        return context


class _QuietServer(socketserver.ThreadingTCPServer):
    """Says nothing when a client hangs up, as checks do."""

    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def http(servers: HealthServers, port: int, *, tls: bool = False, request: tuple[str, str, bytes]) -> Iterator[None]:
    """Answer 200 to one request, 503 to any other."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(200 if servers.answers(self, *request) else 503)
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with _QuietServer((servers.host, port), Handler) as server, _serving(server):
        if tls:
            server.socket = servers.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        yield


@contextmanager
def tcp(servers: HealthServers, port: int, *, tls: bool = False) -> Iterator[None]:
    """Accept connections while all is well, and hang up before a word is said otherwise; with TLS, that fails."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if servers.well:
                servers.tls.wrap_socket(self.request, server_side=True)

    handler = Handler if tls else socketserver.BaseRequestHandler
    with _QuietServer((servers.host, port), handler) as server, _serving(server):
        yield


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield
    server.shutdown()
    thread.join()


@contextmanager
def grpc_health(servers: HealthServers, port: int, *, tls: bool = False, service: str = "") -> Iterator[None]:
    """Answer SERVING for one service while all is well; NOT_SERVING for any other."""

    def check(request: bytes, _context: object) -> bytes:
        asked = request[2:].decode()  # a HealthCheckRequest: tag, length, name
        return _SERVING if servers.well and asked == service else _NOT_SERVING

    method: Any = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})])
    if tls:
        chain, key = (path.read_bytes() for path in servers.certificate)
        server.add_secure_port(f"{servers.host}:{port}", grpc.ssl_server_credentials([(key, chain)]))
    else:
        server.add_insecure_port(f"{servers.host}:{port}")
    server.start()
    yield
    server.stop(0).wait()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate, and its key, by an authority that nobody knows."""
    for words in (("ca", "create"), ("cert", "create", "-server", "-additional-dnsname=billing.example")):
        subprocess.run((toolchain.consul(), "tls", *words), cwd=folder, check=True, capture_output=True)
    name = folder / "dc1-server-consul-0"
    return name.with_suffix(".pem"), folder / f"{name.name}-key.pem"


@contextmanager
def listening(*servers: Callable[[], Any]) -> Iterator[None]:
    """Run some of these servers."""
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server())
        yield
