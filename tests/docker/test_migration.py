"""The migration of a service that registers itself from its container, step by step and back."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from consul_cluster.client import Consul
from consul_cluster.cluster_names import STAGING_NAMES
from operations.self_registrations import Comparison, compare_stack
from operations.stack import Stack
from operations.verify.observed_state import observe
from operations.verify.registrations import registrations
from services import roster
from services.checks import HttpCheck
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests import platform_service
from tests.discovering_client import DiscoveringClient
from tests.docker.conftest import SERVER, changes, docker, existing_network, existing_server, project
from tests.docker.host_python import run_python
from tests.platform_service import Registry
from tests.waiting import within

BILLING, HOST, PORT = "billing_service", "isa-billing", 8216
OWN_ID = f"{BILLING}-{HOST}-{PORT}"
META = {"auth_required": "true", "base_path": "/api/v1/billing"}
TAGS = ["v1", "preferred"]

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Platform:
    """One service of the platform, in its container, with a server that is not the stack's.

    Attributes:
        folder: of the stack's project.
        server: the server's API.
    """

    folder: Path
    server: Consul

    @property
    def stack(self) -> Stack:
        return project(self.folder, "staging")

    def release(self, registers: str | None) -> None:
        """Run a release of the service in the place of the one that runs."""
        stated = {"consul": SERVER, "name": BILLING, "host": HOST, "port": PORT, "registers": registers}
        task = json.dumps({**stated, "tags": TAGS, "meta": META})
        run_python(HOST, str(platform_service.__file__), task)

    @property
    def compared(self) -> Comparison:
        return compare_stack(self.stack)[0]

    @property
    def registered(self) -> set[str]:
        """Ids at the server, where the service registers itself."""
        return set(self.server.all_services())

    def metas(self) -> list[dict[str, str]]:
        found = (self.server.node_services(node) for node in (STAGING_NAMES.agent_node, SERVER))
        return [each["Meta"] for services in found for each in services.values() if each["Service"] == BILLING]

    def client(self) -> DiscoveringClient:
        registry = Registry("127.0.0.1", "order_service", "isa-order", 8105)
        return DiscoveringClient(registry, BILLING, f"http://{HOST}:{PORT}", self.metas, META["base_path"])


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with existing_network(), existing_server() as server:
        made = Platform(tmp_path, server)
        try:
            yield made
        finally:
            docker("rm", "--force", HOST)
            made.stack.engine.destroy()


def state(monkeypatch: pytest.MonkeyPatch, tags: tuple[str, ...] = (), meta: Mapping[str, str] | None = None) -> None:
    """Have the service in the roster, and nothing else. That it restarts is no failure yet."""
    check = HttpCheck(interval=timedelta(seconds=1), failures_before_critical=10)
    service = USER.service(Environment("staging"), "billing", PORT, checks=(check,), tags=tags, meta=meta or {})
    monkeypatch.setattr(roster, "load_roster", lambda *_: Roster(services=(service,)))


@pytest.mark.parametrize("registers", ["ttl", "http"])
def test_no_client_loses_the_service_from_its_own_registration_to_the_stacks_and_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, registers: str
) -> None:
    state(monkeypatch)
    platform.release(registers)
    with platform.client() as client:
        within(30, lambda: client.finds_it)
        client.begin()
        # 1. Deploy: both are there.
        changes(platform.stack)
        within(10, lambda: platform.compared.verdict.step == "compare")
        # 2. Monitor: the command says what clients would lose.
        assert f"tags=('preferred',), meta={META!r}" in platform.compared.verdict.message
        state(monkeypatch, tags=("preferred",), meta=META)
        changes(platform.stack)
        within(20, lambda: platform.compared.can_drop)
        # 3. Migrate: a release that does not register itself.
        platform.release(None)
        platform.server.deregister(OWN_ID)
        within(20, lambda: platform.compared.verdict.message == "nothing to do")
        assert list(registrations(observe(platform.stack)).findings) == []
        # And back: the former release, and then the stack's rollback.
        platform.release(registers)
        within(30, lambda: OWN_ID in platform.registered)
        within(30, lambda: platform.compared.can_drop)
        platform.stack.engine.destroy()
        time.sleep(2)
    assert client.looks > 50
    assert client.missed == []
    assert OWN_ID in platform.registered
