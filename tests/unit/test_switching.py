from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pulumi
import pytest

from components.consul_connection import Connection
from components.registration.switching import ServiceLocations, stack_owner_prefix, switch_to_agent, switch_to_catalog
from services.roster import Roster
from tests.fake_consul import AGENT, FakeConsul, Fields, Wrote, running
from tests.forty_services import FORTY, Line, forty_roster
from tests.unit.pulumi_mocks import Deployed, deploy

NODE = "staging-external"
BY_NAME = {line.name: line for line in FORTY}
BILLING = BY_NAME["billing_service"]
MINIO = BY_NAME["minio_grpc_service"]
OUTPUT = "HTTP GET http://isa-billing:8216/health: 200 OK Output: well"

# What bears these is another's: another stack's, though its name begins alike; another project's; and another party's.
OTHERS = {
    "stack": {"managed-by": "pulumi/consul-staging/test2/registration-billing_service"},
    "project": {"managed-by": "pulumi/other/test/registration-billing_service"},
    "tool": {"managed-by": "terraform"},
    "nobody": {"team": "user-platform"},
    "no meta": {},
}
others = pytest.mark.parametrize("meta", OTHERS.values(), ids=OTHERS)


def owner(line: Line) -> str:
    return f"pulumi/consul-staging/test/registration-{line.name}"


@dataclass
class Platform:
    """The shared agent and the servers, each with its own API."""

    agent: FakeConsul
    servers: FakeConsul
    wrote: Wrote

    def in_catalog(self, line: Line, meta: dict[str, str] | None, status: str = "passing", output: str = "") -> None:
        """Have the servers hold a service on the external node."""
        node = self.servers.nodes.setdefault(NODE, {"Node": {"Node": NODE, "Meta": {}}, "Services": {}})
        node["Services"][line.name] = {"ID": line.name, "Service": line.name, "Meta": meta}
        self.servers.node_checks.append(check_of(line, status, output))

    def on_agent(self, line: Line, meta: dict[str, str], status: str = "passing", output: str = "") -> None:
        """Have the agent hold a service."""
        self.agent.services[line.name] = {"ID": line.name, "Service": line.name, "Meta": meta}
        self.agent.checks[line.check_id] = check_of(line, status, output)

    def places(
        self, services: Roster | None = None, agent: bool = True, elsewhere: Collection[str] = ()
    ) -> ServiceLocations:
        reached = Connection(self.agent.address) if agent else None
        stated = forty_roster() if services is None else services
        servers = Connection(self.servers.address)
        return ServiceLocations(reached, servers, NODE, stated, elsewhere=frozenset(elsewhere))

    def switch_to_agent(
        self, services: Roster | None = None, agent: bool = True, elsewhere: Collection[str] = ()
    ) -> Deployed:
        places = partial(self.places, services, agent, elsewhere)
        return deploy(lambda: switch_to_agent("move-to-agent", places(), servers_may_be_away=True))

    def switch_to_catalog(self, agent: bool = True) -> Deployed:
        return deploy(lambda: switch_to_catalog(self.places(agent=agent)))


def check_of(line: Line, status: str, output: str) -> Fields:
    return {
        "Node": NODE,
        "CheckID": line.check_id,
        "Name": line.check["name"],
        "Status": status,
        "Output": output,
        "ServiceID": line.name,
        "Definition": {"Interval": line.check["interval"]},
    }


@pytest.fixture(name="platform")
def _platform() -> Iterator[Platform]:
    wrote: Wrote = []
    with running(FakeConsul("agent", wrote)) as agent, running(FakeConsul("servers", wrote)) as servers:
        yield Platform(agent, servers, wrote)


def nobody(consul: FakeConsul) -> None:
    """Have nobody answer at its address."""
    consul.address = "http://127.0.0.1:9"


def left_the_catalog(line: Line) -> tuple[str, str, Any]:
    return ("servers", "/v1/catalog/deregister", {"Node": "staging-external", "ServiceID": line.name})


def left_the_agent(line: Line) -> tuple[str, str, Any]:
    return ("agent", f"/v1/agent/service/deregister/{line.name}", None)


def lost_its_check(check_id: str) -> tuple[str, str, Any]:
    return ("servers", "/v1/catalog/deregister", {"Node": "staging-external", "CheckID": check_id})


def registered(platform: Platform) -> list[Fields]:
    """The bodies that were sent to the agent."""
    return [body for who, path, body in platform.wrote if (who, path) == ("agent", "/v1/agent/service/register")]


def moved(hooks: Deployed, line: Line | None, *names: str, check_id: str | None = None) -> None:
    """Call hooks for a service, with the one check that it is stated with, or for a container with all of them."""
    for name in names or ("move-to-agent",):
        inputs: Fields = {"name": "consul-agent-shared-reload"}
        if line and name == "move-to-agent":
            inputs = {"service_id": line.name}
        elif line:
            inputs = {"serviceId": line.name, "checks": [{"checkId": check_id or line.check_id}]}
        assert hooks.call(name, **inputs) == ""


# Whose marks


def test_the_stacks_owners_begin_with_its_project_and_name() -> None:
    found: list[str] = []
    deploy(lambda: found.append(stack_owner_prefix()))
    assert found == ["pulumi/consul-staging/test/"]


# When


def bound(
    make: Callable[[ServiceLocations], pulumi.ResourceHookBinding], places: ServiceLocations
) -> dict[str, list[str]]:
    def program() -> None:
        pulumi.CustomResource("test:index:Service", "service", {}, pulumi.ResourceOptions(hooks=make(places)))

    return deploy(program).bound("service")


def test_to_the_agent_a_service_is_moved_before_it_is_created_or_updated_there(platform: Platform) -> None:
    assert bound(partial(switch_to_agent, "move-to-agent", servers_may_be_away=True), platform.places()) == {
        "before_create": ["move-to-agent"],
        "before_update": ["move-to-agent"],
    }


def test_to_the_catalog_a_service_leaves_before_it_is_created_there_and_keeps_its_status_then_and_when_it_changes(
    platform: Platform,
) -> None:
    assert bound(switch_to_catalog, platform.places()) == {
        "before_create": ["deregister-from-agent"],
        "after_create": ["restore-check-status"],
        "before_update": ["read-check-status"],
        "after_update": ["restore-check-status"],
    }


# From the external node to the agent


def test_a_service_leaves_the_external_node_and_then_is_registered_with_the_agent(platform: Platform) -> None:
    # The other way round, clients would find it twice.
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_agent(), BILLING)
    assert [each[:2] for each in platform.wrote] == [
        ("servers", "/v1/catalog/deregister"),
        ("agent", "/v1/agent/service/register"),
    ]


def test_a_service_leaves_the_external_node_by_its_id(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_agent(), BILLING)
    assert platform.wrote[0] == left_the_catalog(BILLING)


@pytest.mark.parametrize(
    ("line", "kind", "method"), [(BILLING, "HTTP", "GET"), (MINIO, "TCP", "TCP")], ids=["http", "tcp"]
)
def test_a_service_is_registered_with_the_agent_as_it_is_stated_with_the_owner_and_the_status_that_it_had(
    platform: Platform, line: Line, kind: str, method: str
) -> None:
    platform.in_catalog(line, {"managed-by": owner(line), "version": "before"}, "critical")
    moved(platform.switch_to_agent(), line)
    assert registered(platform) == [
        {
            "ID": line.name,
            "Name": line.name,
            "Address": line.container,
            "Port": line.port,
            "Tags": line.tags,
            "Meta": {**line.meta, "managed-by": owner(line)},
            "Checks": [
                {
                    "CheckID": line.check_id,
                    "Name": line.check["name"],
                    kind: line.target,
                    "Interval": line.check["interval"],
                    "Timeout": line.check["timeout"],
                    "DeregisterCriticalServiceAfter": "1m30s",
                    "Notes": f"{method} {line.target}; deregistered after 1m30s critical",
                    "Status": "critical",
                }
            ],
        }
    ]


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
def test_a_service_takes_its_status_along_to_the_agent(platform: Platform, status: str) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, status)
    moved(platform.switch_to_agent(), BILLING)
    assert [check["Status"] for check in registered(platform)[0]["Checks"]] == [status]


def test_a_service_keeps_as_its_owner_the_resource_that_registered_it(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": "pulumi/consul-staging/test/registration-before"})
    moved(platform.switch_to_agent(), BILLING)
    assert registered(platform)[0]["Meta"]["managed-by"] == "pulumi/consul-staging/test/registration-before"


def test_a_check_that_the_external_node_does_not_have_is_registered_without_a_status(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    platform.servers.node_checks[0]["CheckID"] = "billing_service-before"
    moved(platform.switch_to_agent(), BILLING)
    assert "Status" not in registered(platform)[0]["Checks"][0]


def test_another_services_check_of_the_same_id_gives_no_status(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    platform.servers.node_checks[0]["ServiceID"] = "another"
    moved(platform.switch_to_agent(), BILLING)
    assert "Status" not in registered(platform)[0]["Checks"][0]


def test_a_service_that_is_created_moves_itself_alone(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    platform.in_catalog(MINIO, {"managed-by": owner(MINIO)})
    moved(platform.switch_to_agent(), MINIO)
    assert (platform.wrote[0], [each["ID"] for each in registered(platform)]) == (left_the_catalog(MINIO), [MINIO.name])


def test_a_service_that_an_interrupted_run_left_on_the_server_moves_itself_alone(platform: Platform) -> None:
    for line in (BILLING, MINIO):
        meta = {"managed-by": owner(line)}
        platform.servers.services[line.name] = {"ID": line.name, "Service": line.name, "Meta": meta}
        platform.servers.checks[line.check_id] = check_of(line, "warning", "")
    moved(platform.switch_to_agent(), MINIO)
    assert (list(platform.servers.services), list(platform.agent.services)) == ([BILLING.name], [MINIO.name])
    assert platform.agent.checks[MINIO.check_id]["Status"] == "warning"


@pytest.mark.parametrize(("unsettled", "left"), [(True, []), (False, ["billing_service"])])
def test_what_the_agent_still_has_is_removed_where_it_was_away_and_the_roster_has_it_no_more(
    platform: Platform, unsettled: bool, left: list[str]
) -> None:
    # It died before it could be told. Otherwise, the service's own resource removes it.
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    hooks = platform.switch_to_agent(forty_roster(names=(MINIO.name,)))
    assert hooks.call("move-to-agent", {"unsettled": unsettled}, service_id=MINIO.name) == ""
    assert list(platform.agent.services) == left


def test_what_an_interrupted_run_left_on_the_server_gets_the_owner_of_the_resource_that_registers_it_now(
    platform: Platform,
) -> None:
    # It was drained from another host's agent, and the roster has it on this host by now.
    meta = {"managed-by": "pulumi/consul-staging/test/registration-h1-billing_service"}
    platform.servers.services[BILLING.name] = {"ID": BILLING.name, "Service": BILLING.name, "Meta": meta}
    mark = "pulumi/consul-staging/test/registration-h3-billing_service"
    assert platform.switch_to_agent().call("move-to-agent", service_id=BILLING.name, mark=mark) == ""
    assert [body["Meta"]["managed-by"] for body in registered(platform)] == [mark]


def test_what_an_interrupted_run_left_on_the_server_and_the_roster_has_no_more_is_removed(platform: Platform) -> None:
    meta = {"managed-by": owner(BILLING)}
    platform.servers.services[BILLING.name] = {"ID": BILLING.name, "Service": BILLING.name, "Meta": meta}
    moved(platform.switch_to_agent(forty_roster(names=(MINIO.name,))), MINIO)
    assert (platform.servers.services, platform.agent.services) == ({}, {})


@pytest.mark.parametrize("line", [BILLING, None], ids=["one", "all"])
def test_a_service_of_another_host_that_an_interrupted_run_left_on_the_server_stays(
    platform: Platform, line: Line | None
) -> None:
    # Its own agent gets it back: the servers check it until then.
    for each in (BILLING, MINIO):
        meta = {"managed-by": owner(each)}
        platform.servers.services[each.name] = {"ID": each.name, "Service": each.name, "Meta": meta}
    moved(platform.switch_to_agent(forty_roster(names=(BILLING.name,)), elsewhere=(MINIO.name,)), line)
    assert (list(platform.servers.services), list(platform.agent.services)) == ([MINIO.name], [BILLING.name])


def test_a_service_of_another_host_stays_on_the_external_node_until_its_own_agent_gets_it(platform: Platform) -> None:
    for each in (BILLING, MINIO):
        platform.in_catalog(each, {"managed-by": owner(each)})
    moved(platform.switch_to_agent(forty_roster(names=(BILLING.name,)), elsewhere=(MINIO.name,)), None)
    assert (list(platform.servers.nodes[NODE]["Services"]), list(platform.agent.services)) == (
        [MINIO.name],
        [BILLING.name],
    )


def test_a_service_that_an_interrupted_run_left_on_the_server_is_not_in_the_catalog_twice(platform: Platform) -> None:
    meta = {"managed-by": owner(BILLING)}
    platform.servers.services[BILLING.name] = {"ID": BILLING.name, "Service": BILLING.name, "Meta": meta}
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent")
    assert platform.servers.services == {}


def test_a_container_with_the_files_moves_all_of_the_stacks_services(platform: Platform) -> None:
    for line in FORTY:
        platform.in_catalog(line, {"managed-by": owner(line)})
    moved(platform.switch_to_agent(), None)
    assert platform.servers.nodes[NODE]["Services"] == {}
    assert list(platform.agent.services) == [line.name for line in FORTY]


def test_each_of_all_services_takes_its_own_status_along(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical")
    platform.in_catalog(MINIO, {"managed-by": owner(MINIO)}, "passing")
    moved(platform.switch_to_agent(), None)
    assert [(each["ID"], each["Checks"][0]["Status"]) for each in registered(platform)] == [
        ("billing_service", "critical"),
        ("minio_grpc_service", "passing"),
    ]


@others
@pytest.mark.parametrize("line", [BILLING, None], ids=["one", "all"])
def test_anothers_service_on_the_external_node_stays(
    platform: Platform, meta: dict[str, str], line: Line | None
) -> None:
    platform.in_catalog(BILLING, meta)
    moved(platform.switch_to_agent(), line)
    assert platform.wrote == []


def test_anothers_service_on_the_external_node_does_not_keep_the_stacks_there(platform: Platform) -> None:
    platform.in_catalog(MINIO, OTHERS["stack"])
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_agent(), None)
    assert platform.wrote[0] == left_the_catalog(BILLING)
    assert list(platform.agent.services) == [BILLING.name]


@pytest.mark.parametrize("line", [BILLING, None], ids=["one", "all"])
def test_a_service_without_any_meta_on_the_external_node_stays(platform: Platform, line: Line | None) -> None:
    # Consul shows it as null.
    platform.in_catalog(BILLING, None)
    moved(platform.switch_to_agent(), line)
    assert platform.wrote == []


def test_a_service_that_the_roster_has_dropped_leaves_the_external_node_for_good(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_agent(Roster(services=())), None)
    assert platform.wrote == [left_the_catalog(BILLING)]


def test_where_the_agents_api_is_not_published_a_service_only_leaves_the_external_node(platform: Platform) -> None:
    # The agent reads it from its files right after.
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_agent(agent=False), None)
    assert platform.wrote == [left_the_catalog(BILLING)]


@pytest.mark.parametrize("line", [BILLING, None], ids=["one", "all"])
def test_where_there_is_no_external_node_nothing_is_moved(platform: Platform, line: Line | None) -> None:
    moved(platform.switch_to_agent(), line)
    assert platform.wrote == []


def test_a_service_that_is_not_on_the_external_node_is_left_to_its_resource(platform: Platform) -> None:
    platform.in_catalog(MINIO, {"managed-by": owner(MINIO)})
    moved(platform.switch_to_agent(), BILLING)
    assert platform.wrote == []


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("line", [BILLING, None], ids=["one", "all"])
def test_where_no_server_answers_nothing_is_moved_to_the_agent(platform: Platform, line: Line | None) -> None:
    nobody(platform.servers)
    moved(platform.switch_to_agent(), line)
    assert platform.wrote == []


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("state", ["has a leader", "has lost the servers", "has no right"])
def test_an_agent_that_has_lost_the_servers_joins_them_once_a_run(platform: Platform, state: str) -> None:
    join = "/v1/agent/join/staging-consul"
    if state != "has a leader":
        platform.agent.leader = ""
    if state == "has no right":
        platform.agent.refuses_paths = {join}
    hooks = platform.switch_to_agent()
    moved(hooks, BILLING)
    moved(hooks, MINIO)
    joined = [request.path for request in platform.agent.requests if "/join/" in request.path]
    assert joined == ([] if state == "has a leader" else [join])


def test_where_the_servers_do_not_answer_nothing_moves_and_the_run_stops_unless_they_may_be_away(
    platform: Platform,
) -> None:
    # Else the agent would get a service without what the servers have of it, such as a maintenance.
    nobody(platform.servers)
    places = platform.places()
    needed = deploy(lambda: switch_to_agent("move-to-agent", places, servers_may_be_away=False))
    assert "http://127.0.0.1:9/v1/catalog/node/staging-external: no answer" in needed.call("move-to-agent")
    assert platform.switch_to_agent().call("move-to-agent") == ""
    assert platform.wrote == []


def test_where_the_agent_does_not_answer_a_service_stays_where_it_is_and_the_run_stops(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    nobody(platform.agent)
    said = platform.switch_to_agent().call("move-to-agent", service_id=BILLING.name)
    assert said.startswith(
        f"the services stay where they are: GET {platform.agent.address}/v1/agent/services: no answer"
    )
    assert platform.wrote == []


def test_what_the_servers_refuse_stops_the_move_with_consuls_own_words(platform: Platform) -> None:
    platform.servers.refuses = (403, "Permission denied")
    assert platform.switch_to_agent().call("move-to-agent", service_id=BILLING.name) == (
        f"GET {platform.servers.address}/v1/catalog/node/staging-external: Consul answers 403: Permission denied"
    )


# From the agent to the external node


def test_a_service_leaves_the_agent_by_its_id(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent")
    assert platform.wrote == [left_the_agent(BILLING)]


def test_a_service_from_the_stacks_files_leaves_the_agent_too(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": "pulumi/consul-staging/test/definition-files"})
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent")
    assert platform.wrote == [left_the_agent(BILLING)]


def test_a_service_that_is_created_leaves_the_agent_alone(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    platform.on_agent(MINIO, {"managed-by": owner(MINIO)})
    moved(platform.switch_to_catalog(), MINIO, "deregister-from-agent")
    assert platform.wrote == [left_the_agent(MINIO)]


@others
def test_anothers_service_with_the_agent_stays(platform: Platform, meta: dict[str, str]) -> None:
    platform.on_agent(BILLING, meta)
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent")
    assert platform.wrote == []


@others
def test_anothers_service_with_the_agent_gives_no_status(platform: Platform, meta: dict[str, str]) -> None:
    platform.on_agent(BILLING, meta)
    hooks = platform.switch_to_catalog()
    moved(hooks, BILLING, "deregister-from-agent")
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical")
    moved(hooks, BILLING, "restore-check-status")
    assert platform.wrote == []


def test_a_service_that_the_agent_does_not_hold_need_not_leave_it(platform: Platform) -> None:
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent", "restore-check-status")
    assert platform.wrote == []


def test_where_the_agents_api_is_not_published_no_service_leaves_it(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_catalog(agent=False), BILLING, "deregister-from-agent", "restore-check-status")
    assert platform.wrote == []


@pytest.mark.usefixtures("_no_pauses")
def test_a_service_whose_agent_does_not_answer_is_not_registered_a_second_time(platform: Platform) -> None:
    platform.servers.add(AGENT, BILLING.name, BILLING.name, Meta={"managed-by": owner(BILLING)})
    nobody(platform.agent)
    said = platform.switch_to_catalog().call("deregister-from-agent", serviceId=BILLING.name)
    assert said.startswith(f"billing_service stays on its agent: GET {platform.agent.address}/v1/agent/service/")


def test_no_service_leaves_an_agent_in_maintenance_for_a_node_that_is_not(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    platform.agent.checks["_node_maintenance"] = {"CheckID": "_node_maintenance", "ServiceID": "", "Output": ""}
    said = platform.switch_to_catalog().call("deregister-from-agent", serviceId=BILLING.name)
    assert said == (
        f"the agent {platform.agent.address} is in maintenance, and staging-external would not be: end that first, "
        "with consul maint -disable"
    )
    assert platform.wrote == []


@pytest.mark.usefixtures("_no_pauses")
def test_where_the_agent_does_not_answer_and_has_no_service_none_leaves_it(platform: Platform) -> None:
    nobody(platform.agent)
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent", "restore-check-status")
    assert platform.wrote == []


def test_what_the_agent_refuses_stops_the_move_with_consuls_own_words(platform: Platform) -> None:
    platform.agent.refuses = (403, "Permission denied")
    assert platform.switch_to_catalog().call("deregister-from-agent", serviceId=BILLING.name) == (
        f"GET {platform.agent.address}/v1/agent/service/billing_service: Consul answers 403: Permission denied"
    )


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
def test_a_service_arrives_with_the_status_and_output_that_the_agent_last_found(
    platform: Platform, status: str
) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)}, status, OUTPUT)
    hooks = platform.switch_to_catalog()
    moved(hooks, BILLING, "deregister-from-agent")
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical", "not yet run")
    moved(hooks, BILLING, "restore-check-status")
    assert platform.wrote[1:] == [
        (
            "servers",
            "/v1/catalog/register",
            {
                "Node": "staging-external",
                "SkipNodeUpdate": True,
                "Check": {
                    "Node": "staging-external",
                    "CheckID": "billing_service-health",
                    "Name": "billing_service HTTP",
                    "Status": status,
                    "Output": OUTPUT,
                    "ServiceID": "billing_service",
                    "Definition": {"Interval": "10s"},
                },
            },
        )
    ]


def test_a_service_in_maintenance_leaves_the_agent_when_it_is_so_on_the_external_node(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)}, "passing", OUTPUT)
    maintenance = f"_service_maintenance:{BILLING.name}"
    platform.agent.add_check(platform.agent.node, BILLING.name, CheckID=maintenance, Status="critical")
    hooks = platform.switch_to_catalog()
    moved(hooks, BILLING, "deregister-from-agent")
    assert platform.wrote == []
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical", "not yet run")
    moved(hooks, BILLING, "restore-check-status")
    assert [(path, (body or {}).get("Check", {}).get("CheckID")) for _, path, body in platform.wrote] == [
        ("/v1/catalog/register", maintenance),
        ("/v1/catalog/register", BILLING.check_id),
        ("/v1/agent/service/deregister/billing_service", None),
    ]


def test_each_service_arrives_with_its_own_status(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    for line, status in ((BILLING, "critical"), (MINIO, "passing")):
        platform.on_agent(line, {"managed-by": owner(line)}, status)
        moved(hooks, line, "deregister-from-agent")
        platform.in_catalog(line, {"managed-by": owner(line)}, "critical")
    moved(hooks, MINIO, "restore-check-status")
    moved(hooks, BILLING, "restore-check-status")
    assert [(body["Check"]["CheckID"], body["Check"]["Status"]) for _, _, body in platform.wrote[2:]] == [
        ("minio_grpc_service-tcp", "passing"),
        ("billing_service-health", "critical"),
    ]


def test_a_service_that_did_not_leave_the_agent_arrives_without_a_status(platform: Platform) -> None:
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical")
    moved(platform.switch_to_catalog(), BILLING, "restore-check-status")
    assert platform.wrote == []


def test_a_check_that_the_agent_did_not_have_is_left_as_it_is(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    hooks = platform.switch_to_catalog()
    moved(hooks, BILLING, "deregister-from-agent")
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical")
    platform.servers.node_checks[0]["CheckID"] = "billing_service-new"
    moved(hooks, BILLING, "restore-check-status", check_id="billing_service-new")
    assert platform.wrote == [left_the_agent(BILLING)]


def test_another_services_check_of_the_same_id_is_left_as_it_is(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    hooks = platform.switch_to_catalog()
    moved(hooks, BILLING, "deregister-from-agent")
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "critical")
    platform.servers.node_checks[0]["ServiceID"] = "another"
    moved(hooks, BILLING, "restore-check-status")
    assert platform.wrote == [left_the_agent(BILLING)]


@pytest.mark.usefixtures("_no_pauses")
def test_where_no_server_answers_a_service_arrives_without_a_status(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    nobody(platform.servers)
    moved(platform.switch_to_catalog(), BILLING, "deregister-from-agent", "restore-check-status")
    assert platform.wrote == [left_the_agent(BILLING)]


# A change on the external node


def changed(platform: Platform, hooks: Deployed, line: Line, before: str, after: str = "critical") -> None:
    """Have the provider change a service: it writes a status that is not what was last found."""
    platform.servers.node_checks = []
    platform.in_catalog(line, {"managed-by": owner(line)}, before, OUTPUT)
    moved(hooks, line, "read-check-status")
    platform.servers.node_checks[0] |= {"Status": after, "Output": ""}
    moved(hooks, line, "restore-check-status")


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
def test_a_service_that_changes_keeps_the_status_and_output_that_the_catalog_has(
    platform: Platform, status: str
) -> None:
    changed(platform, platform.switch_to_catalog(), BILLING, status)
    [(who, path, body)] = platform.wrote
    assert (who, path) == ("servers", "/v1/catalog/register")
    assert (body["Check"]["CheckID"], body["Check"]["Status"], body["Check"]["Output"]) == (
        "billing_service-health",
        status,
        OUTPUT,
    )


def test_a_service_that_changes_again_keeps_the_status_that_the_catalog_has_by_then(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    changed(platform, hooks, BILLING, "warning")
    changed(platform, hooks, BILLING, "passing")
    assert [body["Check"]["Status"] for _, _, body in platform.wrote] == ["warning", "passing"]


def test_a_service_that_changes_keeps_its_own_status_and_no_other_services(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(MINIO, {"managed-by": owner(MINIO)}, "warning")
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "passing")
    moved(hooks, BILLING, "read-check-status", "restore-check-status")
    moved(hooks, MINIO, "restore-check-status")
    assert [body["Check"]["CheckID"] for _, _, body in platform.wrote] == ["billing_service-health"]


def test_a_service_that_changes_does_not_leave_the_agent(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(platform.switch_to_catalog(), BILLING, "read-check-status")
    assert platform.wrote == []


@pytest.mark.usefixtures("_no_pauses")
def test_where_no_server_answers_a_service_that_changes_keeps_no_status(platform: Platform) -> None:
    nobody(platform.servers)
    moved(platform.switch_to_catalog(), BILLING, "read-check-status", "restore-check-status")
    assert platform.wrote == []


# A check on the external node that is stated no more


def orphaned(platform: Platform, line: Line, check_id: str, status: str = "passing") -> None:
    """Have the catalog hold one more check of a service."""
    platform.servers.node_checks.append({**check_of(line, status, OUTPUT), "CheckID": check_id})


def checks_in_catalog(platform: Platform) -> list[tuple[str, str]]:
    """Id and status of each."""
    return [(check["CheckID"], check["Status"]) for check in platform.servers.node_checks]


def test_a_check_that_is_stated_no_more_leaves_the_catalog_when_its_service_has_changed(platform: Platform) -> None:
    # The provider adds the one of the new id, and removes none.
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "passing", OUTPUT)
    moved(hooks, BILLING, "read-check-status", check_id="billing_service-new")
    orphaned(platform, BILLING, "billing_service-new", "critical")
    moved(hooks, BILLING, "restore-check-status", check_id="billing_service-new")
    assert platform.wrote == [lost_its_check("billing_service-health")]
    assert checks_in_catalog(platform) == [("billing_service-new", "critical")]


def test_beside_a_check_that_is_stated_no_more_the_stated_one_keeps_its_status(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)}, "warning", OUTPUT)
    orphaned(platform, BILLING, "billing_service-ready")
    moved(hooks, BILLING, "read-check-status")
    platform.servers.node_checks[0]["Status"] = "critical"
    moved(hooks, BILLING, "restore-check-status")
    kept, left = platform.wrote
    assert (kept[2]["Check"]["CheckID"], kept[2]["Check"]["Status"]) == ("billing_service-health", "warning")
    assert left == lost_its_check("billing_service-ready")


def test_of_two_checks_that_are_stated_both_stay(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    orphaned(platform, BILLING, "billing_service-ready")
    stated = [{"checkId": "billing_service-health"}, {"checkId": "billing_service-ready"}]
    for name in ("read-check-status", "restore-check-status"):
        assert hooks.call(name, serviceId="billing_service", checks=stated) == ""
    assert [path for _, path, _ in platform.wrote] == ["/v1/catalog/register"] * 2


def test_a_service_that_is_stated_with_no_check_loses_all_of_its_own(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    for name in ("read-check-status", "restore-check-status"):
        assert hooks.call(name, serviceId="billing_service", checks=[]) == ""
    assert platform.wrote == [lost_its_check("billing_service-health")]


def test_another_services_checks_stay_when_a_service_has_changed(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    platform.in_catalog(MINIO, {"managed-by": owner(MINIO)})
    orphaned(platform, MINIO, "minio_grpc_service-before")
    moved(hooks, BILLING, "read-check-status", "restore-check-status", check_id="billing_service-new")
    assert platform.wrote == [lost_its_check("billing_service-health")]


def test_the_nodes_own_check_stays_when_a_service_has_changed(platform: Platform) -> None:
    # consul-esm's of the node itself, which is of no service.
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    orphaned(platform, replace(BILLING, name=""), "externalNodeHealth")
    moved(hooks, BILLING, "read-check-status", "restore-check-status", check_id="billing_service-new")
    assert checks_in_catalog(platform) == [("externalNodeHealth", "passing")]


def test_another_nodes_check_of_the_same_service_stays(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    orphaned(platform, BILLING, "billing_service-before")
    platform.servers.node_checks[1]["Node"] = "consul-agent-shared"
    moved(hooks, BILLING, "read-check-status", "restore-check-status", check_id="billing_service-new")
    assert platform.wrote == [lost_its_check("billing_service-health")]


def test_a_check_that_is_stated_no_more_leaves_the_catalog_when_its_service_arrives_there(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": owner(BILLING)})
    hooks = platform.switch_to_catalog()
    moved(hooks, BILLING, "deregister-from-agent")
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    orphaned(platform, BILLING, "billing_service-before")
    moved(hooks, BILLING, "restore-check-status")
    assert platform.wrote[-1] == lost_its_check("billing_service-before")


def test_a_check_that_is_stated_no_more_leaves_the_catalog_of_a_service_that_nobody_knew_before(
    platform: Platform,
) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    orphaned(platform, BILLING, "billing_service-before")
    moved(hooks, BILLING, "restore-check-status")
    assert platform.wrote == [lost_its_check("billing_service-before")]


def test_servers_that_refuse_to_remove_a_check_stop_the_change_with_consuls_own_words(platform: Platform) -> None:
    hooks = platform.switch_to_catalog()
    platform.in_catalog(BILLING, {"managed-by": owner(BILLING)})
    moved(hooks, BILLING, "read-check-status")
    platform.servers.refuses_writes = (403, "Permission denied")
    said = hooks.call("restore-check-status", serviceId="billing_service", checks=[])
    assert said == f"PUT {platform.servers.address}/v1/catalog/deregister: Consul answers 403: Permission denied"
    assert checks_in_catalog(platform) == [("billing_service-health", "passing")]
