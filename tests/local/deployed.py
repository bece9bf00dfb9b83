"""The 40 services, deployed by the real engine on a real Consul, and the commands as a person runs them on that."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE
from cluster.client import Consul
from cluster.drift import read_service
from cluster.ownership import with_owner
from operations.paths import ROOT
from operations.service_status import await_passing
from services.definition import definition, register_request
from services.model import Service
from services.roster import Roster
from tests.local.conftest import Stack, cluster_at, running, stack_on

SECOND = timedelta(seconds=1)
OWNER = "pulumi/consul-staging/local/"


@dataclass(frozen=True)
class Deployed:
    """A stack, and a clone of the project whose `Pulumi.local.yaml` names its addresses.

    Every check runs each second, in the clone's roster too: a test need not wait for the platform's 10 s and 30 s.
    """

    stack: Stack
    folder: Path

    @property
    def agent(self) -> Consul:
        return self.stack.consul

    @property
    def server(self) -> Consul:
        return Consul(f"http://{self.stack.cluster.server}:8500")

    def command(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "operations", *arguments)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def register(self, service_id: str, **fields: object) -> None:
        """Register one service as the stack does, but for some fields."""
        stated = with_owner(self.stack.service(service_id), f"{OWNER}registration-{service_id}")
        self.agent.register(register_request({**definition(stated), **fields}))

    def mend(self) -> None:
        """Have all as it was deployed."""
        for program in self.stack.cluster.programs:
            program.start()
        stated = {service.id: service for service in self.stack.roster.services}
        for consul in (self.agent, self.server):
            for service_id in consul.all_services().keys() - stated.keys():
                consul.deregister(service_id)
        for node in self.server.nodes() - {AGENT_NODE, SERVER_NODE}:
            for service_id in self.server.node_services(node):
                self.server.deregister_from_catalog(node, service_id)
        for service_id, service in stated.items():
            wanted = definition(with_owner(service, f"{OWNER}registration-{service_id}"))
            if read_service(self.agent, service_id) != {key: value for key, value in wanted.items() if key != "id"}:
                self.register(service_id)
        now = await_passing(self.agent, self.stack.roster, lambda _: None, 30)
        assert set(now.values()) == {"passing"}, now


@contextmanager
def deployed_at(number: int, folder: Path) -> Iterator[Deployed]:
    """Deploy on a cluster of its own."""
    project = folder / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: consul-staging\nruntime: python\n")
    with running(cluster_at(number, folder / "consul")) as cluster, stack_on(cluster, project, folder) as stack:
        stack.roster = Roster(services=tuple(map(_quick, stack.roster.services)))
        stack.up()
        here = Deployed(stack, _clone(folder / "clone", stack))
        here.mend()
        yield here


def _quick(service: Service) -> Service:
    checks = tuple(check.model_copy(update={"interval": SECOND}) for check in service.checks)
    return service.model_copy(update={"checks": checks})


def _clone(folder: Path, stack: Stack) -> Path:
    for name in ("operations", "services", "toolchain"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.py", "Pulumi.yaml", "Pulumi.local.yaml", "Pulumi.staging.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    addresses = {"127.0.0.1": stack.cluster.server, "127.0.0.2": stack.cluster.agent}
    addresses["127.0.0.3"] = stack.roster.services[0].host
    _replace(folder / "Pulumi.local.yaml", addresses)
    _replace(folder / "services/platform.py", {"seconds=10": "seconds=1", "seconds=30": "seconds=1"})
    return folder


def _replace(file: Path, words: dict[str, str]) -> None:
    text = file.read_text()
    for old, new in words.items():
        text = text.replace(old, new)
    file.write_text(text)
