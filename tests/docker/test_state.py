"""A state that was lost, or restored from a backup, while everything that it names goes on running."""

from collections.abc import Iterator

import pytest

from operations.stack import Stack
from services import roster
from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import (
    REGISTRATIONS,
    all_40,
    another_agent_config,
    changes,
    deployed,
    existing_network,
    instances,
    passing,
    project,
    run_pulumi,
    without_billing,
)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=REGISTRATIONS, name="stack")
def _stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp(request.param)
    config = {"registration": request.param, "network": "existing"}
    with existing_network(), deployed(project(folder, "docker-local", **config)) as stack:
        yield stack


def test_after_a_backup_of_the_state_was_restored_up_completes_what_has_changed_since(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(roster, "load_roster", lambda *_: without_billing(stack))
        changes(stack)
        backup = run_pulumi(stack, "stack", "export")
    monkeypatch.setattr("components.consul_agent.agent_config", another_agent_config("7s"))
    changes(stack)  # a service was added, and the agent's container replaced
    run_pulumi(stack, "stack", "import", stdin=backup)
    changes(stack)
    passing(stack)
    assert instances(stack) == all_40(stack)
    assert changes(stack).keys() == {"same"}


def test_after_the_state_was_lost_up_takes_over_everything_that_runs(stack: Stack) -> None:
    stack.engine.forget()
    with watch_catalog(stack.roster, stack.server) as seen:
        changes(stack)
    assert seen.twice == set()
    passing(stack)
    assert instances(stack) == all_40(stack)
    assert changes(stack).keys() == {"same"}
