"""The state of a stack that created its network is lost, while everything that it names goes on running."""

from pathlib import Path

import pytest

from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import NETWORK, all_40, changes, deployed, docker, failed_up, instances, passing, project

pytestmark = pytest.mark.timeout(600)


def test_a_network_of_a_lost_state_is_taken_as_an_existing_one(tmp_path: Path) -> None:
    with deployed(project(tmp_path, "docker-local")) as created:
        created.engine.forget()
        assert "already exists" in failed_up(created)
        later = project(tmp_path, "docker-local", network="existing")
        with watch_catalog(later.roster, later.server) as seen:
            changes(later)
        assert seen.twice == set()
        passing(later)
        assert instances(later) == all_40(later)
        assert changes(later).keys() == {"same"}
    docker("network", "rm", NETWORK)
