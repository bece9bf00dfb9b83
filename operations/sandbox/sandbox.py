"""The Consul of the `local` stack: a server, a client agent and a stand-in for each service, as processes."""

import errno
import json
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE, agent_config, server_config
from cluster.client import Consul, ConsulError
from operations.sandbox import stand_in as standin
from operations.sandbox.processes import Program
from services.model import Service
from services.roster import Roster

# What each of Consul's two processes listens on: API, DNS, LAN gossip, WAN gossip, and on a server RPC and gRPC.
# https://developer.hashicorp.com/consul/docs/install/ports
AGENT_PORTS = (8500, 8600, 8301)
SERVER_PORTS = (*AGENT_PORTS, 8300, 8302, 8503)


class ClusterError(Exception):
    """The local Consul cannot run: says why, and what would help."""


@dataclass(frozen=True)
class Cluster:
    """The processes of one local stack.

    Attributes:
        consul: gets the Consul program.
        server: loopback address of the server.
        agent: loopback address of the agent; another one, since both use Consul's own ports.
        roster: a stand-in is started for each of its services, on its host and port.
        folder: everything that is written is below it.
    """

    consul: Callable[[], Path]
    server: str
    agent: str
    roster: Roster
    folder: Path

    @property
    def agent_api(self) -> Consul:
        """The agent's API."""
        return Consul(f"http://{self.agent}:8500")

    @property
    def server_program(self) -> Program:
        """The server's process."""
        return self._consul(SERVER_NODE)

    @property
    def agent_program(self) -> Program:
        """The agent's process."""
        return self._consul(AGENT_NODE)

    def standin(self, service: Service) -> Program:
        """Return the process that stands in for a service."""
        command = (sys.executable, "-S", standin.__file__, service.checks[0].kind, service.host, str(service.port))
        return Program(service.container, command, self.folder / "standins")

    def listeners(self) -> Iterator[tuple[Program, list[tuple[str, int]]]]:
        """Yield every process with the addresses that it listens on, in the order in which they are started."""
        yield self.server_program, [(self.server, port) for port in SERVER_PORTS]
        yield self.agent_program, [(self.agent, port) for port in AGENT_PORTS]
        for service in self.roster.services:
            yield self.standin(service), [(service.host, service.port)]

    @property
    def programs(self) -> list[Program]:
        """Every process, in the order in which they are started."""
        return [program for program, _ in self.listeners()]

    def start(self) -> int:
        """Start what does not run yet, and wait until the agent answers for the cluster.

        Returns:
            how many processes had to be started.

        Raises:
            ClusterError: a port is taken, or Consul does not come up. In the first case nothing was started.
        """
        self._refuse_taken_ports()
        files = {
            SERVER_NODE: server_config(self.server, self.server),
            AGENT_NODE: agent_config(self.server, self.agent, self.agent),
        }
        for node, config in files.items():
            write_config(config, node, self.folder)
        started = sum(program.start() for program in self.programs)
        self._await_ready()
        return started

    def stop(self) -> int:
        """Stop what `start` started, and nothing else; the agent leaves the cluster first.

        Returns:
            how many processes ran.
        """
        consul, agent, *standins = self.programs
        stopped = sum(program.stop() for program in (agent, consul, *standins))
        shutil.rmtree(self.folder, ignore_errors=True)
        return stopped

    def _consul(self, node: str) -> Program:
        return consul_program(self.consul(), node, self.folder)

    def _ready(self) -> bool:
        return bool(self.agent_api.leader()) and AGENT_NODE in self.agent_api.nodes()

    def _await_ready(self, patience: float = 60) -> None:
        deadline = time.monotonic() + patience
        while True:
            for program in (self.server_program, self.agent_program):
                if not program.process:
                    raise ClusterError(f"{program.name} ended; the last lines of {program.log}:\n{_tail(program.log)}")
            with suppress(ConsulError):
                if self._ready():
                    return
            if time.monotonic() > deadline:
                logs = f"{self.server_program.log} and {self.agent_program.log}"
                raise ClusterError(f"the agent has not joined the server after {patience:.0f} s: see {logs}")
            time.sleep(0.1)

    def _refuse_taken_ports(self) -> None:
        problems = self._problems()
        if problems:  # a program that was just killed gives its ports back a moment later
            time.sleep(1)
            problems = self._problems()
        if problems:
            raise ClusterError("nothing was started:\n" + "\n".join(problems))

    def _problems(self) -> list[str]:
        return [
            problem
            for program, addresses in self.listeners()
            if not program.process
            for address in addresses
            if (problem := _problem(*address))
        ]


def consul_program(consul: Path, node: str, folder: Path) -> Program:
    """Return the process of one node of a cluster below a folder, whose configuration `write_config` wrote."""
    command = (consul, "agent", "-config-file", _config_file(node, folder), "-data-dir", folder / node / "data")
    return Program(node, command, folder / node)


def write_config(config: Mapping[str, Any], node: str, folder: Path) -> None:
    """Write the configuration of one node of a cluster below a folder."""
    path = _config_file(node, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2) + "\n")


def _config_file(node: str, folder: Path) -> Path:
    return folder / node / "agent-config.json"


def _problem(host: str, port: int) -> str | None:
    """Return why nothing can listen on an address, or None."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"{host}:{port} is taken by {_owner(host, port)}: stop it, or give another in Pulumi.local.yaml"
            hint = f" (on macOS: sudo ifconfig lo0 alias {host} up)" if sys.platform == "darwin" else ""
            return f"{host}:{port} cannot be used: {error.strerror}{hint}"
    return None


def _owner(host: str, port: int) -> str:
    """Return the name and id of the process that listens on an address."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.pid and local and local.port == port and local.ip in (host, "0.0.0.0", "::"):  # noqa: S104
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "a process of another user"


def _tail(path: Path, lines: int = 5) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
