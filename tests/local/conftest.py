"""A real Consul server and agent, stand-ins and the real engine, on loopback addresses of each process's own."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

import toolchain
from operations.sandbox.sandbox import Sandbox
from tests.local.clones import Clone, deployed_clone
from tests.local.stacks import EditableStack, deployed_stack, new_sandbox, new_stack, repair, running


def pytest_sessionstart() -> None:
    """Get the programs before there are workers, each of which would build them."""
    toolchain.pulumi()
    toolchain.consul()


_RUN = "PYTEST_XDIST_TESTRUNUID"  # in the environment of the workers and of all that they start
_RUN_ID = pytest.StashKey[str]()


class Worker(Protocol):
    """A worker as pytest-xdist shows it: https://pytest-xdist.readthedocs.io/en/stable/how-it-works.html."""

    config: pytest.Config
    workerinput: dict[str, Any]


def pytest_configure_node(node: Worker) -> None:
    """Note the id of a run that has workers."""
    node.config.stash[_RUN_ID] = node.workerinput["testrunuid"]


@pytest.hookimpl(trylast=True)  # after the workers have ended
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Kill what the workers of an interrupted run have started: they were killed before they could stop it."""
    run = session.config.stash.get(_RUN_ID, None)
    if not run or exitstatus != pytest.ExitCode.INTERRUPTED:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(_RUN) == run:
                process.kill()


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One for all the tests of a worker that leave Consul's processes alone."""
    with running(new_sandbox(tmp_path_factory.mktemp("consul"))) as sandbox:
        yield sandbox


@pytest.fixture
def stack(shared_sandbox: Sandbox, tmp_path: Path) -> Iterator[EditableStack]:
    """Twelve services on the shared sandbox, nothing deployed yet; nothing left of it afterwards."""
    with new_stack(shared_sandbox, tmp_path) as stack:
        yield stack


@pytest.fixture
def stack_of_forty(tmp_path: Path) -> Iterator[EditableStack]:
    """The same of all forty, on a sandbox of its own."""
    with running(new_sandbox(tmp_path / "consul", names=())) as sandbox, new_stack(sandbox, tmp_path) as stack:
        yield stack


@pytest.fixture(scope="module")
def deployed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditableStack]:
    """Twelve services, deployed and passing on a sandbox of their own, for a whole file."""
    with deployed_stack(tmp_path_factory.mktemp("deployed")) as stack:
        yield stack


@pytest.fixture
def deployed(deployed_once: EditableStack) -> Iterator[EditableStack]:
    """The same for one test: what it changes, but for what it deploys, is as before afterwards."""
    roster = deployed_once.roster
    yield deployed_once
    deployed_once.roster = roster
    repair(deployed_once.sandbox)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone that is up."""
    with deployed_clone(tmp_path_factory.mktemp("clone")) as clone:
        yield clone
