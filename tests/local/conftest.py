"""A real Consul server and agent, 40 stand-ins and the real engine, on loopback addresses of each process's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import toolchain
from operations.sandbox.sandbox import Cluster
from tests.local.clones import Clone, deployed_clone
from tests.local.stacks import EditableStack, new_cluster, new_stack, running


def pytest_sessionstart() -> None:
    """Get the programs before there are workers, each of which would build them."""
    toolchain.pulumi()
    toolchain.consul()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of a file run in one worker, which shares what they deploy."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all the tests of a worker that leave Consul's processes alone."""
    with running(new_cluster(tmp_path_factory.mktemp("consul"))) as cluster:
        yield cluster


@pytest.fixture
def stack(shared_cluster: Cluster, tmp_path: Path) -> Iterator[EditableStack]:
    """The 40 services on the shared cluster, nothing deployed yet; nothing left of it afterwards."""
    with new_stack(shared_cluster, tmp_path) as stack:
        yield stack


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone that is up."""
    with deployed_clone(tmp_path_factory.mktemp("clone")) as clone:
        yield clone
