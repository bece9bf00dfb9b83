"""The migration of services that register themselves, step by step and back, on services that behave as these do."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import settings
from consul_cluster.cluster_names import STAGING_NAMES
from operations.heal.reconcile import Reconciler
from operations.sandbox.processes import BackgroundProcess
from operations.self_registrations import Comparison, Verdict, compare_stack
from operations.stack import Stack
from operations.verify.findings import Finding
from operations.verify.observed_state import observe
from operations.verify.registrations import registrations
from services.checks import HttpCheck
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests import platform_service
from tests.discovering_client import DiscoveringClient
from tests.local.stacks import SECOND, EditableStack, new_sandbox, new_stack
from tests.platform_service import Registry
from tests.waiting import within

BILLING, PORT = "billing_service", 8216
META = {"auth_required": "true", "base_path": "/api/v1/billing"}
TAGS = ["v1", "preferred"]


@dataclass
class Platform:
    """One service of the platform, and the stack that registers it too."""

    stack: EditableStack
    folder: Path

    @property
    def own_id(self) -> str:
        return f"{BILLING}-{self.host}-{PORT}"

    @property
    def host(self) -> str:
        return self.stack.sandbox.roster.services[0].host

    def release(self, registers: str | None, with_: str) -> None:
        """Start a release of the service, in the place of the one that runs."""
        stated = {"consul": with_, "name": BILLING, "host": self.host, "port": PORT, "registers": registers}
        task = json.dumps({**stated, "tags": TAGS, "meta": META})
        BackgroundProcess(BILLING, (sys.executable, platform_service.__file__, task), self.folder).start()

    def stop(self) -> None:
        BackgroundProcess(BILLING, (), self.folder).stop()

    def state(self, **options: Any) -> None:  # noqa: ANN401 - any option of a line
        """Have the service in the roster, and nothing else. That it restarts, for up to 9 s, is no failure yet."""
        where, check = Environment("staging", self.host), HttpCheck(interval=SECOND, failures_before_critical=10)
        self.stack.roster = Roster(services=(USER.service(where, "billing", PORT, checks=(check,), **options),))

    def client(self) -> DiscoveringClient:
        registry = Registry(self.stack.sandbox.agent, "order_service", self.host, 8105)
        return DiscoveringClient(registry, BILLING, f"http://{self.host}:{PORT}", self.metas, META["base_path"])

    def metas(self) -> list[dict[str, str]]:
        nodes = (STAGING_NAMES.agent_node, STAGING_NAMES.server_node)
        found = (self.stack.sandbox.server_api.node_services(node) for node in nodes)
        return [each["Meta"] for services in found for each in services.values() if each["Service"] == BILLING]

    @property
    def seen(self) -> Stack:
        """The stack as the commands see it."""
        sandbox = self.stack.sandbox
        where = settings.Settings.model_validate(
            {
                "agentAddress": sandbox.agent_api.address,
                "serverAddress": sandbox.server_api.address,
                "docker": False,
            }
        )
        return Stack("local", "consul-staging", where, self.stack.roster, self.stack.engine)

    @property
    def compared(self) -> Comparison:
        return compare_stack(self.seen)[0]

    @property
    def verified(self) -> list[Finding]:
        return list(registrations(observe(self.seen)).findings)

    def heal(self) -> list[str]:
        """Run one round; returns what keeps the service from being as it was deployed."""
        return (
            Reconciler(self.stack.roster, self.stack.consul, STAGING_NAMES.agent_node, self.stack.engine)
            .round()
            .troubles
        )

    def held(self) -> set[str]:
        return set(self.stack.consul.all_services())


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditableStack]:
    """A Consul without stand-ins, and a stack on it."""
    folder = tmp_path_factory.mktemp("consul")
    made = new_sandbox(folder)
    sandbox = replace(made, roster=Roster(services=()))
    try:
        sandbox.start()
        with new_stack(replace(sandbox, roster=made.roster), folder) as stack:
            yield stack
    finally:
        sandbox.stop()


@pytest.fixture
def platform(consul: EditableStack, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(consul, tmp_path)
    made.state()
    try:
        yield made
    finally:
        made.stop()
        consul.destroy()
        for api in (consul.consul, consul.sandbox.server_api):
            for service_id in set(api.all_services()) - {"consul"}:
                api.deregister(service_id)


@pytest.mark.parametrize("registers", ["ttl", "http"])
def test_no_client_loses_the_service_from_its_own_registration_to_the_stacks_and_back(
    platform: Platform, registers: str
) -> None:
    server = platform.stack.sandbox.server
    platform.release(registers, server)
    with platform.client() as client:
        within(30, lambda: client.finds_it)
        client.begin()
        # 1. Deploy: both are there.
        platform.stack.up()
        # 2. Compare: once the agent's check has run, the command says what clients would lose.
        to_state = f"first, its line in services/user_services.py: tags=('preferred',), meta={META!r}"
        within(10, lambda: platform.compared.verdict == Verdict("compare", to_state))
        platform.state(tags=("preferred",), meta=META)
        platform.stack.up()
        time.sleep(2)  # the first run of a check after this counts at once, whatever its threshold
        within(10, lambda: platform.compared.can_drop)
        # 3. Release: a release that does not register itself.
        platform.release(None, server)
        platform.stack.sandbox.server_api.deregister(platform.own_id)
        within(10, lambda: platform.compared.verdict.message == "nothing to do")
        assert platform.verified == []
        # And back: the former release, and then the stack's rollback.
        platform.release(registers, server)
        within(30, lambda: platform.own_id in platform.stack.sandbox.server_api.all_services())
        within(30, lambda: platform.compared.can_drop)
        platform.stack.destroy()
        time.sleep(2)
    assert client.looks > 50
    assert client.missed == []
    assert platform.own_id in platform.stack.sandbox.server_api.all_services()


def test_a_service_that_is_pointed_at_the_agent_removes_the_stacks_registration_and_all_commands_name_it(
    platform: Platform,
) -> None:
    platform.stack.up()
    platform.release("ttl", platform.stack.sandbox.agent)
    within(10, lambda: platform.held() == {platform.own_id})
    assert platform.compared.verdict.wrong
    assert f"{platform.own_id} stands in its place at the agent" in platform.compared.verdict.message
    [finding] = platform.verified
    assert finding.found == f"{platform.own_id}, which the service itself registered, stands in its place"
    assert finding.advice.startswith("deploy a release of isa-billing that does not register itself; then ")
    [trouble] = platform.heal()
    assert f"{BILLING} is gone, and {platform.own_id} stands in its place" in trouble
    assert platform.held() == {platform.own_id}  # it does not fight
    # What the commands advise.
    platform.release(None, platform.stack.sandbox.agent)
    platform.stack.consul.deregister(platform.own_id)
    platform.stack.up(refresh=True)
    assert platform.held() == {BILLING}
    assert platform.heal() == []


def test_a_service_that_registers_itself_under_the_rosters_id_is_told_apart(platform: Platform) -> None:
    platform.stack.up()
    own = {"ID": BILLING, "Name": BILLING, "Address": platform.host, "Port": PORT, "Check": {"TTL": "30s"}}
    platform.stack.consul.register(own)
    [finding] = platform.verified
    assert finding.advice.startswith("deploy a release of isa-billing that does not register itself; then curl -X PUT")
    assert platform.heal() == [
        f"{BILLING} is held by another party, such as the service itself: it is left alone",
    ]
    assert "another party holds the id billing_service at the agent" in platform.compared.verdict.message


def test_the_service_reads_its_configuration_as_json_or_as_text(platform: Platform) -> None:
    registry = Registry(platform.stack.sandbox.agent, BILLING, platform.host, PORT)
    kv = registry._consul.kv
    kv.put(f"{BILLING}/max_retries", "3")
    kv.put(f"{BILLING}/greeting", "hello there")
    assert [registry.configured(key) for key in ("max_retries", "greeting", "absent")] == [3, "hello there", None]
