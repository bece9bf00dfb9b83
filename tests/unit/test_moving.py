import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
import pytest

from components.consul_connection import Connection
from components.registration.moving import HostAgent, Moving
from services.roster import Roster
from tests.fake_consul import FakeConsul, Fields, Wrote, running
from tests.forty_services import Line, forty_roster
from tests.unit.pulumi_mocks import deploy
from tests.unit.test_switching import BILLING, MINIO, nobody, others, owner

OLD, NEW = "agent-a", "agent-b"
MARK = "pulumi/consul-staging/test/registration-b-billing_service"
REASON = "a new disk"


@dataclass
class Platform:
    """Two hosts' agents and the servers, each with its own API; both services are stated on the second host."""

    old: FakeConsul
    new: FakeConsul
    servers: FakeConsul
    wrote: Wrote

    def on(self, node: str, line: Line, status: str = "passing", meta: dict[str, str] | None = None) -> None:
        """Have the servers hold a service on a node, and the old agent hold it if the node is its own."""
        fields = {"Meta": {"managed-by": owner(line)} if meta is None else meta}
        check = {"CheckID": line.check_id, "Status": status, "ServiceName": line.name}
        self.servers.add(node, line.name, line.name, check, **fields)
        if node == OLD:
            self.old.services[line.name] = {"ID": line.name, "Service": line.name, **fields}

    def in_maintenance(self, line: Line) -> None:
        """Have the servers hold a service of the old agent in maintenance."""
        check_id = f"_service_maintenance:{line.name}"
        self.servers.add_check(OLD, line.name, CheckID=check_id, Status="critical", Notes=REASON)

    def without_gossip(self) -> None:
        """Have gossip not reach the old agent."""
        self.servers.add_check(OLD, "", CheckID="serfHealth", Status="critical")

    def moving(self, *, roster: Roster | None = None) -> Moving:
        stated = roster or forty_roster(names=(BILLING.name, MINIO.name))
        agents = [
            HostAgent(OLD, Connection(self.old.address), Roster(services=())),
            HostAgent(NEW, Connection(self.new.address), stated),
        ]
        return Moving(agents, Connection(self.servers.address))

    def move(self, line: Line | None = BILLING) -> str:
        """What is said before a service's new resource is created, or a container with the files of all."""
        hooks = deploy(lambda: self.moving().before_creation("move"))
        inputs: Fields = {"service_id": line.name, "mark": MARK} if line else {"name": "agent-b-reload"}
        return hooks.call("move", **inputs)

    @property
    def statuses(self) -> dict[str, dict[str, str]]:
        """The status of each check of a service that the servers hold, by node."""
        return {
            node: {each["CheckID"]: each["Status"] for each in self.servers.catalog_checks(node) if each["ServiceID"]}
            for node in (OLD, NEW)
        }

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Who was sent what, without the bodies."""
        return [each[:2] for each in self.wrote]


@pytest.fixture(name="platform")
def _platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    wrote: Wrote = []
    with (
        running(FakeConsul("old", wrote)) as old,
        running(FakeConsul("new", wrote)) as new,
        running(FakeConsul("servers", wrote)) as servers,
    ):
        servers.add_node(OLD)
        servers.add_node(NEW)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        yield Platform(old, new, servers, wrote)


TRANSACTION = ("servers", "/v1/txn")
REGISTERED = ("new", "/v1/agent/service/register")
DEREGISTERED = ("old", "/v1/agent/service/deregister/billing_service")


def bodies(platform: Platform, change: tuple[str, str]) -> list[Any]:
    return [body for who, path, body in platform.wrote if (who, path) == change]


# When


def test_a_service_moves_before_its_new_resource_is_created(platform: Platform) -> None:
    def program() -> None:
        options = pulumi.ResourceOptions(hooks=platform.moving().before_creation("move"))
        pulumi.CustomResource("test:index:Service", "service", {}, options)

    assert deploy(program).bound("service") == {"before_create": ["move"]}


def test_a_stack_with_one_agent_has_no_hook() -> None:
    only = HostAgent(NEW, Connection("http://127.0.0.1:9"), forty_roster())
    hooks = deploy(lambda: Moving([only], Connection("http://127.0.0.1:9")).before_creation("move"))
    assert hooks.named_hooks == set()


# A service moves


def test_a_service_moves_in_one_transaction_and_then_the_new_agent_gets_it_and_the_old_one_forgets_it(
    platform: Platform,
) -> None:
    # Registered first, it would be found twice; deregistered first, not at all.
    platform.on(OLD, BILLING)
    assert platform.move() == ""
    assert platform.changes == [TRANSACTION, REGISTERED, DEREGISTERED]


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
def test_a_service_has_the_status_that_it_had_in_the_catalog_and_with_its_new_agent(
    platform: Platform, status: str
) -> None:
    platform.on(OLD, BILLING, status)
    assert platform.move() == ""
    assert platform.statuses == {OLD: {}, NEW: {BILLING.check_id: status}}
    assert platform.new.checks[BILLING.check_id]["Status"] == status


def test_a_service_in_maintenance_stays_in_it_at_every_look(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    platform.in_maintenance(BILLING)
    assert platform.move() == ""
    maintenance = f"_service_maintenance:{BILLING.name}"
    assert platform.statuses == {OLD: {}, NEW: {BILLING.check_id: "passing", maintenance: "critical"}}
    assert platform.new.checks[maintenance]["Notes"] == REASON


def test_a_service_has_its_new_resource_as_its_owner(platform: Platform) -> None:
    # Else the resource would take it for another's.
    platform.on(OLD, BILLING)
    platform.move()
    assert platform.new.services[BILLING.name]["Meta"] == {**BILLING.meta, "managed-by": MARK}


def test_a_service_that_is_created_moves_itself_alone(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    platform.on(OLD, MINIO)
    assert platform.move() == ""
    assert (list(platform.new.services), list(platform.old.services)) == ([BILLING.name], [MINIO.name])


def test_a_container_with_the_files_moves_all_services_which_the_files_then_own(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    platform.on(OLD, MINIO)
    assert platform.move(None) == ""
    owners = {key: each["Meta"]["managed-by"] for key, each in platform.new.services.items()}
    assert owners == dict.fromkeys((BILLING.name, MINIO.name), "pulumi/consul-staging/test/definition-files")


def test_the_checks_of_the_old_node_itself_stay_with_it(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    platform.servers.add_check(OLD, "", CheckID="serfHealth")
    platform.move()
    [transaction] = bodies(platform, TRANSACTION)
    assert [each["Check"]["Check"]["CheckID"] for each in transaction if "Check" in each] == [BILLING.check_id]


# Nothing moves


@others
def test_anothers_service_is_not_moved(platform: Platform, meta: dict[str, str]) -> None:
    platform.on(OLD, BILLING, meta=meta)
    assert (platform.move(), platform.wrote) == ("", [])


def test_a_service_on_a_node_of_no_host_is_not_moved(platform: Platform) -> None:
    platform.on("staging-external", BILLING)
    assert (platform.move(), platform.wrote) == ("", [])


def test_a_service_that_is_registered_nowhere_is_left_to_its_resource(platform: Platform) -> None:
    assert (platform.move(), platform.wrote) == ("", [])


@pytest.mark.parametrize("nodes", [(NEW,), (OLD, NEW)], ids=["new", "both"])
def test_a_service_that_is_on_its_node_already_is_left_as_it_is(platform: Platform, nodes: tuple[str, ...]) -> None:
    for node in nodes:
        platform.on(node, BILLING)
    assert (platform.move(), platform.wrote) == ("", [])


def test_a_service_that_stays_costs_one_look(platform: Platform) -> None:
    platform.on(NEW, BILLING)
    platform.move()
    looks = [each.path for consul in (platform.servers, platform.old, platform.new) for each in consul.requests]
    assert looks == ["/v1/health/service/billing_service"]


# When somebody does not answer, or refuses


def test_an_old_agent_that_does_not_answer_is_no_error(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    nobody(platform.old)
    assert platform.move() == ""
    assert platform.changes == [TRANSACTION, REGISTERED]


def test_an_old_agent_that_gossip_does_not_reach_is_not_waited_for(platform: Platform) -> None:
    # A host that is away lets each request wait for its timeout, for each service.
    platform.on(OLD, BILLING)
    platform.without_gossip()
    assert platform.move() == ""
    assert (platform.changes, platform.old.requests) == ([TRANSACTION, REGISTERED], [])


def test_to_a_new_agent_that_does_not_answer_nothing_is_moved(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    nobody(platform.new)
    assert (platform.move(), platform.wrote) == ("", [])


def test_a_service_that_the_new_agent_refuses_goes_back_to_where_it_was(platform: Platform) -> None:
    # There nobody would check it.
    platform.on(OLD, BILLING, "warning")
    platform.in_maintenance(BILLING)
    before = platform.statuses
    platform.new.refuses_writes = (403, "Permission denied")
    assert "Consul answers 403: Permission denied" in platform.move()
    assert (platform.statuses, list(platform.old.services)) == (before, [BILLING.name])


def test_a_service_that_the_new_agent_takes_only_in_part_goes_back_and_is_on_one_agent(platform: Platform) -> None:
    platform.on(OLD, BILLING)
    platform.in_maintenance(BILLING)
    before = platform.statuses
    platform.new.refuses_paths = {"/v1/agent/checks"}
    assert "Consul answers 403: Permission denied" in platform.move()
    assert (platform.statuses, list(platform.old.services)) == (before, [BILLING.name])
    assert platform.new.services == {}


def test_a_transaction_that_the_servers_refuse_is_an_error_and_the_agents_keep_what_they_have(
    platform: Platform,
) -> None:
    platform.on(OLD, BILLING)
    platform.servers.refuses_writes = (409, "Permission denied")
    assert "/v1/txn: Consul answers 409: Permission denied" in platform.move()
    assert (list(platform.old.services), platform.new.services) == ([BILLING.name], {})
