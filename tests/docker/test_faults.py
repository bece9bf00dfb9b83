"""An `up` that is killed while it replaces the agent: the next plain `up` completes it, and no status is untrue."""

from collections.abc import Iterator

import pytest

from operations.pulumi_engine import EngineError
from operations.stack import Stack
from operations.verify.report import report
from tests.docker.conftest import (
    AGENT,
    NETWORK,
    all_40,
    changes,
    deployed,
    docker,
    forget,
    instances,
    passing,
    project,
    status,
)
from tests.docker.killed_runs import change_the_agent, killed_at
from tests.polling import polling
from tests.waiting import within

# After which line of the run, and once which container exists, the engine is killed.
STEPS = (
    ("agent-parking updated", None),
    ("agent-container deleted original", None),
    ("agent-container creating", AGENT),
    ("agent-container replaced", None),
    ("agent-parked updated", None),
    ("files-reload creating", f"{AGENT}-reload"),
)
CRITICAL_WITHIN = 15  # seconds, of which a check waits 5 for an answer

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    docker("network", "create", NETWORK)  # as if an earlier `up` was killed when it had created the network
    with deployed(project(tmp_path_factory.mktemp("faults"), "docker-local")) as stack:
        yield stack


@pytest.mark.parametrize(("step", "container"), STEPS)
def test_what_was_killed_after_a_step_the_next_up_completes_and_a_stopped_service_never_passes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, step: str, container: str | None
) -> None:
    docker("pause", "isa-billing")  # a refresh would start one that was stopped
    within(CRITICAL_WITHIN, lambda: status(stack, "billing_service") == "critical")
    untrue: list[str] = []

    def look() -> None:
        checks = stack.server.catalog_checks()
        untrue.extend(
            check["Node"]
            for check in checks
            if check["ServiceName"] == "billing_service" and check["Status"] == "passing"
        )

    change_the_agent(monkeypatch)
    with polling(look, 0.02, at_least=100):
        killed_at(step, container, stack)
        stack.engine.unlock()
        changes(stack)
    assert untrue == []
    assert instances(stack) == all_40(stack)
    docker("unpause", "isa-billing")
    passing(stack)
    within(45, lambda: report(stack).well)  # each check has run since it moved
    assert changes(stack, refresh=True).keys() == {"same"}


def test_a_service_that_stops_while_the_server_checks_it_is_critical_there(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing(stack)
    change_the_agent(monkeypatch)
    killed_at("agent-container deleted original", None, stack)
    try:
        docker("pause", "isa-billing")
        on_server = stack.server.checks
        within(CRITICAL_WITHIN, lambda: on_server("billing_service")["billing_service-health"]["Status"] == "critical")
    finally:
        docker("unpause", "isa-billing")
        stack.engine.unlock()
        changes(stack)
    passing(stack)


@pytest.mark.parametrize("name", ["server-container", "agent-carry", "agent-container", "standins-isa-billing"])
def test_a_container_that_the_state_does_not_know_is_created_again_by_the_next_up(stack: Stack, name: str) -> None:
    forget(stack, name)
    assert changes(stack)["create"]
    passing(stack)
    assert instances(stack) == all_40(stack)
    assert changes(stack).keys() == {"same"}


def test_a_container_of_somebody_else_is_left_alone(stack: Stack) -> None:
    forget(stack, "standins-isa-billing")
    docker("rm", "--force", "isa-billing")
    docker("run", "--detach", "--name", "isa-billing", "busybox:1.37.0", "sleep", "600")
    theirs = docker("inspect", "--format", "{{.Id}}", "isa-billing")
    with pytest.raises(EngineError):
        stack.engine.up()
    assert docker("inspect", "--format", "{{.Id}}", "isa-billing") == theirs
    docker("rm", "--force", "isa-billing")
    changes(stack)
    passing(stack)
