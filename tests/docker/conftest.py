"""A staging on a real Docker engine: real containers, by the real engine and its docker and consul plugins."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from typer.testing import CliRunner

import toolchain
from consul_cluster.agent_configuration import agent_config, server_config
from consul_cluster.client import Consul, ConsulError
from consul_cluster.cluster_names import STAGING_NAMES
from operations import down, up
from operations.paths import ROOT
from operations.pulumi_engine import EngineError
from operations.snapshot.snapshot import app as snapshot_commands
from operations.stack import Stack
from services.roster import Roster
from tests.forty_services import forty_roster
from tests.statuses import require_passing, statuses
from tests.waiting import within

PLUGINS = ("docker", "consul", "random", "tls")
AGENT, SERVER, NETWORK = "consul-agent-shared", "staging-consul", "staging_staging-network"
REGISTRATIONS = ("agent", "catalog", "files")
CONSUL = "hashicorp/consul:1.17.2"
HTTPS = {"agentAddress": "https://127.0.0.1:8501", "serverAddress": "https://127.0.0.1:8500"}
OURS = "name=^(consul-agent-shared|consul-esm|consul-exporter|consul-prometheus|consul-template|staging-|isa-)"


def docker(*arguments: str) -> str:
    """Run a docker command; returns what it prints."""
    done = subprocess.run(("docker", *arguments), capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def ours() -> str:
    """Return the names of a staging's containers, network and volumes that are on this Docker engine."""
    containers = docker("ps", "--all", "--format", "{{.Names}}", "--filter", OURS)
    networks = docker("network", "ls", "--format", "{{.Name}}", "--filter", f"name={NETWORK}")
    volumes = docker("volume", "ls", "--format", "{{.Name}}", "--filter", OURS)
    return " ".join((containers, networks, volumes)).strip()


def missing_plugin() -> str | None:
    """Return a plugin that the engine of these tests neither has nor can download, as the command that gets it."""
    environment = {**os.environ, **Stack.load("docker-local").engine.environment}
    for name in PLUGINS:
        command = ("plugin", "install", "resource", name, f"v{version(f'pulumi-{name}')}")
        run = (toolchain.pulumi(), *command)
        if subprocess.run(run, env=environment, capture_output=True, check=False).returncode:
            return f"pulumi {' '.join(command)}"
    return None


def obstacle() -> str | None:
    """Return why these tests cannot run here, and what would help."""
    if not shutil.which("docker") or subprocess.run(("docker", "info"), capture_output=True, check=False).returncode:
        return "no Docker engine answers here: install one and start it, until `docker info` succeeds"
    if command := missing_plugin():
        return f"a plugin of Pulumi's cannot be had here: `{command}`"
    if found := ours():
        return f"a staging is on this Docker engine already: {found}"
    return None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail where nothing could be proved: a run whose tests are all skipped would be green."""
    if not session.config.option.collectonly and (reason := obstacle()):
        raise pytest.UsageError(reason)


def status(stack: Stack, service_id: str) -> str:
    return statuses(stack.server, stack.roster, stack.node)[service_id]


def passing(stack: Stack, patience: float = 45) -> None:
    require_passing(stack.server, stack.roster, patience, stack.node)


def instances(stack: Stack) -> list[tuple[str, str]]:
    """Return name and node of everything in the catalog, but for Consul's own; nothing while no server answers."""
    with suppress(ConsulError):
        nodes = sorted(stack.server.catalog_nodes())
        services = {node: stack.server.node_services(node).values() for node in nodes}
        found = sorted((each["Service"], node) for node in nodes for each in services[node])
        return [(name, node) for name, node in found if name not in ("consul", "consul-esm")]
    return []


def all_40(stack: Stack) -> list[tuple[str, str]]:
    """Return what `instances` is to return: each service once, on one node."""
    return sorted((service.name, stack.node) for service in stack.roster.services)


def changes(stack: Stack, **options: object) -> dict[str, int]:
    """Run `up`; returns how many resources were created, changed and so on."""
    summary = stack.engine.up(**options).summary.resource_changes or {}
    return {str(what): count for what, count in summary.items()}


def failed_up(stack: Stack, **options: object) -> str:
    """Run an `up` that has to fail; returns what it prints."""
    said: list[str] = []
    with pytest.raises(EngineError):
        replace(stack.engine, print_line=said.append).up(**options)
    return "\n".join(said)


def run_pulumi(stack: Stack, *arguments: str, stdin: str | None = None) -> str:
    """Run a command of Pulumi's on a stack; returns what it prints."""
    engine = stack.engine
    command = (str(engine.pulumi()), *arguments, "--stack", engine.stack)
    environment = {**os.environ, **engine.environment}
    done = subprocess.run(
        command, cwd=engine.project, env=environment, input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout


def snapshot(stack: Stack, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a command of `operations snapshot` on a stack."""
    with monkeypatch.context() as patched:
        patched.setattr(Stack, "load", lambda _: stack)
        done = CliRunner().invoke(snapshot_commands, [*arguments, "--stack", stack.name])
    assert done.exit_code == 0, done.exception


def urn_of(stack: Stack, name: str) -> str:
    """Return the URN of a resource in the state, by its name."""
    [urn] = [each for each in stack.engine.urns() if each.endswith(f"::{name}")]
    return urn


def forget(stack: Stack, name: str) -> None:
    """Remove a resource and its dependents from the state, as if a run was killed before it wrote the state."""
    run_pulumi(stack, "state", "delete", urn_of(stack, name), "--target-dependents", "--yes")


def without_billing(stack: Stack) -> Roster:
    """Return the services of a stack without one of them."""
    return Roster(services=tuple(service for service in stack.roster.services if service.name != "billing_service"))


def members() -> dict[str, str]:
    """Return the status of each member of the cluster, as the server's container prints them."""
    lines = docker("exec", SERVER, "consul", "members").splitlines()[1:]
    return {name: status for name, _, status, *_ in (line.split() for line in lines)}


def another_agent_config(retry_interval: str) -> Callable[..., dict[str, Any]]:
    """Return what stands in the place of `components.consul_agent.agent_config`, to have the container replaced."""
    return lambda *args, **others: {**agent_config(*args, **others), "retry_interval": retry_interval}


def project(folder: Path, stack: str, **config: object) -> Stack:
    """Return a stack whose file has some more keys, or others."""
    if not (folder / "components").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "components").symlink_to(ROOT / "components")
        shutil.copy(ROOT / "Pulumi.yaml", folder)
    document = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())
    document["config"].update({f"consul-staging:{key}": value for key, value in config.items()})
    (folder / f"Pulumi.{stack}.yaml").write_text(json.dumps(document))  # which is YAML
    said: list[str] = []
    loaded = Stack.load(stack, folder, said.append)
    return replace(loaded, engine=replace(loaded.engine, folder=folder / "pulumi"))


@pytest.fixture(scope="module", autouse=True)
def _services() -> Iterator[None]:
    """The program and the commands have forty services that are checked every second, to wait less."""
    quick = partial(forty_roster, interval=timedelta(seconds=1))
    with patch("services.roster.load_roster", quick):
        yield


@contextmanager
def deployed(stack: Stack) -> Iterator[Stack]:
    """`make up` until every service passes, and `make down` at the end."""
    try:
        up.deploy(stack)
        passing(stack)
        yield stack
    finally:
        down.destroy(stack)


@pytest.fixture(scope="module", params=REGISTRATIONS)
def staging(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack `docker-local` with each of the registrations."""
    folder = tmp_path_factory.mktemp(request.param)
    with deployed(project(folder, "docker-local", registration=request.param)) as stack:
        yield stack


# As consul_registry.py registers it (guide, "Before (HTTP API Registration)"): with the server, over its API.
ITS_OWN = {
    "ID": "isa-billing-8216",
    "Name": "billing_service",
    "Address": "isa-billing",
    "Port": 8216,
    "Check": {"TTL": "30s", "Status": "passing"},
}


@contextmanager
def existing_network() -> Iterator[None]:
    """A network that is not the stack's, as in staging."""
    docker("network", "create", NETWORK)
    try:
        yield
    finally:
        docker("network", "rm", NETWORK)


@pytest.fixture(scope="module")
def platform() -> Iterator[Consul]:
    """A network, a server and one service, made by hand."""
    with existing_network(), server_and_service() as server:
        yield server


@contextmanager
def existing_server() -> Iterator[Consul]:
    """A server that is not the stack's, on its network."""
    try:
        config = json.dumps(server_config(STAGING_NAMES))
        where = ("--name", SERVER, "--hostname", SERVER, "--network", NETWORK, "--publish", "127.0.0.1:8500:8500")
        docker("run", "--detach", *where, "--env", f"CONSUL_LOCAL_CONFIG={config}", CONSUL, "agent")
        server = Consul("http://127.0.0.1:8500")
        within(60, lambda: leads(server))
        yield server
    finally:
        docker("rm", "--force", "--volumes", SERVER)


@contextmanager
def server_and_service() -> Iterator[Consul]:
    with existing_server() as server:
        try:
            httpd = ("busybox:1.37.0", "sh", "-c", "mkdir /www; echo ok > /www/health; httpd -f -p 8216 -h /www")
            docker("run", "--detach", "--name", "isa-billing", "--network", NETWORK, *httpd)
            server.register(ITS_OWN)
            yield server
        finally:
            docker("rm", "--force", "--volumes", "isa-billing")


def leads(server: Consul) -> bool:
    with suppress(ConsulError):
        return server.catalog_nodes().keys() == {SERVER}
    return False
