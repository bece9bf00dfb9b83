"""Unit tests bring services of their own. Only a test with the marker `real_roster` sees those of the project."""

import socket
import time
from collections.abc import Iterator

import pytest
from urllib3.util import Timeout

from consul_cluster import client
from services import roster
from services.environment import Environment
from services.model import Service
from services.user_services import USER


def _refuse(_: Environment) -> tuple[Service, ...]:
    pytest.fail("this test reads the project's roster: mark it `real_roster`, or take tests.forty_services")


@pytest.fixture(autouse=True)
def _no_roster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the project's services from a test, so that no edit of them can break it."""
    if not request.node.get_closest_marker("real_roster"):
        monkeypatch.setattr(roster, "_SERVICES", ((USER, _refuse),))


@pytest.fixture(name="_no_pauses")
def _pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a request that is tried again be tried at once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def silent_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Take every connection and answer nothing, as a Consul that hangs; yields the address."""
    monkeypatch.setattr(client, "_TIMEOUT", Timeout(connect=1, read=0.02))
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
