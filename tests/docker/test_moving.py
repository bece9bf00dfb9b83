"""One stack moves from each registration to each other with `up`: no service twice, none missing."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import all_40, changes, deployed, instances, ours, passing, project

# Each registration after each other one.
WAY = ("agent", "catalog", "files", "agent", "files", "catalog", "agent")
MOVES = tuple(pairwise(WAY))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("moving")
    with deployed(project(folder, "docker-local", registration=WAY[0])):
        yield folder


@pytest.mark.parametrize(("before", "after"), MOVES)
def test_a_stack_moves_with_no_service_twice_and_none_without_a_passing_instance(
    folder: Path, before: str, after: str
) -> None:
    stack = project(folder, "docker-local", registration=after)
    with watch_catalog(stack.roster, stack.server) as found:
        changes(stack)
        time.sleep(15)  # every check has run again, consul-esm's too
    assert found.twice == set()
    assert found.missing < 1
    assert instances(stack) == all_40(stack)
    passing(stack, 1)
    assert changes(stack, refresh=True).keys() == {"same"}


def test_after_all_moves_destroy_leaves_nothing_of_ours(folder: Path) -> None:
    project(folder, "docker-local", registration=WAY[-1]).engine.destroy()
    assert ours() == ""
