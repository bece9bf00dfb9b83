"""The processes of the sandbox follow the roster, and are known whatever the clock says."""

import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import toolchain
from consul_cluster.cluster_names import STAGING_NAMES
from operations.sandbox.processes import BackgroundProcess
from operations.sandbox.sandbox import Sandbox, SandboxError
from services.model import Service
from services.roster import Roster
from tests.local.stacks import new_sandbox, service_of
from tests.waiting import within

NAMES = ("account_service", "auth_service", "billing_service")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox of three services."""
    whole = new_sandbox(tmp_path)
    sandbox = with_services(whole, *(service_of(whole.roster, name) for name in NAMES))
    sandbox.start()
    yield sandbox
    sandbox.stop()


def with_services(sandbox: Sandbox, *services: Service) -> Sandbox:
    return replace(sandbox, roster=Roster(services=services))


def listens(service: Service) -> bool:
    with socket.socket() as client:
        return client.connect_ex((service.host, service.port)) == 0


def test_a_second_start_starts_nothing(sandbox: Sandbox) -> None:
    assert sandbox.start() == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"agent": "127.0.0.5"}, ", and '127.0.0.5' is stated"),
        ({"names": replace(STAGING_NAMES, datacenter="dc2")}, "datacenter: it runs with 'dc1', and 'dc2' is stated"),
    ],
)
def test_a_consul_that_runs_and_whose_configuration_was_changed_is_refused(
    sandbox: Sandbox, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(SandboxError) as error:
        replace(sandbox, **changed).start()
    assert str(error.value).startswith("nothing was started: ")
    assert said in str(error.value)
    assert sandbox.start() == 0


def test_what_runs_is_stopped_where_consul_cannot_be_had_any_more(sandbox: Sandbox) -> None:
    def consul() -> Path:
        raise toolchain.ToolchainError("consul cannot be had")

    lost = replace(sandbox, consul=consul)
    assert lost.agent_runs
    assert lost.stop() == len(NAMES) + 2
    assert not lost.agent_runs


def test_a_started_agent_has_synchronized_itself_with_the_server(sandbox: Sandbox) -> None:
    # Else its next try is up to 30 s away, and so long the server knows nothing of what is registered.
    assert sandbox.agent_api.has_synchronized(STAGING_NAMES.agent_node)


def test_a_stand_in_follows_a_changed_port(sandbox: Sandbox) -> None:
    account, auth, billing = sandbox.roster.services
    moved = account.model_copy(update={"port": 9001})
    assert with_services(sandbox, moved, auth, billing).start() == 1
    assert within(5, lambda: listens(moved))
    assert not listens(account)


def test_two_services_can_swap_their_ports(sandbox: Sandbox) -> None:
    account, auth, billing = sandbox.roster.services
    swapped = account.model_copy(update={"port": auth.port}), auth.model_copy(update={"port": account.port})
    assert with_services(sandbox, *swapped, billing).start() == 2
    assert within(5, lambda: all(map(listens, swapped)))


def test_the_stand_in_of_a_service_that_was_removed_is_stopped(sandbox: Sandbox) -> None:
    account, auth, billing = sandbox.roster.services
    assert with_services(sandbox, account, auth).start() == 0
    assert not listens(billing)


def test_stop_also_stops_what_the_roster_states_no_more(sandbox: Sandbox) -> None:
    account, auth, billing = sandbox.roster.services
    assert with_services(sandbox, account, auth).stop() == 5
    assert not listens(billing)


def test_an_agent_that_was_killed_and_lost_its_data_joins_again(sandbox: Sandbox) -> None:
    # It has another node id then, and Consul keeps the name for the old one.
    agent = sandbox.agent_process.running
    assert agent
    agent.kill()
    agent.wait(5)
    shutil.rmtree(sandbox.folder / STAGING_NAMES.agent_node / "data")
    assert sandbox.start() == 1
    sandbox.agent_api.register({"ID": "one", "Name": "one", "Port": 1})
    assert within(10, lambda: "one" in sandbox.agent_api.node_services(STAGING_NAMES.agent_node))


def test_a_process_is_known_as_soon_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a loaded machine Linux shows no command for up to 54 ms after the start, as measured here.
    shown_from = time.monotonic() + 0.5
    cmdline = psutil.Process.cmdline
    monkeypatch.setattr(psutil.Process, "cmdline", lambda each: cmdline(each) if time.monotonic() > shown_from else [])
    process = BackgroundProcess("idle", ["/bin/sleep", "60"], tmp_path)
    process.start()
    known = process.running
    within(5, lambda: process.running)
    process.stop()
    assert known
