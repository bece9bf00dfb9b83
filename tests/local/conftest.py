"""A real Consul server and agent, 40 stand-ins and the real engine, on loopback addresses of this run's own."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pulumi.automation import OpType

import toolchain
from cluster.client import Consul
from components.endpoint import Endpoint
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from operations.engine import Engine
from operations.sandbox.sandbox import Cluster
from services.model import Service
from services.roster import Roster
from tests.forty_services import forty_roster

NETWORK = f"127.{100 + os.getpid() % 150}"


@dataclass
class Stack:
    """A stack whose roster a test can change, on a running cluster."""

    cluster: Cluster
    engine: Engine
    roster: Roster
    endpoint: Endpoint
    adopt: bool = False
    output: list[str] = field(default_factory=list)

    @property
    def consul(self) -> Consul:
        return self.cluster.agent_api

    @property
    def said(self) -> str:
        return "\n".join(self.output)

    def up(self, **options: bool) -> dict[str, int]:
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

    def service(self, service_id: str) -> Service:
        return next(service for service in self.roster.services if service.id == service_id)

    @property
    def _engine(self) -> Engine:
        self.output.clear()
        args = AgentRegistrationArgs(self.roster, self.endpoint, self.adopt)

        def program() -> None:
            AgentRegistration("registration", args)

        return replace(self.engine, program=program, say=self.output.append)


def _text(changes: Mapping[OpType, int] | None) -> dict[str, int]:
    return {str(what): count for what, count in (changes or {}).items()}


def cluster_at(number: int, folder: Path) -> Cluster:
    """Return a cluster of its own, not yet started."""
    server, agent, services = (f"{NETWORK}.{number}.{host}" for host in (1, 2, 3))
    return Cluster(toolchain.consul, server, agent, forty_roster(host=services), folder)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all the tests that leave Consul's processes alone."""
    with running(cluster_at(0, tmp_path_factory.mktemp("consul"))) as cluster:
        yield cluster


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder whose stack `local` has no config."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")
    return folder


@pytest.fixture
def stack(shared_cluster: Cluster, project: Path, tmp_path: Path) -> Iterator[Stack]:
    """The 40 services on the shared cluster, nothing deployed yet; nothing left of it afterwards."""
    with stack_on(shared_cluster, project, tmp_path) as stack:
        yield stack


@contextmanager
def stack_on(cluster: Cluster, project: Path, tmp_path: Path) -> Iterator[Stack]:
    engine = Engine(toolchain.pulumi, tmp_path / "pulumi", project)
    stack = Stack(cluster, engine, cluster.roster, Endpoint(f"http://{cluster.agent}:8500"))
    try:
        yield stack
    finally:
        for service_id in cluster.agent_api.all_services():
            cluster.agent_api.deregister(service_id)
