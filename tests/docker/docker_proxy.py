"""A Docker engine's API that breaks on request: a proxy before its socket."""

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from tests.broken_requests import BrokenRequests

ENGINE = "/var/run/docker.sock"
_BODY = b'{"message": "broken on purpose"}'
_REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)


@contextmanager
def docker_proxy(folder: Path) -> Iterator[BrokenRequests]:
    """Have all that uses Docker go through a proxy. It counts the requests that change something."""
    engine = os.environ.get("DOCKER_HOST", f"unix://{ENGINE}").removeprefix("unix://")
    requests, path = BrokenRequests(), folder / "docker.sock"

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b"".join(iter(self.rfile.readline, b"\r\n"))
            breaks = requests.next() if head and not head.startswith((b"GET ", b"HEAD ")) else None
            if breaks == "500":
                self.wfile.write(_REFUSAL)
            elif breaks != "no answer":
                self._pass_on(head, answers=breaks != "answer lost")

        def _pass_on(self, head: bytes, *, answers: bool) -> None:
            with socket.socket(socket.AF_UNIX) as engine_socket:
                engine_socket.connect(engine)
                engine_socket.sendall(_one_request(head))
                threading.Thread(target=self._copy_request, args=(engine_socket,), daemon=True).start()
                while data := engine_socket.recv(65536):
                    if answers:
                        self.wfile.write(data)
            self.connection.shutdown(socket.SHUT_RDWR)  # ends the thread that reads from it

        def _copy_request(self, engine_socket: socket.socket) -> None:
            with suppress(OSError, ValueError):  # either side ended the connection
                while data := self.rfile.read1(65536):
                    engine_socket.sendall(data)
                engine_socket.shutdown(socket.SHUT_WR)

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 128  # beyond that, Docker "does not answer": a refresh connects for each container at once

        def handle_error(self, *_: object) -> None:
            """Say nothing: a client that was killed leaves its connections behind."""

    with Server(str(path), Handler) as server, patch.dict(os.environ, DOCKER_HOST=f"unix://{path}"):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield requests
        server.shutdown()


def _one_request(head: bytes) -> bytes:
    """Return the head of a request after which the engine ends the connection, unless it becomes a stream."""
    lines = head.splitlines(keepends=True)
    if not any(line.lower().startswith(b"upgrade:") for line in lines):
        lines = [line for line in lines if not line.lower().startswith(b"connection:")]
        lines.append(b"Connection: close\r\n")
    return b"".join((*lines, b"\r\n"))
