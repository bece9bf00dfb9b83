"""Stands in for one of the platform's services on `local`: really listens, really answers, really stops.

Run by path, with the standard library alone: 40 of them start at once.
"""

import socket
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler


class Health(BaseHTTPRequestHandler):
    """Answers `GET /health` as the platform's services do."""

    def do_GET(self) -> None:
        """Answer 200 on `/health`, 404 elsewhere."""
        self.send_response(HTTPStatus.OK if self.path == "/health" else HTTPStatus.NOT_FOUND)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet: a check every 10 s is no news."""


class Server(socketserver.ThreadingTCPServer):
    """Listens again at once after it was stopped."""

    allow_reuse_address = True
    daemon_threads = True


def main(kind: str, host: str, port: str) -> None:
    """Serve until told to stop: HTTP, or plain TCP that accepts and closes."""
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with Server((host, int(port)), Health if kind == "http" else socketserver.BaseRequestHandler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
