"""Whether something can listen on an address of this machine."""

import socket
from contextlib import closing


def why_nothing_can_listen(host: str, port: int) -> OSError | None:
    """Return the operating system's error, such as EADDRINUSE where another process has the address; None: it can."""
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None
