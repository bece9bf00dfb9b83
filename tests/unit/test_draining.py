import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pytest

from components import resource_hooks as hooks
from components.cluster_keys import ClusterKeys, ClusterKeysArgs
from components.consul_agent import ConsulAgent, ConsulAgentArgs
from components.consul_connection import Connection
from components.consul_container import ConsulContainerArgs, Secured
from components.registration import draining
from components.registration.draining import Draining
from components.registration.switching import ServiceLocations
from consul_cluster.client import Consul, NoAnswerError
from consul_cluster.fingerprint import fingerprint
from consul_cluster.ownership import with_owner
from docker_hosts import Publish
from services.checks import Check, HttpCheck, TtlCheck
from services.consul_definition import definition, register_request
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests.fake_consul import FakeConsul, Wrote, running
from tests.forty_services import FORTY, Line, forty_roster
from tests.unit.pulumi_mocks import CONSUL, NETWORK, Deployed, deploy, on_docker, secret
from tests.unit.stacks import SECURED_HOST
from tests.unit.test_consul_connection import sleeping
from tests.unit.test_switching import BILLING, MINIO, check_of, others, owner

NODE = "staging-external"
AGENT, SERVER = "consul-agent-shared", "staging-consul"
OLD, NEW, MANAGEMENT = "old-registration-token", "new-registration-token", "management-token"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
STASH = "pulumi:index:Stash"
MAINTENANCE = f"_service_maintenance:{BILLING.name}"
CONFIG = {"node_name": AGENT}
OUTPUT = "HTTP GET http://isa-billing:8216/health: 200 OK Output: well"


def container(secured: Secured | None = None) -> ConsulContainerArgs:
    publish, folders = Publish("127.0.0.1", 8501), {"/consul/config/services": "a-volume"}
    return ConsulContainerArgs(AGENT, CONSUL, NETWORK, CONFIG, publish, secured, folders)


@dataclass
class Platform:
    """The agent as it is reached before and after it is replaced, and the servers."""

    before: FakeConsul
    after: FakeConsul
    servers: FakeConsul
    wrote: Wrote
    services: Roster = field(default_factory=forty_roster)

    def on_agent(self, line: Line, meta: dict[str, str] | None = None, status: str = "passing") -> None:
        """Have the agent that is to be replaced hold a service."""
        self.before.services[line.name] = {
            "ID": line.name,
            "Service": line.name,
            "Address": line.container,
            "Port": line.port,
            "Tags": line.tags,
            "Meta": {"managed-by": owner(line)} if meta is None else meta,
            "Weights": {"Passing": 1, "Warning": 1},
        }
        self.before.checks[line.check_id] = {
            "Node": AGENT,
            "CheckID": line.check_id,
            "Name": line.check["name"],
            "Status": status,
            "Notes": f"GET {line.target}; deregistered after 1m30s critical",
            "Output": OUTPUT,
            "ServiceID": line.name,
            "Type": "http",
            "Interval": "10s",
        }

    def on_server(self, line: Line, meta: dict[str, str] | None = None, status: str = "passing") -> None:
        """Have the server's agent hold a service, as a run that has drained the agent leaves it."""
        self.servers.services[line.name] = {
            "ID": line.name,
            "Service": line.name,
            "Meta": {"managed-by": owner(line)} if meta is None else meta,
        }
        self.servers.checks[line.check_id] = {**check_of(line, status, OUTPUT), "Node": SERVER}

    def joined(self) -> None:
        """Have the agent's own word of itself with the servers."""
        self.seen({"lan": "10.0.0.2", "wan": "10.0.0.2"})

    def seen(self, tagged_addresses: dict[str, str] | None) -> None:
        """Have the servers' node of the agent."""
        node = {"Node": AGENT, "Meta": {"consul-version": "1.17.2"}, "TaggedAddresses": tagged_addresses}
        self.servers.nodes[AGENT] = {"Node": node, "Services": {}}

    def hooks(self) -> Deployed:
        def program() -> None:
            agent = Connection(self.after.address, NEW)
            places = ServiceLocations(agent, Connection(self.servers.address, MANAGEMENT), NODE, self.services)
            parking = Draining(agent, places)
            parking.drain_before("agent", container(), pulumi.ResourceOptions())
            parking.return_after("agent", container(), pulumi.ResourceOptions())

        return deploy(program)

    def park(self, token: Mapping[str, object] | None = None, container: object = None) -> str:
        """What is said when the engine is about to replace the agent's container."""
        old = {"agent": {"address": self.before.address, **(token or {})}, "container": container or "one"}
        new = {"agent": {"address": self.after.address}, "container": fingerprint('{"port": 8501}')}
        return self.hooks().call("drain-agent", {"input": old}, input=new)

    def leave(self) -> str:
        """What is said when the engine is done with the agent's container."""
        return self.hooks().call("return-to-agent", {"input": "one"}, input="another")


@pytest.fixture(name="platform")
def _platform() -> Iterator[Platform]:
    wrote: Wrote = []
    with (
        running(FakeConsul("old agent", wrote)) as before,
        running(FakeConsul("new agent", wrote)) as after,
        running(FakeConsul("servers", wrote, node=SERVER)) as servers,
    ):
        yield Platform(before, after, servers, wrote)


@pytest.fixture(name="no_pauses")
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture(name="pauses")
def _pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return sleeping(monkeypatch)


def paths(platform: Platform) -> list[tuple[str, str]]:
    """Who was sent what, without the bodies."""
    return [each[:2] for each in platform.wrote]


# What is declared


def declared(agent: Connection, secured: bool = False) -> Deployed:
    def program() -> None:
        places = ServiceLocations(agent, Connection("http://127.0.0.1:8500"), NODE, forty_roster())
        own = None
        if secured:
            keys = ClusterKeys("keys", ClusterKeysArgs("https://127.0.0.1:8500", [SECURED_HOST]))
            own = Secured("on", keys, {"agent": pulumi.Output.secret("agent-token")})
        parking, args = Draining(agent, places), container(own)
        parking.drain_before("agent", args, pulumi.ResourceOptions(protect=True))
        parking.return_after("agent", args, pulumi.ResourceOptions(protect=True))

    return deploy(program)


def test_the_stash_has_how_the_agent_is_reached_and_what_names_its_container() -> None:
    assert declared(Connection("http://127.0.0.1:8501")).sent("agent-parking")["input"] == {
        "agent": {"address": "http://127.0.0.1:8501", "token_fingerprint": None, "ca": None},
        "container": fingerprint(json.dumps(container().stated, sort_keys=True)),
    }


def test_in_a_secured_cluster_the_stash_has_no_secret_but_what_names_it() -> None:
    # It would stay in the state for good, after its rotation too.
    found = declared(Connection("https://127.0.0.1:8501", NEW, AUTHORITY), secured=True).sent("agent-parking")["input"]
    named = {"address": "https://127.0.0.1:8501", "token_fingerprint": secret(fingerprint(NEW)), "ca": AUTHORITY}
    assert found["agent"] == named
    assert re.fullmatch("[0-9a-f]{64}", found["container"]["value"])


@pytest.mark.parametrize(("name", "hook"), [("agent-parking", "drain-agent"), ("agent-parked", "return-to-agent")])
def test_a_stash_takes_options_and_is_bound_to_what_is_done_before_it_is_updated(name: str, hook: str) -> None:
    found = declared(Connection("http://127.0.0.1:8501"))
    request = found.requests[name]
    assert (request.type, request.protect) == (STASH, True)
    assert found.bound(name) == {"before_update": [hook]}


@pytest.mark.parametrize("secured", [True, False])
def test_what_drains_and_what_moves_back_change_together(secured: bool) -> None:
    found = declared(Connection("https://127.0.0.1:8501", NEW, AUTHORITY), secured)
    assert found.sent("agent-parking") == found.sent("agent-parked")


def agent(parking: bool, address: str = "http://127.0.0.1:8501") -> Deployed:
    """The agent's component."""

    def program() -> None:
        api = Connection(address)
        places = ServiceLocations(api, Connection("http://127.0.0.1:8500"), NODE, forty_roster())
        args = ConsulAgentArgs(
            CONSUL, NETWORK, Publish("127.0.0.1", 8501), draining=Draining(api, places) if parking else None
        )
        ConsulAgent("agent", args)

    return on_docker(program)[0]


@pytest.mark.parametrize("name", ["agent-parking", "agent-parked"])
def test_an_agent_with_draining_has_its_stashes(name: str) -> None:
    found = agent(parking=True)
    assert found.requests[name].parent == found.requests["agent-container"].parent


def test_services_move_back_after_the_container_and_whether_it_was_replaced_or_not() -> None:
    # The same image under another name changes what is stated, and no container.
    found = agent(parking=True)
    assert {"agent-parking", "agent-container"} <= found.waits_for("agent-parked")
    assert found.bound("agent-parked") == {"before_update": ["return-to-agent"]}


def test_an_agent_whose_api_registers_the_services_is_waited_for_until_it_answers() -> None:
    found = agent(parking=True)
    assert found.inputs("agent-container")["wait"] is False
    assert found.bound("agent-container") == {"after_create": ["await-consul-agent-shared"]}
    with running(FakeConsul()) as consul:
        assert agent(parking=True, address=consul.address).call("await-consul-agent-shared") == ""


def test_an_agent_that_does_not_answer_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_TIMEOUT", 0.2)
    said = agent(parking=True, address="http://127.0.0.1:9").call("await-consul-agent-shared")
    assert "http://127.0.0.1:9 does not answer after 0.2 s: see docker logs consul-agent-shared" in said


@pytest.mark.parametrize("name", ["agent-image", "agent-data", "agent-config", "agent-carry"])
def test_what_can_fail_comes_before_the_services_are_drained(name: str) -> None:
    assert name in agent(parking=True).waits_for("agent-parking")


def test_the_container_is_replaced_after_its_services_are_drained() -> None:
    assert "agent-parking" in agent(parking=True).waits_for("agent-container")


def test_an_agent_without_draining_has_none() -> None:
    found = agent(parking=False)
    assert (list(found.of_type(STASH)), found.named_hooks, found.bound("agent-container")) == ([], set(), {})


# Draining


def test_a_service_leaves_the_agent_and_then_is_on_the_server_with_the_status_of_its_check(platform: Platform) -> None:
    # The other way round, clients would find it twice.
    platform.on_agent(BILLING, status="warning")
    assert platform.park() == ""
    assert paths(platform) == [
        ("old agent", "/v1/agent/service/deregister/billing_service"),
        ("servers", "/v1/catalog/deregister"),
        ("servers", "/v1/agent/service/register"),
    ]
    body = platform.wrote[-1][2]
    assert (body["ID"], body["Address"], body["Port"]) == ("billing_service", "isa-billing", 8216)
    assert body["Meta"] == {"managed-by": owner(BILLING)}
    [check] = body["Checks"]
    assert (check["CheckID"], check["Status"]) == ("billing_service-health", "warning")
    assert check["HTTP"] == "http://isa-billing:8216/health"


def test_the_server_checks_a_drained_service_each_second(platform: Platform) -> None:
    # So that the status that it brought along is its own at once.
    platform.on_agent(BILLING)
    platform.park()
    assert platform.servers.checks["billing_service-health"]["Interval"] == "1s"


def test_a_service_that_its_agent_cannot_take_out_of_the_catalog_any_more_is_taken_out_there(
    platform: Platform,
) -> None:
    # The servers may have another authority by then.
    platform.on_agent(BILLING)
    platform.servers.nodes[AGENT] = {"Node": {"Node": AGENT, "Meta": {}}, "Services": {"billing_service": {}}}
    assert platform.park() == ""
    assert platform.servers.nodes[AGENT]["Services"] == {}


def test_all_of_the_stacks_services_are_drained(platform: Platform) -> None:
    for line in FORTY:
        platform.on_agent(line)
    assert platform.park() == ""
    assert list(platform.servers.services) == [line.name for line in FORTY]
    assert platform.before.services == {}


def test_what_came_from_the_stacks_files_is_drained_too(platform: Platform) -> None:
    platform.on_agent(BILLING, {"managed-by": "pulumi/consul-staging/test/definition-files"})
    platform.park()
    assert list(platform.servers.services) == ["billing_service"]


def test_what_the_roster_has_dropped_is_drained_too(platform: Platform) -> None:
    # Its resource is deleted after all else.
    platform.services = Roster(services=())
    platform.on_agent(BILLING)
    platform.park()
    assert list(platform.servers.services) == ["billing_service"]


@others
def test_anothers_service_stays_with_the_agent(platform: Platform, meta: dict[str, str]) -> None:
    platform.on_agent(BILLING, meta)
    platform.on_agent(MINIO)
    assert platform.park() == ""
    assert list(platform.before.services) == ["billing_service"]
    assert list(platform.servers.services) == ["minio_grpc_service"]


@pytest.mark.parametrize(
    ("token", "sent"),
    [
        ({"token_fingerprint": None}, None),
        ({"token_fingerprint": fingerprint(OLD)}, OLD),
        ({"token_fingerprint": secret(fingerprint(OLD))}, OLD),
        ({"token_fingerprint": fingerprint("gone")}, None),
        ({"token": secret(OLD)}, OLD),
        ({"token": None}, None),
    ],
    ids=["none", "plain", "secret", "gone", "of an earlier release", "none of an earlier release"],
)
def test_the_agent_is_asked_at_its_old_address_with_its_old_token_and_the_servers_with_theirs(
    platform: Platform, token: Mapping[str, object], sent: str | None
) -> None:
    platform.on_agent(BILLING)
    platform.servers.secrets = {"an-accessor": NEW, "another-accessor": OLD}
    assert platform.park(token) == ""
    assert platform.before.tokens == {sent}
    assert (platform.servers.tokens, platform.after.tokens) == ({MANAGEMENT}, set())


@pytest.mark.parametrize(
    "container", [fingerprint('{"port": 8501}'), {"port": 8501}], ids=["today", "of an earlier release"]
)
def test_where_only_how_the_agent_is_reached_is_new_its_container_stays_and_nothing_is_drained(
    platform: Platform, container: object
) -> None:
    platform.on_agent(BILLING)
    assert platform.park(container=container) == ""
    assert (platform.wrote, platform.before.tokens) == ([], set())


@pytest.mark.usefixtures("no_pauses")
def test_where_the_agent_does_not_answer_nothing_is_drained(platform: Platform) -> None:
    platform.on_agent(BILLING)
    platform.before.address = "http://127.0.0.1:9"
    assert platform.park() == ""
    assert platform.wrote == []


def test_nothing_is_drained_before_the_servers_have_a_leader(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They may have been replaced right before.
    def sleep(_: float) -> None:
        assert platform.wrote == []
        platform.servers.leader = "10.0.0.1:8300"

    slept = sleeping(monkeypatch, sleep)
    platform.servers.leader = ""
    platform.on_agent(BILLING)
    assert platform.park() == ""
    assert (slept, list(platform.servers.services)) == ([0.1], ["billing_service"])


def test_what_the_agent_refuses_stops_the_replacement_with_consuls_own_words(platform: Platform) -> None:
    platform.before.refuses = (403, "Permission denied")
    assert platform.park() == (f"GET {platform.before.address}/v1/agent/checks: Consul answers 403: Permission denied")


def test_a_service_that_the_server_refuses_stops_the_replacement_and_is_on_the_agent_again(
    platform: Platform,
) -> None:
    platform.on_agent(BILLING, status="warning")
    platform.on_agent(MINIO)
    platform.servers.refuses_ids = {"billing_service"}
    assert "Consul answers " in platform.park()
    assert list(platform.before.services) == ["minio_grpc_service", "billing_service"]
    assert platform.before.checks["billing_service-health"]["Status"] == "warning"


def test_a_service_that_the_servers_do_not_let_go_is_on_the_agent_again(platform: Platform) -> None:
    platform.on_agent(BILLING)
    platform.servers.refuses_paths = {"/v1/catalog/deregister"}
    assert "/v1/catalog/deregister: Consul answers 403" in platform.park()
    assert list(platform.before.services) == ["billing_service"]


@pytest.mark.usefixtures("no_pauses")
def test_servers_that_go_away_in_between_stop_the_replacement(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.on_agent(BILLING)

    def gone(_consul: Consul, _body: object) -> None:
        raise NoAnswerError("no answer")

    monkeypatch.setattr(Consul, "register", gone)
    assert platform.park() == "billing_service is between agent and server: no answer. Run it again"


@pytest.mark.usefixtures("no_pauses")
def test_a_service_is_on_the_agent_again_where_the_servers_go_away_in_between(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.on_agent(BILLING)

    def gone_for(method: str) -> None:
        real = getattr(Consul, method)

        def call(consul: Consul, argument: object) -> object:
            if consul.address == platform.servers.address:
                raise NoAnswerError("no answer")
            return real(consul, argument)

        monkeypatch.setattr(Consul, method, call)

    gone_for("register")
    gone_for("deregister")
    assert platform.park() == "billing_service is between agent and server: no answer. Run it again"
    assert list(platform.before.services) == ["billing_service"]


def test_an_agent_in_maintenance_is_not_drained(platform: Platform) -> None:
    # Clients are to find none of its services, on the server either.
    platform.on_agent(BILLING)
    platform.before.checks["_node_maintenance"] = {"CheckID": "_node_maintenance", "ServiceID": "", "Output": ""}
    assert (platform.park(), platform.wrote) == ("", [])


def take_out(consul: FakeConsul, line: Line) -> None:
    """Have an agent that holds a service hold it in maintenance mode."""
    consul.add_check(consul.node, line.name, CheckID=MAINTENANCE, Notes="upgrade", Status="critical")


def test_a_service_in_maintenance_is_so_on_the_server_before_it_leaves_the_agent(platform: Platform) -> None:
    # Thus a run that is killed in between does not end it.
    platform.on_agent(BILLING)
    take_out(platform.before, BILLING)
    assert platform.park() == ""
    assert paths(platform) == [
        ("servers", "/v1/agent/service/register"),
        ("old agent", f"/v1/agent/service/deregister/{BILLING.name}"),
        ("servers", "/v1/catalog/deregister"),
    ]


def test_a_service_in_maintenance_is_found_by_nobody_before_the_server_knows_of_it(platform: Platform) -> None:
    platform.on_agent(BILLING)
    take_out(platform.before, BILLING)
    assert platform.park() == ""
    [check, maintenance] = platform.wrote[0][2]["Checks"]
    assert (check["CheckID"], check["Status"]) == (BILLING.check_id, "passing")
    assert (maintenance["CheckID"], maintenance["Notes"]) == (MAINTENANCE, "upgrade")
    assert maintenance["Status"] == "critical"


def test_a_service_in_maintenance_that_the_server_takes_only_in_part_is_on_the_agent_alone(platform: Platform) -> None:
    platform.on_agent(BILLING)
    take_out(platform.before, BILLING)
    platform.servers.refuses_paths = {"/v1/agent/checks"}
    assert "Consul answers 403" in platform.park()
    assert (list(platform.before.services), platform.servers.services) == ([BILLING.name], {})
    assert MAINTENANCE in platform.before.checks


@others
def test_an_id_of_others_on_the_server_stops_the_replacement_before_a_service_is_drained(
    platform: Platform, meta: dict[str, str]
) -> None:
    platform.on_agent(MINIO)
    platform.on_agent(BILLING)
    platform.on_server(BILLING, meta)
    assert f"{platform.servers.address} has billing_service of another party" in platform.park()
    assert platform.wrote == []


def test_a_check_of_others_on_the_server_with_an_id_of_the_stacks_stops_the_replacement_too(platform: Platform) -> None:
    platform.on_agent(BILLING)
    platform.servers.services["billing-itself"] = {"ID": "billing-itself", "Service": BILLING.name, "Meta": {}}
    theirs = {**check_of(BILLING, "passing", OUTPUT), "Node": SERVER, "ServiceID": "billing-itself"}
    platform.servers.checks[BILLING.check_id] = theirs
    assert f"{platform.servers.address} has {BILLING.check_id} of another party" in platform.park()
    assert platform.wrote == []


def checks_on_server(platform: Platform, check: Check) -> list[dict[str, Any]]:
    """Drain an agent that has a service with this check; returns what the server is to check then."""
    service = USER.service(Environment("staging"), "billing", 8216, checks=(check,))
    platform.services = Roster(services=(service,))
    platform.before.register(register_request(definition(with_owner(service, owner(BILLING)))))
    assert platform.park() == ""
    checks: list[dict[str, Any]] = next(
        body["Checks"] for _, path, body in platform.wrote if path.endswith("/register")
    )
    return checks


def test_what_the_agent_does_not_show_of_a_check_moves_along(platform: Platform) -> None:
    check = HttpCheck(method="POST", header={"X-Probe": ("consul",)}, failures_before_critical=3)
    [moved] = checks_on_server(platform, check)
    assert (moved["Method"], moved["Header"], moved["FailuresBeforeCritical"]) == ("POST", {"X-Probe": ["consul"]}, 3)
    assert moved["Interval"] == "1s"


def test_a_check_that_others_have_added_to_a_service_stays_behind(platform: Platform) -> None:
    platform.on_agent(BILLING)
    theirs = {"CheckID": "theirs", "Name": "theirs", "Status": "passing", "Notes": "", "Output": "", "Type": "ttl"}
    platform.before.checks["theirs"] = {"Node": AGENT, "ServiceID": BILLING.name, **theirs}
    assert platform.park() == ""
    [body] = [body for _, path, body in platform.wrote if path.endswith("/register")]
    assert [check["CheckID"] for check in body["Checks"]] == [BILLING.check_id]


def test_a_ttl_check_moves_along_as_it_is(platform: Platform) -> None:
    [moved] = checks_on_server(platform, TtlCheck())
    assert (moved["TTL"], "Interval" in moved) == ("30s", False)


# Coming back


@pytest.mark.parametrize("status", ["passing", "warning", "critical"])
def test_a_service_moves_back_to_the_agent_as_stated_and_with_its_status(platform: Platform, status: str) -> None:
    platform.joined()
    platform.on_server(BILLING, status=status)
    assert platform.leave() == ""
    assert paths(platform) == [
        ("servers", "/v1/agent/service/deregister/billing_service"),
        ("new agent", "/v1/agent/service/register"),
    ]
    body = platform.wrote[-1][2]
    assert [(check["Status"], check["Interval"]) for check in body["Checks"]] == [(status, "10s")]
    assert body["Meta"] == {**BILLING.meta, "managed-by": owner(BILLING)}


def test_a_service_in_maintenance_is_so_on_the_new_agent_before_it_leaves_the_server(platform: Platform) -> None:
    platform.joined()
    platform.on_server(BILLING)
    take_out(platform.servers, BILLING)
    assert platform.leave() == ""
    assert paths(platform) == [
        ("new agent", "/v1/agent/service/register"),
        ("servers", f"/v1/agent/service/deregister/{BILLING.name}"),
    ]


def test_a_service_that_a_killed_run_left_with_both_keeps_the_maintenance_that_the_agent_has(
    platform: Platform,
) -> None:
    platform.joined()
    platform.on_server(BILLING)
    platform.after.add(AGENT, BILLING.name, BILLING.name)
    take_out(platform.after, BILLING)
    assert platform.leave() == ""
    assert platform.after.checks.keys() == {BILLING.check_id, MAINTENANCE}
    assert platform.after.checks[MAINTENANCE]["Notes"] == "upgrade"


def test_a_service_that_the_roster_has_dropped_does_not_come_back(platform: Platform) -> None:
    platform.services = forty_roster(names=(MINIO.name,))
    platform.joined()
    platform.on_server(BILLING)
    assert platform.leave() == ""
    assert (platform.servers.services, platform.after.services) == ({}, {})


@others
def test_anothers_service_stays_with_the_server(platform: Platform, meta: dict[str, str]) -> None:
    platform.joined()
    platform.on_server(MINIO, meta)
    platform.on_server(BILLING)
    assert platform.leave() == ""
    assert list(platform.servers.services) == ["minio_grpc_service"]
    assert list(platform.after.services) == ["billing_service"]


def test_the_new_agent_gets_the_new_token_and_the_servers_theirs(platform: Platform) -> None:
    platform.joined()
    platform.on_server(BILLING)
    platform.leave()
    assert (platform.after.tokens, platform.servers.tokens, platform.before.tokens) == ({NEW}, {MANAGEMENT}, set())


def test_an_agent_that_no_longer_answers_when_a_service_is_to_come_back_is_an_error(
    platform: Platform, no_pauses: None
) -> None:
    platform.joined()
    platform.on_server(BILLING)
    platform.after.address = "http://127.0.0.1:9"
    said = platform.leave()
    assert said.startswith("the services stay where they are: GET http://127.0.0.1:9/v1/agent/services: no answer: ")
    assert list(platform.servers.services) == ["billing_service"]


# Until the agent has joined


@pytest.mark.parametrize("addresses", [None, {}], ids=["null", "empty"])
def test_the_agent_is_waited_for_until_its_node_has_the_addresses_that_it_registers_itself(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str] | None
) -> None:
    # The servers make a node of a member that they see, with a meta: what the agent then holds is not there yet.
    def sleep(_: float) -> None:
        assert platform.wrote == []
        platform.seen(addresses)
        if len(slept) == 3:
            platform.joined()

    slept = sleeping(monkeypatch, sleep)
    platform.on_server(BILLING)
    assert platform.leave() == ""
    assert (slept, list(platform.after.services)) == ([0.1, 0.1, 0.1], ["billing_service"])


def test_an_agent_that_does_not_join_is_an_error_and_the_server_keeps_its_services(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "_JOIN_SECONDS", 0.3)
    platform.on_server(BILLING)
    assert platform.leave() == (
        "consul-agent-shared has not joined the servers after 0.3 s: staging-consul checks its services meanwhile. "
        "Its log says why: docker logs consul-agent-shared. The next run moves them back"
    )
    assert platform.wrote == []
