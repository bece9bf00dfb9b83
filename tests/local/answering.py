"""Stands in for thousands of services in one process: each of its ports passes an HTTP check, and a TCP check.

Run by path, with the standard library alone: what it costs is not to be taken for a cost of Consul's.
"""

import asyncio
import resource
import sys
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from contextlib import suppress

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def _answer(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(IncompleteReadError, ConnectionError):  # a TCP check hangs up without a word
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_OK)
    writer.close()


async def main(first: int, ports: int, *hosts: str) -> None:
    """Serve so many ports, from the first one on, of each host until told to stop."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for host in hosts:
        for port in range(first, first + ports):
            await asyncio.start_server(_answer, host, port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
