"""The sandbox: a Consul server, an agent and a stand-in for each service, as processes on loopback addresses."""

import errno
import json
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

import toolchain
from consul_cluster.agent_configuration import agent_config, server_config
from consul_cluster.client import Consul, ConsulError
from consul_cluster.cluster_names import STAGING_NAMES, ClusterNames
from errors import UserError
from operations.paths import LOCAL_FOLDER
from operations.sandbox.processes import BackgroundProcess, recorded_processes
from operations.sandbox.stand_ins import StandIn, stand_ins
from port_probe import why_nothing_can_listen
from services.model import Service
from services.roster import Roster
from settings import Settings
from waiting import wait_until

# What each Consul process listens on: API, DNS, LAN gossip; on a server also RPC, WAN gossip and gRPC.
# https://developer.hashicorp.com/consul/docs/install/ports
AGENT_PORTS = (8500, 8600, 8301)
SERVER_PORTS = (*AGENT_PORTS, 8300, 8302, 8503)

_DOCKERS = "docker-proxy"  # listens where a container publishes a port
_READY_SECONDS = 150  # as long as an agent may take to tell the servers what it holds (`registration.draining`)


class SandboxError(UserError):
    """The sandbox cannot run."""


@dataclass(frozen=True)
class Sandbox:
    """The processes of one stack without Docker.

    Attributes:
        consul: gets the Consul program.
        server: loopback address of the server.
        agent: loopback address of the agent. It is another one, because both use Consul's own ports.
        roster: each of its services gets a stand-in on its host and port.
        folder: everything that is written is below it.
        names: of the cluster.
    """

    consul: Callable[[], Path]
    server: str
    agent: str
    roster: Roster
    folder: Path
    names: ClusterNames = STAGING_NAMES

    @property
    def agent_api(self) -> Consul:
        """The API of the agent."""
        return Consul(f"http://{self.agent}:8500")

    @property
    def server_api(self) -> Consul:
        """The API of the server."""
        return Consul(f"http://{self.server}:8500")

    @property
    def server_process(self) -> BackgroundProcess:
        """The process of the server."""
        return consul_process(self.consul(), self.names.server_node, self.folder)

    @property
    def agent_process(self) -> BackgroundProcess:
        """The process of the agent."""
        return consul_process(self.consul(), self.names.agent_node, self.folder)

    @property
    def agent_runs(self) -> bool:
        """Whether the agent runs. Consul's program, which may be gone by now, is not needed to tell."""
        return self._recorded(self.names.agent_node).running is not None

    def _recorded(self, node: str) -> BackgroundProcess:
        return BackgroundProcess(node, (), self.folder / node)

    def stand_in(self, service: Service) -> BackgroundProcess:
        """Return the process that stands in for a service."""
        return self._stand_ins[service.id].process

    def listeners(self) -> Iterator[tuple[BackgroundProcess, Sequence[tuple[str, int]]]]:
        """Yield each process with the addresses that it listens on, in the order in which they are started."""
        yield self.server_process, [(self.server, port) for port in SERVER_PORTS]
        yield self.agent_process, [(self.agent, port) for port in AGENT_PORTS]
        for stand_in in {each.process.name: each for each in self._stand_ins.values()}.values():
            yield stand_in.process, stand_in.addresses

    @property
    def processes(self) -> list[BackgroundProcess]:
        """Every process, in the order in which they are started."""
        return [process for process, _ in self.listeners()]

    @property
    def left_over(self) -> list[BackgroundProcess]:
        """Stand-ins of services that the roster states no more, or at another port."""
        stated = {process.name: process for process in self.processes}
        recorded = recorded_processes(self._stand_ins_folder)
        return [each for each in recorded if each.name not in stated or not stated[each.name].up_to_date]

    @cached_property
    def _stand_ins(self) -> Mapping[str, StandIn]:
        return stand_ins(self.roster, self.agent_api.address, self._stand_ins_folder)

    @property
    def _stand_ins_folder(self) -> Path:
        return self.folder / "standins"

    def start(self) -> int:
        """Start what does not run yet, stop what is stated no more, and wait until the agent has joined the server.

        Returns:
            how many processes were started.

        Raises:
            SandboxError: a port is taken, or Consul runs with another configuration, and nothing was started; or Consul
                does not get ready.
        """
        configs = {
            self.names.server_node: server_config(self.names, self.server, self.server),
            self.names.agent_node: agent_config(self.names, self.server, self.agent, self.agent),
        }
        for node, config in configs.items():
            self._refuse_other_config(node, config)
        self._refuse_taken_ports()
        for node, config in configs.items():
            write_config(config, node, self.folder)
        for process in self.left_over:
            process.stop()
        server, agent, *stand_ins = self.processes
        started = sum(process.start() for process in (server, *stand_ins))
        self._wait_until(self._leads, server, "the server has elected no leader")
        started += agent.start()
        self._wait_until(self._has_joined, agent, "the agent has not joined the server")
        return started

    def stop(self) -> int:
        """Stop what `start` started, and nothing else. The agent is first, so that it can leave the cluster.

        Returns:
            how many processes ran.
        """
        nodes = [self._recorded(node) for node in (self.names.agent_node, self.names.server_node)]
        stopped = sum(process.stop() for process in (*nodes, *recorded_processes(self._stand_ins_folder)))
        shutil.rmtree(self.folder, ignore_errors=True)
        return stopped

    def _wait_until(self, ready: Callable[[], bool], process: BackgroundProcess, problem: str) -> None:
        def is_ready() -> bool:
            if not process.running:
                raise SandboxError(f"{process.name} ended; the last lines of {process.log}:\n{_tail(process.log)}")
            with suppress(ConsulError, FileNotFoundError):
                return ready()
            return False

        if not wait_until(is_ready, _READY_SECONDS):
            raise SandboxError(f"{problem} after {_READY_SECONDS} s: see {process.log}")

    def _leads(self) -> bool:
        return bool(self.server_api.leader())

    def _has_joined(self) -> bool:
        """Return whether the catalog has the agent, and not one from before it lost its data, which is removed."""
        entry = self.server_api.catalog_node(self.names.agent_node)
        own_id = (self.folder / self.names.agent_node / "data" / "node-id").read_text().strip()
        if entry and entry["Node"]["ID"] != own_id:
            self.server_api.deregister_node(self.names.agent_node)
            return False
        return self.server_api.has_synchronized(self.names.agent_node)

    def _refuse_other_config(self, node: str, stated: Mapping[str, Any]) -> None:
        """Check that a process of Consul that runs was started with what is stated: it would go on with the other."""
        path = _config_file(node, self.folder)
        if not self._recorded(node).running or not path.exists():
            return
        running, wanted = json.loads(path.read_text()), json.loads(json.dumps(stated))
        differences = [
            f"{key}: it runs with {running.get(key)!r}, and {wanted.get(key)!r} is stated"
            for key in sorted(running.keys() | wanted)
            if running.get(key) != wanted.get(key)
        ]
        if differences:
            raise SandboxError(
                f"nothing was started: {node} runs already, and its configuration was changed since. Run make down, "
                "then make up:\n" + "\n".join(differences)
            )

    def _refuse_taken_ports(self) -> None:
        problems = self._problems()
        if problems:  # A process that was just killed gives its ports back a moment later.
            time.sleep(1)
            problems = self._problems()
        if problems:
            raise SandboxError("nothing was started:\n" + "\n".join(problems))

    def _problems(self) -> list[str]:
        ours = {process.pid for each in (*self.left_over, *self.processes) if (process := each.running)}
        return [
            problem
            for process, addresses in self.listeners()
            if not process.up_to_date
            for address in addresses
            if (problem := _problem(*address, ours))
        ]


def sandbox(settings: Settings, roster: Roster, stack: str) -> Sandbox:
    """Return the sandbox of a stack: its settings name the addresses. No other stack has its processes or its data."""
    addresses = (settings.server_address, settings.agent_address or "")
    server, agent = (urlsplit(address).hostname or "" for address in addresses)
    return Sandbox(toolchain.consul, server, agent, roster, LOCAL_FOLDER / f"consul-{stack}", settings.names)


def consul_process(consul: Path, node: str, folder: Path) -> BackgroundProcess:
    """Return the process of one node, whose configuration `write_config` wrote below the same folder."""
    command = (consul, "agent", "-config-file", _config_file(node, folder), "-data-dir", folder / node / "data")
    return BackgroundProcess(node, command, folder / node)


def write_config(config: Mapping[str, Any], node: str, folder: Path) -> None:
    """Write the configuration of one node below a folder."""
    path = _config_file(node, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2) + "\n")


def _config_file(node: str, folder: Path) -> Path:
    return folder / node / "agent-config.json"


def _problem(host: str, port: int, ours: Collection[int]) -> str | None:
    """Return why nothing can listen on an address, or None; what processes of ours hold is given back in time."""
    error = why_nothing_can_listen(host, port)
    if error is None:
        return None
    if error.errno == errno.EADDRINUSE:
        owner = _owner(host, port)
        if owner in ours:
            return None
        taker = _described(owner)
        stop = "see docker ps; of docker-local: make down STACK=docker-local" if _DOCKERS in taker else "stop it"
        return f"{host}:{port} is taken by {taker}: {stop}"
    hint = f" (on macOS: sudo ifconfig lo0 alias {host} up)" if sys.platform == "darwin" else ""
    return f"{host}:{port} cannot be used: {error.strerror}{hint}"


def _owner(host: str, port: int) -> int | None:
    """Return the id of the process that listens on an address; None if it is another user's."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.pid and local and local.port == port and local.ip in (host, "0.0.0.0", "::"):  # noqa: S104
                return connection.pid
    return None


def _described(process: int | None) -> str:
    with suppress(psutil.Error):
        if process:
            return f"{psutil.Process(process).name()} (process {process})"
    return "a process of another user"


def _tail(path: Path, lines: int = 5) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
