"""`staging` where the network, the server and some services exist: what is adopted stays as it is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consul_cluster.client import Consul
from operations.stack import Stack
from tests.docker.conftest import (
    AGENT,
    NETWORK,
    REGISTRATIONS,
    SERVER,
    all_40,
    changes,
    docker,
    failed_up,
    instances,
    members,
    project,
    without_billing,
)
from tests.docker.killed_runs import change_the_agent, killed_at
from tests.statuses import statuses
from tests.waiting import within

OUTPUT: list[str] = []


def adopted() -> list[str]:
    """Return what `docker inspect` tells of what was there before."""
    container = "{{.Id}} {{.State.StartedAt}} {{.RestartCount}} {{json .HostConfig}}"
    network = docker("network", "inspect", "--format", "{{.Id}} {{json .IPAM}}", NETWORK)
    return [network, *(docker("inspect", "--format", container, name) for name in (SERVER, "isa-billing"))]


@pytest.fixture(scope="module", params=REGISTRATIONS)
def staging(
    request: pytest.FixtureRequest, platform: Consul, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, list[str]]]:
    OUTPUT.clear()
    stack = project(tmp_path_factory.mktemp(f"staging-{request.param}"), "staging", registration=request.param)
    stack = replace(stack, engine=replace(stack.engine, print_line=OUTPUT.append))
    before = adopted()
    try:
        changes(stack)
        yield stack, before
    finally:
        stack.engine.destroy()


def test_staging_says_what_it_found_in_a_line_each(staging: tuple[Stack, list[str]]) -> None:
    said = "\n".join(OUTPUT)
    assert f"server {SERVER}: running" in said
    assert "services: 1 of 40 containers run; not isa-account (missing), " in said


def test_the_agent_joins_the_server_that_exists(staging: tuple[Stack, list[str]]) -> None:
    assert members() == {SERVER: "alive", AGENT: "alive"}


def test_the_40_are_registered_beside_what_a_service_registered_itself(staging: tuple[Stack, list[str]]) -> None:
    stack, _ = staging
    expected = sorted([*((s.name, stack.node) for s in stack.roster.services), ("billing_service", SERVER)])
    assert instances(stack) == expected


def test_the_service_that_runs_passes(staging: tuple[Stack, list[str]]) -> None:
    stack, _ = staging
    within(45, lambda: statuses(stack.server, stack.roster, stack.node)["billing_service"] == "passing")


def test_a_second_up_changes_nothing(staging: tuple[Stack, list[str]]) -> None:
    assert changes(staging[0]).keys() == {"same"}


def test_destroy_leaves_what_was_adopted_and_what_a_service_registered_itself(
    staging: tuple[Stack, list[str]], platform: Consul
) -> None:
    stack, before = staging
    stack.engine.destroy()
    assert adopted() == before
    # An agent that leaves still sends a check's change, which makes its node anew: the server sees to it each minute.
    within(75, lambda: instances(stack) == [("billing_service", SERVER)])
    assert platform.service("isa-billing-8216")
    assert platform.catalog_nodes().keys() == {SERVER}
    assert docker("ps", "--all", "--format", "{{.Names}}").split() == ["isa-billing", SERVER]


@pytest.mark.parametrize(("container", "found"), [("staging-consl", False), ("consul.of-others", True)])
def test_a_server_that_no_container_and_no_alias_is_called_like_is_refused_before_anything_is_created(
    platform: Consul, tmp_path: Path, container: str, found: bool
) -> None:
    aliased = ("--alias", "consul.of-others", NETWORK, SERVER)
    docker("network", "disconnect", NETWORK, SERVER)
    docker("network", "connect", *aliased)
    within(30, platform.leader)
    stack = project(tmp_path, "staging", serverContainer=container)
    try:
        if found:
            assert changes(stack)["create"] == 54
        else:
            assert f"server {container}: missing: " in failed_up(stack)
            assert docker("ps", "--all", "--format", "{{.Names}}").split() == ["isa-billing", SERVER]
    finally:
        stack.engine.destroy()


@pytest.fixture
def deployed(platform: Consul, tmp_path: Path) -> Iterator[Stack]:
    stack = project(tmp_path, "staging")
    try:
        changes(stack)
        yield stack
    finally:
        stack.engine.destroy()


@pytest.mark.parametrize(
    "step", ["agent-parking updated", "agent-container deleted original", "agent-container replaced"]
)
def test_what_a_killed_up_left_on_the_server_comes_back_also_where_its_change_was_taken_back(
    deployed: Stack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as change:
        change_the_agent(change)
        killed_at(step, None, deployed)
    deployed.engine.unlock()
    changes(deployed, refresh=True)
    assert instances(deployed) == sorted([*all_40(deployed), ("billing_service", SERVER)])
    assert changes(deployed, refresh=True).keys() == {"same"}


def test_an_id_of_others_on_the_server_stops_the_replacement_of_the_agent_and_stays_as_it_is(
    deployed: Stack, platform: Consul, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.register({"ID": "account_service", "Name": "by-hand", "Port": 1})
    change_the_agent(monkeypatch)
    assert "has account_service of another party" in failed_up(deployed)
    theirs = [("billing_service", SERVER), ("by-hand", SERVER)]
    assert instances(deployed) == sorted([*all_40(deployed), *theirs])
    platform.deregister("account_service")
    changes(deployed)
    assert instances(deployed) == sorted([*all_40(deployed), *theirs[:1]])


def test_a_service_that_the_roster_dropped_while_its_agent_was_stopped_is_removed(
    deployed: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker("stop", "--time", "30", AGENT)
    rest = without_billing(deployed)
    monkeypatch.setattr("services.roster.load_roster", lambda *_: rest)
    changes(deployed, refresh=True)
    assert instances(deployed) == sorted(
        [*((s.name, deployed.node) for s in rest.services), ("billing_service", SERVER)]
    )


@pytest.mark.parametrize("step", ["agent-parking updated", "agent-container deleted original"])
def test_destroy_after_a_killed_up_leaves_nothing_on_the_server_that_checked_the_services_meanwhile(
    platform: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    stack = project(tmp_path, "staging")
    changes(stack)
    change_the_agent(monkeypatch)
    killed_at(step, None, stack)
    stack.engine.unlock()
    assert len(platform.all_services()) == 1 + 40
    stack.engine.destroy()
    assert list(platform.all_services()) == ["isa-billing-8216"]
