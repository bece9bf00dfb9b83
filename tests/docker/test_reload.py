"""A change to the agent's config: reloaded where Consul can reload it, a new container where it cannot."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from operations.pulumi_engine import EngineError
from operations.stack import Stack
from services.consul_definition import definition_files
from services.roster import Roster
from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import AGENT, another_agent_config, changes, deployed, docker, passing, project


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with deployed(project(tmp_path_factory.mktemp("reload"), "docker-local", registration="files")) as stack:
        yield stack


def container() -> str:
    return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", AGENT)


def test_a_log_level_is_reloaded_and_no_service_is_away_for_it(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = container()
    monkeypatch.setattr("components.registration.files.reloadable_config", lambda: {"log_level": "DEBUG"})
    with watch_catalog(stack.roster, stack.server) as found:
        assert changes(stack)["replace"] == 1  # the container that carries the files
    assert container() == before
    assert "[DEBUG]" in docker("logs", "--since", "30s", AGENT)
    assert found.missing < 1


def test_a_definition_is_reloaded_and_no_service_is_away_for_it(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = container()

    def changed(roster: Roster) -> dict[str, Any]:
        content = definition_files(roster)
        content["user-services.json"]["services"][0]["checks"][0]["interval"] = "15s"
        return content

    monkeypatch.setattr("components.registration.files.definition_files", changed)
    with watch_catalog(stack.roster, stack.server) as found:
        assert changes(stack)["replace"] == 1
    assert container() == before
    assert stack.consul.checks("account_service")["account_service-health"]["Interval"] == "15s"
    assert found.missing < 1


def test_a_file_that_the_agent_refuses_fails_the_up_and_takes_no_service_away(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    loud = replace(stack, engine=replace(stack.engine, print_line=said.append))

    def wrong(roster: Roster) -> dict[str, Any]:
        content = definition_files(roster)
        content["user-services.json"]["services"][0]["checks"][0]["interval"] = "soon"
        return content

    with monkeypatch.context() as patch:
        patch.setattr("components.registration.files.definition_files", wrong)
        for _ in range(2):  # nor is it green the next time
            with pytest.raises(EngineError):
                changes(loud)
    assert "the agent did not reload its files: Error reloading" in "\n".join(said)
    assert len(stack.server.node_services(AGENT)) == 40
    assert changes(stack)["create"] == 1  # the container that did not reload was removed
    passing(stack)


def test_what_consul_reads_at_its_start_alone_replaces_the_container(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = container()
    monkeypatch.setattr("components.consul_agent.agent_config", another_agent_config("4s"))
    previewed = {str(what): count for what, count in stack.engine.preview().change_summary.items()}
    assert previewed["replace"] == 3  # what carries its configuration, the agent, and what makes it read the files
    assert container() == before
    changes(stack)
    assert container() != before
    passing(stack)
