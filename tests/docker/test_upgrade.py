"""Another version of Consul: the server gets it, then the agent, and no service is missing for long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_cluster.client import Consul
from operations import down, up
from operations.stack import Stack
from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import all_40, failed_up, instances, passing, project

OLD, NEW = "hashicorp/consul:1.17.2", "hashicorp/consul:1.20.6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upgrade")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    old = project(folder, "docker-local", consulImage=OLD)
    try:
        up.deploy(old)
        passing(old)
        yield old
    finally:
        down.destroy(old)


def version(api: Consul | None) -> str:
    assert api
    return api.version()


def test_server_and_agent_are_of_the_new_version_and_no_service_was_twice_or_missing_for_long(
    stack: Stack, folder: Path
) -> None:
    new = project(folder, "docker-local", consulImage=NEW)
    with watch_catalog(stack.roster, stack.server) as watch:
        up.deploy(new)
        passing(new)
    assert (version(new.server), version(new.agent)) == ("1.20.6", "1.20.6")
    assert instances(new) == all_40(new)
    assert watch.twice == set()
    assert watch.missing < 20  # as long as the one server is away


def test_an_image_that_is_older_than_the_running_server_is_refused(stack: Stack, folder: Path) -> None:
    older = project(folder, "docker-local", consulImage=OLD)
    assert "is older than Consul 1.20.6, which staging-consul runs" in failed_up(older)
    assert version(stack.server) == "1.20.6"
