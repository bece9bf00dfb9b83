"""A stack whose datacenter, nodes, containers and network have other names than the guide's, secured."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.stack import Stack
from operations.verify.report import report
from tests.docker.conftest import CONSUL, HTTPS, all_40, changes, deployed, docker, instances, passing, project

NAMES = {
    "datacenter": "east",
    "agentNode": "staging-shared-agent",
    "agentContainer": "agent-1",
    "serverNode": "consul-east",
    "serverContainer": "consul-1",
    "networkName": "backend",
}
CONFIG = {**NAMES, **HTTPS, "security": "on"}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with deployed(project(tmp_path_factory.mktemp("named"), "docker-local", **CONFIG)) as stack:
        yield stack
    assert found() == ""


def found() -> str:
    containers = docker("ps", "--all", "--format", "{{.Names}}", "--filter", "name=^(agent-1|consul-1)")
    networks = docker("network", "ls", "--format", "{{.Name}}", "--filter", "name=^backend$")
    volumes = docker("volume", "ls", "--format", "{{.Name}}", "--filter", "name=^(agent-1|consul-1)-")
    return " ".join((containers, networks, volumes)).strip()


def test_the_cluster_has_the_names_that_the_stack_states(named: Stack) -> None:
    assert {member["Name"]: member["Tags"]["dc"] for member in named.server.members()} == {
        "staging-shared-agent": "east",
        "consul-east": "east",
    }
    assert instances(named) == all_40(named)
    assert {"agent-1", "consul-1", "backend", "agent-1-data", "consul-1-data"} <= set(found().split())


def test_verify_finds_all_well(named: Stack) -> None:
    assert [finding for verdict in report(named).verdicts for finding in verdict.findings] == []


def test_a_second_up_changes_nothing(named: Stack) -> None:
    assert changes(named, refresh=True).keys() == {"same"}


def test_the_services_leave_the_agent_and_come_back_while_it_is_replaced(named: Stack) -> None:
    docker("tag", CONSUL, f"{CONSUL}-again")
    changes(project(Path(named.engine.project), "docker-local", **CONFIG, consulImage=f"{CONSUL}-again"))
    assert instances(named) == all_40(named)
    passing(named)
