"""The way of docs/security.md for an open server that somebody made by hand: taken over, with all that it holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from consul_cluster.client import Consul
from operations.stack import Stack
from tests.docker.conftest import CONSUL, HTTPS, SERVER, changes, docker, instances, ours, project
from tests.statuses import statuses
from tests.waiting import within

KEPT = "http://127.0.0.1:8500/v1/kv/platform/kept"
STAGES: tuple[tuple[str, dict[str, str]], ...] = (("accepted", {}), ("sent", HTTPS), ("on", HTTPS))

pytestmark = pytest.mark.timeout(1200)  # several runs of `up`, and a check's interval after each


@pytest.fixture(scope="module", name="before")
def _before(platform: Consul, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The guide's staging: the agent and the 40 beside a server that is not the stack's."""
    stack = project(tmp_path_factory.mktemp("taken-over"), "staging")
    try:
        changes(stack)
        within(45, lambda: statuses(platform, stack.roster, stack.node)["billing_service"] == "passing")
        urllib3.request("PUT", KEPT, body=b"for ever")
        yield stack
    finally:
        stack.engine.destroy()


def stage(of: Stack, security: str, **config: object) -> Stack:
    folder = Path(of.engine.project)
    return project(folder, "staging", network="existing", server="created", security=security, **config)


def test_an_open_server_is_taken_over_with_its_data_and_secured_from_there(before: Stack) -> None:
    stood = instances(before)
    docker("stop", SERVER)
    to_volume = ("--volumes-from", SERVER, "--volume", f"{SERVER}-data:/to", "--entrypoint", "cp")
    docker("run", "--rm", "--user", "root", *to_volume, CONSUL, "-a", "/consul/data/.", "/to")
    docker("rename", SERVER, f"{SERVER}-before")
    for name, config in STAGES:
        stack = stage(before, name, **config)
        changes(stack)
        assert instances(stack) == stood, name
        assert statuses(stack.server, stack.roster, stack.node)["billing_service"] == "passing", name
    docker("rm", f"{SERVER}-before")
    made = stack.engine.outputs()
    https = urllib3.PoolManager(ca_cert_data=made["ca"], headers={"X-Consul-Token": made["tokens"]["management"]})
    answer = https.request("GET", f"{KEPT.replace('http:', 'https:')}?raw")
    assert answer.data == b"for ever"


def test_destroy_then_leaves_the_network_that_is_not_the_stacks(before: Stack) -> None:
    stage(before, "on", **HTTPS).engine.destroy()
    assert ours() == "isa-billing staging_staging-network"
