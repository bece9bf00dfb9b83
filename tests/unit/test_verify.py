"""What `verify` says of a Consul, area by area."""

import copy
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from consul_cluster import client as consul_api
from operations.pulumi_engine import Engine
from operations.stack import Stack
from operations.verify import advice
from operations.verify import verify as command
from operations.verify.findings import Finding
from operations.verify.observed_state import Place
from operations.verify.prune import prune
from operations.verify.report import Report, report
from services.checks import HttpCheck
from services.environment import Environment
from services.field_types import OWNER_KEY
from services.roster import Roster
from services.user_services import USER
from tests.fake_consul import AGENT, SERVER, FakeConsul, running, serve
from tests.forty_services import forty_roster
from tests.unit.stacks import consul_of, fake_outputs, fake_state, only_stack, stack_at

OURS = "pulumi/consul-staging/local/registration-order_service"
IN_CONTAINER = "docker exec -e CONSUL_HTTP_TOKEN consul-agent-shared consul"
CHECK = '{"Node": "staging-external", "CheckID": "_service_maintenance:billing_service"}'
OTHERS = "pulumi/consul-staging/other/registration-order_service"


@dataclass
class Case:
    consul: FakeConsul
    stack: Stack

    def look(self) -> Report:
        return report(self.stack)

    def registers_itself(self, service_id: str, name: str, **fields: object) -> None:
        """Have a service register itself with the server, at the address that the roster has, or at another one."""
        [service] = [each for each in self.stack.roster.services if each.name == name]
        self.consul.add(SERVER, service_id, name, **{"Address": service.host, "Port": service.port, **fields})

    def finding(self, area: str) -> Finding:
        """The one finding of a look, which must be of an area."""
        found = {verdict.area: list(verdict.findings) for verdict in self.look().verdicts if verdict.findings}
        assert list(found) == [area], found
        assert len(found[area]) == 1, found
        return found[area][0]


@pytest.fixture(params=["agent", "files", "catalog"], name="any_case")
def _any_case(request: pytest.FixtureRequest) -> Iterator[Case]:
    yield from cases(request.param)


@pytest.fixture(name="case")
def _case() -> Iterator[Case]:
    yield from cases("agent")


@pytest.fixture(name="external")
def _external() -> Iterator[Case]:
    yield from cases("catalog")


@pytest.fixture(name="forty")
def _forty() -> Iterator[Case]:
    yield from cases("agent", forty_roster(host="127.0.0.3"))


def cases(registration: str, roster: Roster | None = None) -> Iterator[Case]:
    config: dict[str, Any] = {"registration": registration, "docker": registration != "agent", "roster": roster}
    consul = consul_of(stack_at("http://127.0.0.1:1", "http://127.0.0.1:2", **config))
    with serve(consul.answer) as agent, serve(consul.answer) as server:
        yield Case(consul, stack_at(agent, server, **config))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_api, "_RETRY_PAUSES", ())


def nobodys_address() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def summaries(found: Report) -> dict[str, str]:
    return {verdict.area: verdict.summary for verdict in found.verdicts}


# All is well


def test_a_cluster_that_is_as_stated_has_no_finding(any_case: Case) -> None:
    found = any_case.look()
    assert [finding for verdict in found.verdicts for finding in verdict.findings] == []
    assert found.well


@pytest.mark.parametrize("registration", ["agent", "files", "catalog"])
def test_a_service_without_a_port_is_well(registration: str) -> None:
    report_service = USER.service(Environment("staging"), "report", None, checks=(HttpCheck(port=9000),))
    for case in cases(registration, Roster(services=(report_service,))):
        assert case.look().well


def test_the_summary_has_a_line_an_area(forty: Case) -> None:
    assert summaries(forty.look()) == {
        "APIs": "2 of 2 answer",
        "members": "2 of 2 alive: staging-consul, consul-agent-shared",
        "registrations": "40 of 40 on consul-agent-shared, with all fields and checks",
        "health": "40 of the 40 registered pass, by checks that ran",
        "discovery": "40 of the 40 that pass are found through the agent",
        "metrics": "1 for Prometheus",
        "others": "nothing that the roster does not state",
    }


def test_it_asks_for_the_catalog_in_bulk(case: Case) -> None:
    case.look()
    paths = [request.path for request in case.consul.requests]
    apart = [path for path in paths if not path.startswith("/v1/health/service/")]
    assert len(apart) == 8, apart


def test_without_the_agents_api_the_catalog_is_what_is_judged(case: Case) -> None:
    case.stack = stack_at(None, case.stack.server.address, registration="files", docker=True)
    for service in case.consul.services.values():
        service["Meta"][OWNER_KEY] = "pulumi/consul-staging/local/definition-files"
    found = case.look()
    assert found.well
    assert summaries(found)["metrics"] == "not looked at: the agent's API is not published"


# APIs and members


def test_a_silent_agent_is_one_finding_and_hides_nothing_else(case: Case) -> None:
    case.stack = stack_at(nobodys_address(), case.stack.server.address)
    finding = case.finding("APIs")
    assert finding.subject == (case.stack.agent and case.stack.agent.address)
    assert "no answer" in finding.found
    assert "make up STACK=local" in finding.advice
    assert not case.look().well


def test_each_of_several_servers_has_to_answer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    answering, silent = case.stack.server, consul_api.Consul(nobodys_address())
    monkeypatch.setattr(Stack, "servers", property(lambda _: {SERVER: answering, "staging-consul-h2": silent}))
    found = summaries(case.look())
    assert (found["APIs"], found["health"][:2]) == ("2 of 3 answer", "5 ")


def test_an_agent_that_has_lost_the_servers_looks_for_them_in_an_up_or_when_it_is_restarted() -> None:
    # They came back at other addresses. It runs: docker start would do nothing.
    with running(FakeConsul(refuses=(500, "No known Consul servers"))) as lost:
        trial = stack_at(lost.address, nobodys_address(), docker=True)
        stack = replace(trial, settings=trial.settings.model_copy(update={"stand_ins": False}))
        [apis] = [verdict for verdict in report(stack).verdicts if verdict.area == "APIs"]
    advised = {finding.subject: finding.advice for finding in apis.findings}
    assert advised[lost.address] == (
        "pulumi up --stack local has the agent look for the servers; where Consul asks for tokens, "
        "docker restart consul-agent-shared"
    )
    assert "docker start staging-consul" in advised[stack.server.address]


def test_a_silent_server_leaves_unseen_what_the_catalog_would_show(case: Case) -> None:
    agent = case.stack.agent
    assert agent
    case.stack = stack_at(agent.address, nobodys_address())
    case.finding("APIs")
    unseen = [verdict.area for verdict in case.look().verdicts if not verdict.seen and not verdict.well]
    assert unseen == ["members", "registrations", "health", "discovery", "others"]


def test_a_403_is_reported_in_consuls_words_with_the_variable_that_gives_a_token(case: Case) -> None:
    case.consul.refuses = (403, "Permission denied")
    found = {finding.subject: finding for verdict in case.look().verdicts for finding in verdict.findings}
    assert set(found) == {case.stack.consul.address, case.stack.server.address}
    assert "Consul answers 403: Permission denied" in found[case.stack.server.address].found
    assert "CONSUL_HTTP_TOKEN" in found[case.stack.server.address].advice


@pytest.mark.parametrize(("node", "role"), [(SERVER, "consul"), (AGENT, "node")])
def test_a_member_that_is_not_there_is_a_finding(case: Case, node: str, role: str) -> None:
    del case.consul.members[node]
    assert case.finding("members") == Finding(node, f"alive, {role}", "no such member", "make up STACK=local")


@pytest.mark.parametrize(("status", "word"), [(2, "leaving"), (3, "left"), (4, "failed")])
def test_a_member_that_is_not_alive_is_a_finding(case: Case, status: int, word: str) -> None:
    case.consul.members[AGENT]["Status"] = status
    assert case.finding("members").found == f"{word}, node"


def test_an_agent_in_the_servers_part_is_a_finding(case: Case) -> None:
    case.consul.members[AGENT]["Tags"]["role"] = "consul"
    assert case.finding("members").found == "alive, consul"


# Registrations


def test_a_service_that_is_not_registered_is_one_finding(any_case: Case) -> None:
    node = any_case.stack.node
    any_case.consul.remove(node, "billing_service")
    finding = any_case.finding("registrations")
    assert (finding.subject, finding.expected) == ("billing_service", f"registered on {node} at 127.0.0.3:8216")
    assert finding.found == "it is not registered there"
    assert finding.advice == "make up STACK=local"


@pytest.mark.parametrize(
    ("registration", "what_to_do"),
    [
        ("agent", "make start-service SERVICE=billing_service STACK=local, then make heal STACK=local"),
        ("catalog", "docker start isa-billing, and see docker logs isa-billing, then make up STACK=local"),
        ("files", f"docker start isa-billing, and see docker logs isa-billing, then {IN_CONTAINER} reload"),
    ],
)
def test_a_service_that_is_deployed_and_gone_is_to_be_started_and_registered_again_without_a_deployment(
    registration: str, what_to_do: str
) -> None:
    for case in cases(registration):
        case.stack = replace(case.stack, engine=fake_state("billing_service"))
        case.consul.remove(case.stack.node, "billing_service")
        assert case.finding("registrations").advice == what_to_do


def test_what_the_agent_has_and_the_catalog_has_not_may_need_a_minute_alone(case: Case) -> None:
    case.consul.node_checks.clear()
    agents = copy.deepcopy(case.consul)
    case.consul.remove(AGENT, "billing_service")
    with serve(agents.answer) as agent:
        case.stack = stack_at(agent, case.stack.server.address)
        finding = case.finding("registrations")
    assert finding.found == "the agent has it, and the catalog does not"
    assert finding.advice.startswith("wait a minute, and verify again: the agent writes it again. If it stays away, ")


def test_a_service_that_an_interrupted_up_left_on_the_server_is_one_finding_and_no_stray(case: Case) -> None:
    meta = case.consul.services["billing_service"]["Meta"]
    case.consul.remove(AGENT, "billing_service")
    case.consul.add(SERVER, "billing_service", "billing_service", {"Status": "passing"}, Meta=meta)
    finding = case.finding("registrations")
    assert finding.found == "it is on staging-consul, which checks it since an `up` was interrupted"
    assert finding.advice == "make up STACK=local: it moves back"


def test_a_registration_that_the_service_itself_put_in_the_place_of_the_stacks_is_named(case: Case) -> None:
    case.consul.remove(AGENT, "billing_service")
    case.consul.add(AGENT, "billing_service-isa-8216", "billing_service", Address="127.0.0.3", Port=8216, Tags=[])
    found = {verdict.area: verdict.findings for verdict in case.look().verdicts if verdict.findings}
    assert found.keys() == {"registrations", "others"}
    [finding] = found["registrations"]
    assert finding.found == "billing_service-isa-8216, which the service itself registered, stands in its place"
    assert finding.advice == ("deploy a release of isa-billing that does not register itself; then make up STACK=local")


def test_an_id_that_the_service_itself_holds_is_not_to_be_mended_by_a_deployment_alone(case: Case) -> None:
    del case.consul.services["billing_service"]["Meta"][OWNER_KEY]
    finding = case.finding("registrations")
    assert "meta managed-by none" in finding.found
    assert finding.advice.startswith("deploy a release of isa-billing that does not register itself; then curl -X PUT ")


def test_nothing_deployed_is_one_finding(case: Case) -> None:
    case.consul.services.clear()
    finding = case.finding("registrations")
    assert (finding.subject, finding.advice) == ("all 5", "make up STACK=local")


def test_all_that_were_deployed_and_are_gone_are_to_be_started_first(case: Case) -> None:
    case.consul.services.clear()
    settings = case.stack.settings.model_copy(update={"sandbox": False})
    case.stack = replace(case.stack, engine=fake_state("billing_service"), settings=settings)
    assert case.finding("registrations").advice == "start their containers, then make heal STACK=local"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("Service", "billing", ("name billing_service", "name billing")),
        ("Address", "127.0.0.9", ("address 127.0.0.3", "address 127.0.0.9")),
        ("Port", 9999, ("port 8216", "port 9999")),
        ("Tags", ["v1"], ("tags [v1, fastapi, user-microservice, staging]", "tags [v1]")),
    ],
)
def test_a_field_that_differs_is_named_with_both_values(
    any_case: Case, key: str, value: object, said: tuple[str, str]
) -> None:
    any_case.consul.service(any_case.stack.node, "billing_service")[key] = value
    found = {verdict.area: verdict.findings for verdict in any_case.look().verdicts if verdict.findings}
    (finding,) = found["registrations"]
    assert finding.expected == said[0]
    assert finding.found.endswith(f"the catalog: {said[1]}")


@pytest.mark.parametrize("mark", ["", "pulumi/consul-staging/other/registration-billing_service"])
def test_an_owner_that_is_another_party_is_a_finding(any_case: Case, mark: str) -> None:
    any_case.consul.service(any_case.stack.node, "billing_service")["Meta"][OWNER_KEY] = mark
    assert any_case.finding("registrations").expected.startswith("meta managed-by pulumi/consul-staging/local/")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("Name", "other", ("name billing_service HTTP", "name other")),
        (
            "Notes",
            "GET http://127.0.0.3:8216/health; deregistered after 2m critical",
            ("deregister_critical_service_after 1m30s", "deregister_critical_service_after 2m"),
        ),
    ],
)
def test_a_check_that_differs_at_the_agent_is_named(case: Case, key: str, value: str, said: tuple[str, str]) -> None:
    case.consul.check(AGENT, "billing_service-health")[key] = value
    finding = case.finding("registrations")
    assert finding.expected == f"billing_service-health {said[0]}"
    assert finding.found == f"the agent and the catalog: billing_service-health {said[1]}"


@pytest.mark.parametrize(("key", "value", "stated"), [("Interval", "20s", "10s"), ("Timeout", "9s", "5s")])
def test_how_often_a_check_runs_is_taken_from_the_agent_since_the_servers_learn_it_late(
    case: Case, key: str, value: str, stated: str
) -> None:
    case.consul.check(AGENT, "billing_service-health")[key] = value
    finding = case.finding("registrations")
    assert finding.expected == f"billing_service-health {key.lower()} {stated}"
    assert finding.found == f"the agent: billing_service-health {key.lower()} {value}"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("Interval", "20s", ("interval 10s", "interval 20s")),
        ("Timeout", "9s", ("timeout 5s", "timeout 9s")),
        ("DeregisterCriticalServiceAfter", "2m0s", ("deregister_critical_service_after 1m30s", "after 2m0s")),
    ],
)
def test_a_check_whose_definition_differs_in_the_catalog_is_named(
    external: Case, key: str, value: str, said: tuple[str, str]
) -> None:
    external.consul.check("staging-external", "billing_service-health")["Definition"][key] = value
    finding = external.finding("registrations")
    assert finding.expected == f"billing_service-health {said[0]}"
    assert finding.found.endswith(said[1])


def test_a_check_that_nobody_states_is_a_finding(case: Case) -> None:
    case.consul.checks["extra"] = {**case.consul.checks["billing_service-health"], "CheckID": "extra"}
    finding = case.finding("registrations")
    assert finding.expected == "nothing more"
    assert "extra (name billing_service HTTP" in finding.found


def test_a_service_that_the_agent_does_not_have_is_a_finding_that_explains_what_follows(case: Case) -> None:
    case.consul.nodes[AGENT]["Services"]["billing_service"] = case.consul.services.pop("billing_service")
    case.consul.node_checks.append(case.consul.checks.pop("billing_service-health"))
    assert case.finding("registrations").found == (
        "the catalog has it, and the agent does not: within 2 minutes, it vanishes there too"
    )


# Health, discovery, metrics


def test_a_check_that_fails_is_reported_with_its_output_and_the_command_that_helps(case: Case) -> None:
    case.consul.set_status("billing_service-health", "critical", "Get http://127.0.0.3:8216/health: refused")
    finding = case.finding("health")
    assert finding.expected == "passing: HTTP GET http://127.0.0.3:8216/health: 200 OK"
    assert finding.found == "critical: Get http://127.0.0.3:8216/health: refused"
    assert finding.advice == "make start-service SERVICE=billing_service STACK=local; its check runs every 10s"


def test_of_a_service_that_answers_the_answer_is_named_and_no_start_advised(case: Case) -> None:
    output = "HTTP GET http://127.0.0.3:8216/health: 404 Not Found Output: no such page"
    case.consul.set_status("billing_service-health", "critical", output)
    assert case.finding("health").advice == (
        "the service runs, and answers 404 Not Found there: mend it, or the path of its check in "
        "services/user_services.py; its check runs every 10s"
    )


def test_of_a_service_whose_check_passed_against_another_target_no_start_is_advised(case: Case) -> None:
    output = "HTTP GET http://127.0.0.3:8216/old: 200 OK Output: "
    case.consul.set_status("billing_service-health", "passing", output)
    found = {verdict.area: verdict.findings for verdict in case.look().verdicts}
    assert found["health"][0].advice == (
        "that is of another target: wait for its next run, and if it stays so, make up STACK=local; "
        "its check runs every 10s"
    )


def test_of_a_check_of_another_target_that_is_not_deployed_yet_a_deployment_is_advised(case: Case) -> None:
    case.consul.check(AGENT, "billing_service-health").update(
        Output="HTTP GET http://127.0.0.3:8216/old: 200 OK Output: ",
        Notes="GET http://127.0.0.3:8216/old; deregistered after 1m30s critical",
    )
    found = {verdict.area: verdict.findings for verdict in case.look().verdicts if verdict.findings}
    assert found.keys() == {"registrations", "health"}
    assert found["health"][0].advice == (
        "that is of another target, and the stated one is not deployed yet: make up STACK=local; "
        "its check runs every 10s"
    )
    assert summaries(case.look())["health"].startswith("4 of the 5 registered pass")
    assert summaries(case.look())["discovery"] == "4 of the 4 that pass are found through the agent"


@pytest.mark.parametrize("published", [True, False], ids=["agent published", "agent not published"])
def test_an_output_that_the_servers_have_not_got_yet_is_no_finding(published: bool) -> None:
    # They get a new output with the same status only after minutes.
    config: dict[str, Any] = {"registration": "files", "docker": True}
    consul = consul_of(stack_at("http://127.0.0.1:1", "http://127.0.0.1:2", **config))
    servers = copy.deepcopy(consul)
    old = "HTTP GET http://127.0.0.3:8215/health: 200 OK Output: ok"
    servers.check(AGENT, "billing_service-health")["Output"] = old
    with serve(consul.answer) as agent, serve(servers.answer) as server:
        assert report(stack_at(agent if published else None, server, **config)).well


def test_of_a_container_the_command_that_helps_is_dockers(external: Case) -> None:
    external.consul.set_status("billing_service-health", "critical", "refused")
    assert "docker start isa-billing" in external.finding("health").advice


@pytest.mark.parametrize(
    ("check", "output"),
    [
        ("billing_service-health", ""),
        ("billing_service-health", "HTTP GET http://127.0.0.3:8216/healthy: 200 OK Output: "),
        ("minio_grpc_service-tcp", "TCP connect 127.0.0.3:50053: Success"),
    ],
)
def test_a_check_that_passes_without_having_run_is_a_finding(case: Case, check: str, output: str) -> None:
    case.consul.check(AGENT, check)["Output"] = output
    found = {verdict.area: verdict.findings for verdict in case.look().verdicts if verdict.findings}
    assert found["health"][0].found.startswith("passing: ")


@pytest.mark.parametrize(("path", "well"), [("", False), ("healthy", True)])
def test_of_consul_esm_an_output_may_be_of_the_target_before(external: Case, path: str, well: bool) -> None:
    # It writes an output whose status stays the same after minutes alone.
    output = f"HTTP GET http://isa-billing:8216/{path}: 200 OK Output: " if path else ""
    external.consul.check("staging-external", "billing_service-health")["Output"] = output
    found = {verdict.area for verdict in external.look().verdicts if verdict.findings}
    assert ("health" not in found) is well


@pytest.mark.parametrize("status", ["warning", "critical"])
def test_a_check_that_ran_and_does_not_pass_is_a_finding(case: Case, status: str) -> None:
    case.consul.set_status("billing_service-health", status, "HTTP GET http://127.0.0.3:8216/health: 200 OK Output: ")
    assert case.finding("health").found.startswith(f"{status}: ")


def test_a_node_in_maintenance_is_a_finding(case: Case) -> None:
    off = {"CheckID": "_node_maintenance", "Name": "Node Maintenance Mode", "Status": "critical", "Notes": "upgrade"}
    case.consul.add_check(AGENT, "", **off)
    finding = case.finding("health")
    assert (finding.subject, finding.found) == (AGENT, "in maintenance: upgrade")
    agent = case.stack.agents[AGENT].address
    assert finding.advice == f"end it: consul maint -http-addr={agent} -disable"
    assert summaries(case.look())["health"] == "0 of the 5 registered pass, by checks that ran"


def test_a_service_in_maintenance_is_a_finding_that_says_how_to_end_it(any_case: Case) -> None:
    off = {"CheckID": "_service_maintenance:billing_service", "Status": "critical", "Notes": "upgrade"}
    any_case.consul.add_check(any_case.stack.node, "billing_service", **off)
    finding = any_case.finding("health")
    assert (finding.subject, finding.found) == ("billing_service", "in maintenance: upgrade")
    commands = {
        "agent": f"consul maint -http-addr={any_case.stack.consul.address} -disable -service=billing_service",
        "files": f"{IN_CONTAINER} maint -disable -service=billing_service",
        "catalog": f"curl -X PUT -d '{CHECK}' {any_case.stack.server.address}/v1/catalog/deregister",
    }
    assert finding.advice == f"end it: {commands[any_case.stack.settings.registration]}"


@pytest.mark.real_roster
def test_the_maintenance_of_a_drained_host_ends_with_return_host() -> None:
    check = {"CheckID": "_node_maintenance", "ServiceID": "", "Notes": "drain-host h3"}
    assert advice.end_maintenance(Stack.load("staging"), AGENT, check) == (
        ".local/venv/bin/python -m operations return-host h3 --stack staging"
    )


def test_of_an_agent_that_died_no_service_passes(case: Case) -> None:
    case.consul.add_check(AGENT, "", CheckID="serfHealth", Name="Serf Health Status", Status="critical", Output="dead")
    case.consul.members[AGENT]["Status"] = 4
    found = {verdict.area: verdict for verdict in case.look().verdicts if verdict.findings}
    assert found["health"].summary == "0 of the 5 registered pass, by checks that ran"
    assert found["health"].findings[0].advice == "have it alive: make up STACK=local"


def test_any_2xx_is_a_check_that_ran(case: Case) -> None:
    case.consul.set_status(
        "billing_service-health", "passing", "HTTP GET http://127.0.0.3:8216/health: 204 No Content Output: "
    )
    assert case.look().well


def test_what_passes_and_is_not_discovered_is_a_finding(any_case: Case) -> None:
    any_case.consul.undiscovered.add("billing_service")
    finding = any_case.finding("discovery")
    assert finding.expected == f"found at {any_case.stack.consul.address}/v1/health/service/billing_service?passing"


def test_an_agent_without_prometheus_metrics_is_a_finding(case: Case) -> None:
    case.consul.metrics = (415, "Prometheus is not enabled since its retention time is not positive")
    finding = case.finding("metrics")
    assert "Prometheus is not enabled" in finding.found
    assert "prometheus_retention_time" in finding.advice


# What the roster does not state


def test_a_service_that_the_roster_does_not_know_is_a_finding(any_case: Case) -> None:
    any_case.consul.add(SERVER, "web-1", "web")
    finding = any_case.finding("others")
    assert (finding.subject, finding.found) == (
        "web",
        "id web-1 on staging-consul, at 10.0.0.9:1, registered by the service itself, over the API",
    )
    assert "add it to services/" in finding.advice


def test_consul_esm_is_stated_where_it_runs_the_checks_alone(case: Case) -> None:
    case.consul.add(AGENT, "consul-esm:1", "consul-esm")
    assert case.finding("others").subject == "consul-esm"


@pytest.mark.parametrize(
    ("meta", "origin"),
    [
        ({OWNER_KEY: OURS}, f"left behind by this stack ({OURS})"),
        ({OWNER_KEY: OTHERS}, f"another party's ({OTHERS})"),
        ({}, "at 10.0.0.9:1, registered by the service itself, over the API"),
    ],
)
def test_a_duplicate_on_the_agents_node_is_reported_with_its_origin(
    case: Case, meta: dict[str, str], origin: str
) -> None:
    case.consul.add(AGENT, "order-2", "order_service", Meta=meta)
    finding = case.finding("others")
    assert (finding.subject, finding.expected) == ("order_service", "once, on consul-agent-shared")
    assert finding.found == f"id order-2 on consul-agent-shared, {origin}"


@pytest.mark.parametrize(
    ("owner", "named"), [(f"{OTHERS}-{{}}", "pulumi/consul-staging/other"), ("terraform", "terraform")]
)
def test_what_another_party_has_there_is_one_finding(case: Case, owner: str, named: str) -> None:
    for number in range(3):
        case.consul.add("their-agent", f"order-{number}", "order_service", Meta={OWNER_KEY: owner.format(number)})
    finding = case.finding("others")
    assert (finding.subject, finding.expected) == ("3 services", "none of another party")
    assert finding.found == f"{named} registered them on their-agent"
    assert finding.advice.startswith("see that Pulumi.local.yaml has the addresses of this stack's Consul")


def test_the_same_id_on_another_node_is_a_duplicate(case: Case) -> None:
    case.consul.add(SERVER, "order_service", "order_service", Meta={OWNER_KEY: OTHERS})
    assert case.finding("others").found.startswith("id order_service on staging-consul, another party's")


@pytest.mark.parametrize("known", [False, True], ids=["no member", "critical"])
def test_what_a_dead_node_left_is_reported(case: Case, known: bool) -> None:
    case.consul.add("old-agent", "order_service", "order_service")
    if known:
        case.consul.members["old-agent"] = {"Name": "old-agent", "Status": 4, "Tags": {"role": "node"}}
        case.consul.add_check("old-agent", "", CheckID="serfHealth", Status="critical")
    finding = case.finding("others")
    assert finding.found.endswith("; its node is dead")
    assert """-d '{"Node": "old-agent"}'""" in finding.advice


def test_a_node_of_another_external_monitor_is_not_dead(case: Case) -> None:
    case.consul.add("elsewhere", "order_service", "order_service")
    case.consul.nodes["elsewhere"]["Node"]["Meta"]["external-node"] = "true"
    assert "dead" not in case.finding("others").found


def test_a_self_registration_on_the_servers_node_is_no_finding(any_case: Case) -> None:
    any_case.registers_itself("order-host-1", "order_service")
    found = any_case.look()
    assert found.well
    assert summaries(found)["others"].endswith("1 that registered themselves with the server, as during a migration")


@pytest.mark.parametrize("elsewhere", [{"Address": "10.9.9.9"}, {"Port": 9999}], ids=["host", "port"])
def test_a_self_registration_at_another_address_than_the_rosters_is_a_finding(
    case: Case, elsewhere: dict[str, object]
) -> None:
    case.registers_itself("order-host-1", "order_service", **elsewhere)
    finding = case.finding("others")
    assert (finding.subject, finding.expected) == ("order_service", "once, on consul-agent-shared")
    assert str(*elsewhere.values()) in finding.found


def test_a_self_registration_by_an_id_of_the_roster_is_in_the_way_where_the_services_move_to(case: Case) -> None:
    case.registers_itself("order_service", "order_service")
    assert case.finding("others").advice == (
        "give the line of this id in services/ another one: the service is to move there by it when the next `up` "
        "replaces the agent's container"
    )


@pytest.mark.parametrize("registration", ["files", "catalog"])
def test_a_self_registration_by_an_id_of_the_roster_is_no_finding_where_no_service_moves(registration: str) -> None:
    for case in cases(registration):
        case.registers_itself("order_service", "order_service")
        assert case.look().well


# --fix


def removed(case: Case) -> list[tuple[str, str]]:
    left, _ = prune(case.stack, case.look(), lambda _: None)
    return [(stray.place.node, stray.place.id) for stray in left]


def test_fix_removes_through_the_agent_what_the_stack_left_on_its_node(case: Case) -> None:
    case.consul.add(AGENT, "order-2", "order_service", Meta={OWNER_KEY: OURS})
    assert removed(case) == [(AGENT, "order-2")]
    assert case.consul.written == ["/v1/agent/service/deregister/order-2"]
    assert case.look().well


def test_fix_removes_from_the_catalog_what_the_stack_left_elsewhere(case: Case) -> None:
    case.consul.add("old-agent", "order_service", "order_service", Meta={OWNER_KEY: OURS})
    assert removed(case) == [("old-agent", "order_service")]
    assert [body for _, _, body in case.consul.wrote] == [{"Node": "old-agent", "ServiceID": "order_service"}]
    assert case.look().well


def test_fix_removes_from_the_servers_own_agent_too_what_it_would_put_back(case: Case) -> None:
    case.consul.add(SERVER, "order_service", "order_service", Meta={OWNER_KEY: OURS})
    assert removed(case) == [(SERVER, "order_service")]
    assert case.consul.written == [
        "/v1/agent/service/deregister/order_service",
        "/v1/catalog/deregister",
    ]


def drop(case: Case, service_id: str, engine: Engine) -> None:
    """Have a service registered that the roster has no more."""
    meta = {OWNER_KEY: f"{case.stack.owner_prefix}registration-{service_id}"}
    case.consul.add(AGENT, service_id, "former_service", Meta=meta)
    case.stack = replace(case.stack, engine=engine)


def test_fix_removes_what_neither_the_roster_nor_the_state_has(case: Case) -> None:
    drop(case, "former_service", fake_state("billing_service"))
    assert case.finding("others").advice == ".local/venv/bin/python -m operations verify --stack local --fix"
    assert removed(case) == [(AGENT, "former_service")]


def test_what_the_roster_alone_has_dropped_is_to_be_deployed_and_fix_leaves_it(case: Case) -> None:
    drop(case, "former_service", fake_state("billing_service", "former_service"))
    finding = case.finding("others")
    assert "deployed by this stack" in finding.found
    assert finding.advice == (
        "make up STACK=local removes it; if it is in use, undo the edit of services/, or git pull"
    )
    assert removed(case) == []


def test_one_of_several_instances_that_the_roster_has_dropped_is_left_too(case: Case) -> None:
    drop(case, "former_service", fake_state("former_service"))
    case.consul.services["former_service"]["Service"] = "billing_service"
    assert case.finding("others").advice.startswith("make up STACK=local removes it")
    assert removed(case) == []


@pytest.mark.parametrize(
    ("trial", "what_to_do"),
    [
        (True, "make up STACK=local"),
        (False, "the state says whether it is in use, and cannot be read: pulumi stack export --stack local"),
    ],
)
def test_fix_leaves_what_it_can_read_no_state_of(case: Case, trial: bool, what_to_do: str) -> None:
    drop(case, "former_service", replace(fake_state(), ids=None))
    untried = case.stack.settings.model_copy(update={"sandbox": trial})
    case.stack = replace(case.stack, settings=untried)
    assert case.finding("others").advice == what_to_do
    assert removed(case) == []


@pytest.mark.parametrize("meta", [{}, {OWNER_KEY: OTHERS}, {OWNER_KEY: "pulumi/consul-staging/local2/x"}])
@pytest.mark.parametrize("node", [AGENT, SERVER, "old-agent"])
def test_fix_leaves_what_is_not_ours(case: Case, node: str, meta: dict[str, str]) -> None:
    case.consul.add(node, "order-2", "order_service", Meta=meta)
    assert removed(case) == []
    assert case.consul.service(node, "order-2")


def test_fix_leaves_the_rosters_own_even_where_a_field_differs(case: Case) -> None:
    case.consul.service(AGENT, "billing_service")["Port"] = 9999
    assert removed(case) == []


def test_fix_leaves_what_has_no_successor_yet(case: Case) -> None:
    aim = case.stack
    case.stack = replace(aim, settings=aim.settings.model_copy(update={"registration": "catalog", "docker": True}))
    assert removed(case) == []
    assert "deploy first" in next(v for v in case.look().verdicts if v.area == "others").findings[0].advice


# What is printed


@pytest.fixture(name="run")
def _run(case: Case, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    only_stack(monkeypatch, lambda: case.stack)
    return CliRunner()


def app() -> typer.Typer:
    commands = typer.Typer()
    commands.command()(command.verify)
    return commands


def test_all_well_ends_with_0_and_a_line_an_area(run: CliRunner) -> None:
    result = run.invoke(app())
    assert result.exit_code == 0
    assert re.match(r"local: all is well \(\d\.\d\d s\)\n", result.stdout)
    assert len(result.stdout.splitlines()) == 8


def test_a_finding_ends_with_1_and_prints_what_was_expected_what_is_there_and_what_to_do(
    case: Case, run: CliRunner
) -> None:
    case.consul.service(AGENT, "billing_service")["Port"] = 9999
    result = run.invoke(app())
    assert result.exit_code == 1
    assert (
        "billing_service (registrations)\n"
        "  expected  port 8216\n"
        "  there is  the agent and the catalog: port 9999\n"
        "  do        make up STACK=local\n"
    ) in result.stdout


def test_with_wait_it_looks_again_until_all_is_well(
    case: Case, run: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = case.consul.check(AGENT, "billing_service-health")
    right = dict(check)
    check.update(Status="critical", Output="")
    monkeypatch.setattr(time, "sleep", lambda _: check.update(right))
    assert run.invoke(app(), ["--wait", "5s"]).exit_code == 0


def test_with_wait_it_waits_no_longer_than_that(case: Case, run: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    case.consul.check(AGENT, "billing_service-health").update(Status="critical", Output="")
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.append(clock.pop() + seconds))
    assert run.invoke(app(), ["--wait", "2s"]).exit_code == 1
    assert clock == [2]


def test_in_the_catalog_a_service_has_the_meta_that_the_consul_provider_adds(external: Case) -> None:
    meta = external.consul.service("staging-external", "billing_service")["Meta"]
    assert meta["external-source"] == "terraform"
    del meta["external-source"]
    assert not external.look().well


def test_findings_that_are_alike_are_reported_once(case: Case, run: CliRunner) -> None:
    for name in ("auth_service", "billing_service"):
        case.consul.check(AGENT, f"{name}-health").update(Status="critical", Output="")
    host = case.stack.roster.services[0].host
    assert (
        "auth_service, billing_service (health)\n"
        f"  expected  passing: HTTP GET http://{host}:8202/health: 200 OK, and so on\n"
        "  there is  critical: it has not run yet\n"
        "  do        wait, and verify again; its check runs every 10s\n"
    ) in run.invoke(app()).stdout


def test_what_is_reported_once_is_counted_once_and_its_names_are_broken_into_lines(
    forty: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in forty.stack.roster.services:
        forty.consul.check(AGENT, service.checks[0].id).update(Status="critical", Output="")
    only_stack(monkeypatch, lambda: forty.stack)
    said = CliRunner().invoke(app()).stdout
    assert said.startswith("local: 2 findings")  # of the two intervals
    assert max(len(line) for line in said.splitlines()) <= 120
    names = said[said.index("auth_service") : said.index(" (health)")].replace("\n", " ").split(", ")
    assert len(names) == 30


def test_an_area_that_no_api_shows_ends_with_1(case: Case, run: CliRunner) -> None:
    case.stack = stack_at(case.stack.consul.address, nobodys_address())
    result = run.invoke(app())
    assert result.exit_code == 1
    assert "?      health         not seen: no answer" in result.stdout


def test_piped_output_has_no_escape_codes(case: Case, run: CliRunner) -> None:
    case.consul.undiscovered.add("billing_service")
    assert "\x1b" not in run.invoke(app()).stdout


def test_coexisting_services_are_listed_by_node(case: Case, run: CliRunner) -> None:
    case.registers_itself("order-1", "order_service")
    case.registers_itself("task-1", "task_service")
    result = run.invoke(app())
    assert result.exit_code == 0
    assert result.stdout.endswith(
        "on staging-consul too, registered by the services themselves, over the API: "
        "order_service (id order-1), task_service (id task-1)\n"
    )


def test_json_is_one_object_with_the_findings(case: Case, run: CliRunner) -> None:
    case.consul.service(AGENT, "billing_service")["Port"] = 9999
    result = run.invoke(app(), ["--json"])
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["stack"], said["well"], said["removed"]) == ("local", False, [])
    assert said["areas"]["registrations"]["findings"][0]["subject"] == "billing_service"


def test_json_lists_strays_with_id_node_and_origin(case: Case, run: CliRunner) -> None:
    case.registers_itself("order-1", "order_service")
    (stray,) = json.loads(run.invoke(app(), ["--json"]).stdout)["strays"]
    assert stray == {
        "service": "order_service",
        "id": "order-1",
        "node": SERVER,
        "origin": "registered by the service itself, over the API",
        "duplicate": True,
        "coexists": True,
        "deployed": False,
        "removable": False,
    }


@pytest.mark.parametrize(("options", "role"), [([], "verify"), (["--fix"], "removal")], ids=["looks", "fixes"])
def test_it_is_let_in_to_read_and_with_fix_to_do_anything(
    case: Case, run: CliRunner, monkeypatch: pytest.MonkeyPatch, options: list[str], role: str
) -> None:
    roles: list[str] = []

    def looked(aim: Stack) -> Report:
        roles.append(aim.role)
        return report(aim)

    monkeypatch.setattr("operations.verify.report.report", looked)
    assert run.invoke(app(), options).exit_code == 0
    assert set(roles) == {role}


def test_fix_shows_what_is_there_before_it_removes_and_looks_again(case: Case, run: CliRunner) -> None:
    case.consul.add(AGENT, "order-2", "order_service", Meta={OWNER_KEY: OURS})
    result = run.invoke(app(), ["--fix"])
    assert result.exit_code == 0
    first, then = result.stdout.split("removed order_service: id order-2 on consul-agent-shared\n")
    assert "id order-2 on consul-agent-shared, left behind by this stack" in first
    assert then.startswith("local: all is well")


def test_json_with_fix_is_one_object_with_what_was_removed(case: Case, run: CliRunner) -> None:
    case.consul.add(AGENT, "order-2", "order_service", Meta={OWNER_KEY: OURS})
    said = json.loads(run.invoke(app(), ["--fix", "--json"]).stdout)
    assert (said["well"], [stray["id"] for stray in said["removed"]]) == (True, ["order-2"])


@pytest.mark.real_roster
def test_in_a_secured_stack_the_command_that_removes_a_stray_has_the_token_and_the_authority() -> None:
    staging = Stack.load("staging")
    addresses = {"agent_address": "https://127.0.0.1:8501", "server_address": "https://127.0.0.1:8500"}
    secured = staging.settings.model_copy(update={"security": "on", "server": "created", **addresses})
    made = {"tokens": {"verify": "secret"}, "ca": None}
    aim = replace(staging, settings=secured, engine=fake_outputs(lambda: made))
    assert advice.deregister(aim, Place("consul-agent-shared", "stray"), dead=False) == (
        'curl -X PUT --cacert stack-ca.pem -H "X-Consul-Token: $CONSUL_HTTP_TOKEN" '
        "https://127.0.0.1:8501/v1/agent/service/deregister/stray"
    )
