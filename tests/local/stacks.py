"""Stacks that the real engine deploys on a real Consul, from rosters of the tests' own."""

import re
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import urllib3
from pulumi.automation import OpType

import toolchain
from components.consul_connection import Connection
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from consul_cluster.client import Consul
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.drift import read_service
from consul_cluster.ownership import with_owner
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox
from services.consul_definition import definition, register_request
from services.model import Service
from services.roster import Roster
from tests.forty_services import forty_roster
from tests.local.loopback import new_addresses
from tests.statuses import require_passing
from tests.waiting import within

SECOND = timedelta(seconds=1)  # Consul's shortest interval
TWELVE = tuple(
    f"{name}_service"
    for name in (
        "account",
        "auth",
        "billing",
        "order",
        "wallet",
        "event",
        "audit",
        "task",
        "album",
        "media",
        "mcp",
        "minio_grpc",
    )
)
"""The services that most tests deploy: more of them prove no more, and take longer."""

RESOURCES = len(TWELVE) + 2
"""What a stack of them consists of: the stack itself, and the component."""

OWNER = "pulumi/consul-staging/local/"  # what the owners of a stack's registrations begin with

_REGISTER_REQUESTS = re.compile(r'consul_api_http_count\{method="PUT",path="v1_agent_service_register"\} (\d+)')


@dataclass
class EditableStack:
    """A stack whose roster a test can change, on a running sandbox."""

    sandbox: Sandbox
    engine: Engine
    roster: Roster
    endpoint: Connection
    adopt: bool = False
    output: list[str] = field(default_factory=list)

    @property
    def consul(self) -> Consul:
        return self.sandbox.agent_api

    @property
    def said(self) -> str:
        return "\n".join(self.output)

    def up(self, **options: object) -> dict[str, int]:
        """Deploy; returns how many resources were created, updated and so on."""
        return _text(self._engine.up(**options).summary.resource_changes)

    def preview(self, **options: bool) -> dict[str, int]:
        return _text(self._engine.preview(**options).change_summary)

    def destroy(self) -> None:
        self._engine.destroy()

    def change(self, service_id: str, **fields: object) -> None:
        """State something else of one service."""
        self.roster = Roster(
            services=tuple(
                service.model_copy(update=fields) if service.id == service_id else service
                for service in self.roster.services
            )
        )

    def remove(self, service_id: str) -> None:
        self.roster = Roster(services=tuple(s for s in self.roster.services if s.id != service_id))

    def check_every_second(self) -> None:
        for service in self.roster.services:
            self.change(service.id, checks=(service.checks[0].model_copy(update={"interval": SECOND}),))

    def service(self, service_id: str) -> Service:
        return service_of(self.roster, service_id)

    def register_requests(self) -> int:
        """Return how many register requests the agent has had."""
        answer = urllib3.request("GET", f"{self.consul.address}/v1/agent/metrics?format=prometheus").data.decode()
        found = _REGISTER_REQUESTS.search(answer)
        return int(found[1]) if found else 0

    @property
    def _engine(self) -> Engine:
        self.output.clear()
        args = AgentRegistrationArgs(self.roster, self.endpoint, self.adopt)

        def program() -> None:
            AgentRegistration("registration", args)

        return replace(self.engine, program=program, print_line=self.output.append)


def _text(changes: Mapping[OpType, int] | None) -> dict[str, int]:
    return {str(what): count for what, count in (changes or {}).items()}


def service_of(roster: Roster, service_id: str) -> Service:
    return next(service for service in roster.services if service.id == service_id)


def new_sandbox(folder: Path, interval: timedelta | None = None, names: Collection[str] = TWELVE) -> Sandbox:
    """Return a sandbox with addresses of its own, not yet started.

    Args:
        folder: of its processes.
        interval: of every check. None: as in the project.
        names: of its services; none at all stands for the forty.
    """
    server, agent, services = new_addresses()
    return Sandbox(toolchain.consul, server, agent, forty_roster(host=services, interval=interval, names=names), folder)


@contextmanager
def running(sandbox: Sandbox) -> Iterator[Sandbox]:
    try:
        sandbox.start()
        yield sandbox
    finally:
        sandbox.stop()


def new_project(folder: Path) -> Path:
    """Make a project folder whose stack `local` has no config."""
    project = folder / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")
    return project


@contextmanager
def new_stack(sandbox: Sandbox, folder: Path) -> Iterator[EditableStack]:
    """The services of a sandbox, nothing deployed yet; nothing left of it afterwards."""
    engine = Engine(toolchain.pulumi, folder / "pulumi", new_project(folder))
    stack = EditableStack(sandbox, engine, sandbox.roster, Connection(f"http://{sandbox.agent}:8500"))
    try:
        yield stack
    finally:
        for service_id in sandbox.agent_api.all_services():
            sandbox.agent_api.deregister(service_id)


@contextmanager
def deployed_stack(folder: Path) -> Iterator[EditableStack]:
    """All services deployed and passing, on a sandbox that no other test uses; each check runs every second."""
    with running(new_sandbox(folder / "consul", SECOND)) as sandbox, new_stack(sandbox, folder) as stack:
        stack.up()
        require_passing(stack.consul, stack.roster)
        yield stack


def as_deployed(service: Service) -> dict[str, Any]:
    """Return a service as the deployed stack registers it, in the form of `consul_cluster.drift.read_service`."""
    stated = definition(with_owner(service, f"{OWNER}registration-{service.id}"))
    return {key: value for key, value in stated.items() if key != "id"}


def register(sandbox: Sandbox, service: Service, **fields: object) -> None:
    """Register a service as the deployed stack does, but for some fields."""
    sandbox.agent_api.register(register_request({"id": service.id, **as_deployed(service), **fields}))


def repair(sandbox: Sandbox) -> None:
    """Have processes and registrations as they are where the services of a sandbox are deployed, and nothing else."""
    sandbox.start()
    agent, server = sandbox.agent_api, sandbox.server_api
    services = {service.id: service for service in sandbox.roster.services}
    for consul in (agent, server):
        for service_id in consul.all_services().keys() - services.keys():
            consul.deregister(service_id)
    for node in server.catalog_nodes().keys() - {STAGING_NAMES.agent_node, STAGING_NAMES.server_node}:
        for service_id in server.node_services(node):
            server.deregister_from_catalog(node, service_id)
    for service_id, service in services.items():
        if read_service(agent, service_id) != as_deployed(service):
            register(sandbox, service)
    # A check of a service that was started a moment ago may still turn critical while the service does not listen.
    within(20, lambda: all(_listens(service) for service in services.values()))
    require_passing(agent, sandbox.roster)


def _listens(service: Service) -> bool:
    with socket.socket() as client:
        return client.connect_ex((service.host, service.port)) == 0
