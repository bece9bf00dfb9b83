"""A staging on a real Docker engine: real containers, by the real engine and its docker plugin."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest

import toolchain
from operations import local
from operations.health import await_passing
from operations.local import Local

PLUGIN = f"v{version('pulumi-docker')}"
AGENT, SERVER, NETWORK = "consul-agent-shared", "staging-consul", "staging_staging-network"


def docker(*arguments: str) -> str:
    """Run a docker command; returns what it prints."""
    done = subprocess.run(("docker", *arguments), capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def ours() -> str:
    """Return the names of a staging's containers, network and volumes that are on this Docker engine."""
    containers = docker(
        "ps", "--all", "--format", "{{.Names}}", "--filter", "name=^(consul-agent-shared|staging-|isa-)"
    )
    networks = docker("network", "ls", "--format", "{{.Name}}", "--filter", f"name={NETWORK}")
    volumes = docker(
        "volume", "ls", "--format", "{{.Name}}", "--filter", "name=(consul-agent-shared|staging-consul)-data"
    )
    return " ".join((containers, networks, volumes)).strip()


def plugin() -> bool:
    """Whether the engine of these tests has the docker plugin, or can download it."""
    environment = {**os.environ, **local.here(print, "docker-local").engine.environment}
    command = (toolchain.pulumi(), "plugin", "install", "resource", "docker", PLUGIN)
    return not subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what has no Docker engine here, and say what is missing and how to get it."""
    reason = None
    if not shutil.which("docker") or subprocess.run(("docker", "info"), capture_output=True, check=False).returncode:
        reason = "no Docker engine answers here: install one and start it, until `docker info` succeeds"
    elif not plugin():
        reason = f"Pulumi's docker plugin {PLUGIN} cannot be had: `pulumi plugin install resource docker {PLUGIN}`"
    elif found := ours():
        reason = f"a staging is on this Docker engine already: {found}"
    for item in items:
        if reason and item.path.parent.name == "docker":
            item.add_marker(pytest.mark.skip(reason))


def within(seconds: float, condition: Callable[[], bool]) -> float:
    """Wait for a condition; returns the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - started


def passing(stack: Local, patience: float = 45) -> None:
    now = await_passing(stack.consul, stack.roster, lambda _: None, patience)
    assert set(now.values()) == {"passing"}, now


def changes(stack: Local, **options: object) -> dict[str, int]:
    """Run `up`; returns how many resources were created, changed and so on."""
    summary = stack.engine.up(**options).summary.resource_changes or {}
    return {str(what): count for what, count in summary.items()}


def members() -> dict[str, str]:
    """Return the status of each member of the cluster, as the agent's container prints them."""
    lines = docker("exec", SERVER, "consul", "members").splitlines()[1:]
    return {name: status for name, _, status, *_ in (line.split() for line in lines)}


@pytest.fixture(scope="module")
def staging() -> Iterator[Local]:
    """`make up STACK=docker-local`, and `make down` at the end."""
    said: list[str] = []
    stack = local.here(said.append, "docker-local")
    try:
        assert set(local.up(stack).values()) == {"passing"}, "\n".join(said)
        yield stack
    finally:
        local.down(stack)
