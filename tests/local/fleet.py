"""A server and many agents as processes, each agent with services of its own, whose checks really run and pass."""

import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import settings
import toolchain
from components.consul_connection import Connection
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from consul_cluster.agent_configuration import agent_config, server_config
from consul_cluster.client import Consul, ConsulError
from consul_cluster.cluster_names import STAGING_NAMES
from docker_engine import OWN_ENGINE
from docker_hosts import DockerHost
from operations.command_line import DEFAULT_STACK
from operations.pulumi_engine import Engine
from operations.sandbox.processes import BackgroundProcess
from operations.sandbox.sandbox import SandboxError, consul_process, write_config
from operations.stack import Stack, StackHost
from services.environment import Environment
from services.grpc_services import grpc_service
from services.model import Service
from services.roster import Roster
from services.user_services import USER
from tests.local import answering

SERVER = "127.0.4.1"
FIRST_AGENT = 11  # of 127.0.4.0/24
FIRST_PORT = 10_000

# Of 40 services, 31 have an HTTP check every 10 s, and 9 a TCP check every 30 s.
FORTY, OVER_HTTP = 40, 31


@dataclass(frozen=True)
class Fleet:
    """The processes, and what is to be registered with each agent.

    Attributes:
        consul: the Consul program.
        folder: everything that is written is below it.
        agents: how many.
        each: services of an agent.
    """

    consul: Path
    folder: Path
    agents: int
    each: int

    @cached_property
    def rosters(self) -> Mapping[str, Roster]:
        """The services of each agent, by its address."""
        addresses = [f"127.0.4.{FIRST_AGENT + number}" for number in range(self.agents)]
        return {address: _roster(address, number * self.each, self.each) for number, address in enumerate(addresses)}

    @property
    def server(self) -> Consul:
        """The server's API."""
        return Consul(f"http://{SERVER}:8500")

    @property
    def server_process(self) -> BackgroundProcess:
        """The server's process."""
        return self._consul(STAGING_NAMES.server_node)

    @property
    def agent_processes(self) -> list[BackgroundProcess]:
        """The agents' processes."""
        return [self._consul(node(address)) for address in self.rosters]

    @property
    def listener(self) -> BackgroundProcess:
        """The process that answers every check."""
        command = (sys.executable, "-S", answering.__file__, str(FIRST_PORT), str(self.each), *self.rosters)
        return BackgroundProcess("listener", command, self.folder)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have them run, the agents in one cluster with the server."""
        configs = {STAGING_NAMES.server_node: server_config(STAGING_NAMES, SERVER, SERVER)}
        for address in self.rosters:
            configs[node(address)] = agent_config(STAGING_NAMES, SERVER, address, address) | {
                "node_name": node(address)
            }
        for name, config in configs.items():
            write_config(config, name, self.folder)
        programs = [self.listener, self.server_process, *self.agent_processes]
        try:
            for program in programs:
                program.start()
            self._await_nodes(set(configs))
            yield
        finally:
            with ThreadPoolExecutor(len(programs)) as at_once:
                list(at_once.map(BackgroundProcess.stop, reversed(programs)))

    @property
    def stack(self) -> Stack:
        """All of it as `verify` looks at it: a host for each agent."""
        first = f"http://{next(iter(self.rosters))}:8500"
        stack = {"agentAddress": first, "serverAddress": self.server.address, "docker": "false"}
        services = [service for roster in self.rosters.values() for service in roster.services]
        engine = Engine(toolchain.pulumi, self.folder)  # reports need none
        parsed, roster = settings.load(stack, "fleet"), Roster(services=tuple(services))
        return StackOfFleet(DEFAULT_STACK, "consul-staging", parsed, roster, engine, rosters=self.rosters)

    def _consul(self, name: str) -> BackgroundProcess:
        return consul_process(self.consul, name, self.folder)

    def _await_nodes(self, names: set[str], patience: float = 120) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with suppress(ConsulError):
                if names == self.server.catalog_nodes().keys():
                    return
            time.sleep(0.5)
        raise SandboxError(f"not all of {len(names)} nodes are in the catalog after {patience:.0f} s")


@dataclass(frozen=True)
class StackOfFleet(Stack):
    """What `verify` looks at.

    Attributes:
        rosters: the services of each agent, by its address.
    """

    rosters: Mapping[str, Roster] = field(default_factory=dict)

    @cached_property
    def hosts(self) -> tuple[StackHost, ...]:
        """A host for each agent."""
        return tuple(StackHost(self._host(address), roster, self.settings) for address, roster in self.rosters.items())

    def _host(self, address: str) -> DockerHost:
        names, server = replace(self.names, agent_node=node(address)), self.settings.server_address
        return DockerHost(node(address), OWN_ENGINE, names, address, f"http://{address}:8500", None, server)


def node(address: str) -> str:
    """Return the name of the agent at an address."""
    return f"agent-{address.rpartition('.')[2]}"


def declare(rosters: Mapping[str, Roster]) -> None:
    """Be the program: a registration for each agent."""
    for address, roster in rosters.items():
        args = AgentRegistrationArgs(roster, Connection(f"http://{address}:8500"))
        AgentRegistration(f"registration-{node(address)}", args)


def _roster(host: str, first: int, count: int) -> Roster:
    return Roster(services=tuple(_service(host, first + number, FIRST_PORT + number) for number in range(count)))


def _service(host: str, number: int, port: int) -> Service:
    where = Environment("staging", host)
    if number % FORTY < OVER_HTTP:
        return USER.service(where, f"generated_{number}", port)
    return grpc_service(where, f"generated_{number}", port, "storage")
