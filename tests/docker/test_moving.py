"""One stack moves from each registration to each other with `up`: no service twice, none missing."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from operations import local
from operations.local import Local
from services.consul_api import ConsulError
from tests.docker.conftest import all_40, changes, instances, ours, passing, project

# Each registration after each other one.
WAY = ("agent", "catalog", "files", "agent", "files", "catalog", "agent")
MOVES = tuple(pairwise(WAY))


class Watched:
    """What a client saw of the services while something happened.

    Attributes:
        twice: services of which the catalog had two instances at once.
        missing: the longest time in seconds for which a service had no passing instance.
    """

    def __init__(self) -> None:
        self.twice: set[str] = set()
        self.missing = 0.0


@contextmanager
def watched(stack: Local) -> Iterator[Watched]:
    found, done = Watched(), threading.Event()

    def watch() -> None:
        names = {name for name, _ in all_40(stack)}
        seen = dict.fromkeys(names, time.monotonic())
        while not done.wait(0.02):
            with suppress(ConsulError):
                checks = stack.target.server.all_catalog_checks()
                counts = Counter(check["ServiceName"] for check in checks)
                found.twice |= {name for name in names if counts[name] > 1}
                for name in names & {check["ServiceName"] for check in checks if check["Status"] == "passing"}:
                    seen[name] = time.monotonic()
                found.missing = max(found.missing, time.monotonic() - min(seen.values()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("moving")
    stack = project(folder, "docker-local", registration=WAY[0])
    try:
        assert set(local.up(stack).values()) == {"passing"}
        yield folder
    finally:
        local.down(stack)


@pytest.mark.parametrize(("before", "after"), MOVES)
def test_a_stack_moves_with_no_service_twice_and_none_without_a_passing_instance(
    folder: Path, before: str, after: str
) -> None:
    stack = project(folder, "docker-local", registration=after)
    with watched(stack) as found:
        changes(stack)
        time.sleep(35)  # every check has run once more
    assert found.twice == set()
    assert found.missing < 1
    assert instances(stack) == all_40(stack)
    passing(stack, 1)
    assert changes(stack, refresh=True).keys() == {"same"}


def test_after_all_moves_destroy_leaves_nothing_of_ours(folder: Path) -> None:
    project(folder, "docker-local", registration=WAY[-1]).engine.destroy()
    assert ours() == ""
