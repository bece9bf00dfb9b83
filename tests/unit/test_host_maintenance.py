"""A host is taken out of what clients find, and back in; never at the price of the servers' majority."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

import pytest
import typer

from consul_cluster.client import Consul
from operations import host_maintenance
from operations.command_line import COMMANDS
from operations.host_maintenance import HostMaintenanceError, drain_host, return_host
from operations.stack import Stack
from settings import Settings
from tests.fake_consul import Answer, Request, serve
from tests.forty_services import forty_roster
from tests.unit.stacks import BILLING, IDLE_ENGINE, MINIO, only_stack, stack_at

SERVERS = tuple(f"staging-consul-h{number}" for number in (1, 2, 3))
AUTH = "auth_service"
ON_H3 = (AUTH, MINIO)
NEXT = f"next: the host can be stopped; {COMMANDS} return-host h3 --stack staging brings it back\n"


@dataclass
class Cluster:
    """Three servers, and an agent on each host; h3 has two services, which clients find unless its node is drained.

    Attributes:
        states: status and health of each server.
        down: the servers that do not answer.
        deaf: clients find the services of a drained node too.
        critical: names of services on h3 whose checks do not pass.
        looks_until_passing: how often a service is looked for until its check has run, after a maintenance.
        looks_until_voting: how often the servers are looked at until all are healthy voters again.
        elsewhere: names of services of which another host has an instance.
        asked: which server was asked for which path.
        maintained: what the agent of h3 was told.
        transferred: who was to lead.
        refuses_transfer: nobody else comes to lead.
    """

    states: dict[str, tuple[str, bool]] = field(
        default_factory=lambda: {SERVERS[0]: ("voter", True), SERVERS[1]: ("voter", True), SERVERS[2]: ("leader", True)}
    )
    down: set[str] = field(default_factory=set)
    deaf: bool = False
    critical: set[str] = field(default_factory=set)
    looks_until_passing: int = 0
    looks_until_voting: int = 0
    elsewhere: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    maintained: list[dict[str, list[str]]] = field(default_factory=list)
    transferred: list[str] = field(default_factory=list)
    refuses_transfer: bool = False

    @property
    def drained(self) -> bool:
        return bool(self.maintained) and self.maintained[-1]["enable"] == ["true"]

    def answer(self, name: str, request: Request) -> Answer:
        self.asked.append((name, request.path))
        if name in self.down:
            return 500, b"No cluster leader", {}
        if request.path == "/v1/agent/maintenance":
            assert name == "consul-agent-h3"
            self.maintained.append(request.query)
            return 200, b"", {}
        if request.path == "/v1/operator/raft/transfer-leader":
            [heir] = request.query["id"]
            self.transferred.append(heir)
            if not self.refuses_transfer:
                self.states = {**self.states, SERVERS[2]: ("voter", True), heir: ("leader", True)}
            return 200, b"{}", {}
        if request.path == "/v1/operator/autopilot/state":
            return 200, json.dumps({"Servers": self._servers()}).encode(), {}
        if request.path.startswith("/v1/health/service/"):
            return 200, json.dumps(self._instances(request.path.rpartition("/")[2])).encode(), {}
        return 200, b'"10.0.0.1:8300"', {}

    def _servers(self) -> dict[str, dict[str, object]]:
        if self.looks_until_voting:
            self.looks_until_voting -= 1
            self.states[SERVERS[2]] = ("voter", not self.looks_until_voting)
        return {
            name: {"ID": name, "Name": name, "Status": status, "Healthy": healthy}
            for name, (status, healthy) in self.states.items()
        }

    def _instances(self, name: str) -> list[dict[str, dict[str, str]]]:
        nodes = ["consul-agent-h1"] if name in self.elsewhere else []
        if name in ON_H3 and name not in self.critical and (self.deaf or not self.drained):
            self.looks_until_passing -= 1
            nodes += ["consul-agent-h3"] if self.looks_until_passing < 0 else []
        return [{"Node": {"Node": node}, "Service": {"ID": name}} for node in nodes]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    found = Cluster()
    hosts = {
        f"h{number}": {
            "engine": f"unix:///run/h{number}.sock",
            "address": f"10.0.0.{number}",
            "server": number <= len(SERVERS),
            "services": services,
        }
        for number, services in ((1, [BILLING]), (2, []), (3, ON_H3), (4, []))
    }
    settings = Settings.model_validate(
        {
            "agentAddress": "https://10.0.0.1:8501",
            "serverAddress": "https://10.0.0.1:8500",
            "server": "created",
            "hosts": hosts,
        }
    )
    stack = Stack("staging", "consul-staging", settings, forty_roster(names=(AUTH, BILLING, MINIO)), IDLE_ENGINE)
    with ExitStack() as running:

        def apis(names: Iterator[str]) -> dict[str, Consul]:
            return {name: Consul(running.enter_context(serve(partial(found.answer, name)))) for name in names}

        monkeypatch.setattr(Stack, "agents", apis(host.node for host in stack.hosts))
        monkeypatch.setattr(Stack, "servers", apis(iter(SERVERS)))
        only_stack(monkeypatch, lambda: stack)
        for limit in ("_DRAIN_SECONDS", "_RETURN_SECONDS", "_ELECTION_SECONDS"):
            monkeypatch.setattr(host_maintenance, limit, 0.5)
        monkeypatch.setattr(host_maintenance, "_PAUSE", 0.01)
        yield found


@pytest.fixture
def drained(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Cluster:
    """The same, with h3 drained."""
    drain_host("h3", "staging")
    capsys.readouterr()
    cluster.asked.clear()
    return cluster


def code_of_return() -> int:
    with pytest.raises(typer.Exit) as ended:
        return_host("h3", "staging")
    return ended.value.exit_code


# drain-host


def test_clients_find_none_of_a_drained_hosts_services_and_it_is_said_what_is_next(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    drain_host("h3", "staging")
    assert cluster.maintained == [{"enable": ["true"], "reason": ["drain-host h3"]}]
    assert capsys.readouterr().out == (
        "h3: its agent is in maintenance: clients find none of its 2 services\n"
        f"h3: its server {SERVERS[2]} led, and another one leads now\n{NEXT}"
        "warning: 2 services are not found until then\n"
    )


def test_a_server_that_was_stopped_just_now_counts_for_no_majority_though_it_is_called_healthy(
    cluster: Cluster,
) -> None:
    cluster.down = {SERVERS[0]}
    with pytest.raises(
        HostMaintenanceError, match=rf"no majority: .*; no answer from {SERVERS[0]}\. Nothing was changed$"
    ):
        drain_host("h3", "staging")
    assert (cluster.transferred, cluster.maintained) == ([], [])


def test_leadership_goes_to_no_server_that_does_not_answer(cluster: Cluster) -> None:
    cluster.states |= {"fourth": ("voter", True), "fifth": ("voter", True)}
    cluster.down = {SERVERS[0]}
    drain_host("h3", "staging")
    assert cluster.transferred == [SERVERS[1]]


def test_a_server_that_does_not_answer_has_not_returned(drained: Cluster) -> None:
    drained.down = {SERVERS[2]}
    assert code_of_return() == 1


def test_a_drained_hosts_server_hands_leadership_over(cluster: Cluster) -> None:
    drain_host("h3", "staging")
    assert cluster.transferred == [SERVERS[0]]
    assert cluster.states[SERVERS[0]] == ("leader", True)


def test_leadership_goes_to_no_server_that_is_not_healthy(cluster: Cluster) -> None:
    cluster.states = {SERVERS[0]: ("voter", False), "fourth": ("voter", True), "fifth": ("voter", True)} | {
        name: cluster.states[name] for name in SERVERS[1:]
    }
    cluster.down = {SERVERS[0]}
    drain_host("h3", "staging")
    assert cluster.transferred == ["fourth"]


def test_a_host_whose_server_does_not_lead_is_drained_without_an_election(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.states |= {SERVERS[0]: ("leader", True), SERVERS[2]: ("voter", True)}
    drain_host("h3", "staging")
    assert cluster.transferred == []
    assert "leads now" not in capsys.readouterr().out


def test_where_nobody_else_comes_to_lead_it_is_said_and_how_to_go_back(cluster: Cluster) -> None:
    cluster.refuses_transfer = True
    with pytest.raises(HostMaintenanceError, match=rf"no other server leads .*{SERVERS[2]}: leader, .*return-host h3"):
        drain_host("h3", "staging")


def test_nothing_is_drained_where_the_other_servers_would_be_no_majority(cluster: Cluster) -> None:
    cluster.states[SERVERS[0]] = ("voter", False)
    found = f"{SERVERS[0]}: voter, not healthy, {SERVERS[1]}: voter, healthy, {SERVERS[2]}: leader, healthy"
    with pytest.raises(
        HostMaintenanceError, match=f"^{SERVERS[2]}: without it, the servers would have no majority: {found}. Nothing"
    ):
        drain_host("h3", "staging")
    assert (cluster.transferred, cluster.maintained) == ([], [])


def test_a_drained_host_whose_services_clients_still_find_is_not_to_be_stopped(cluster: Cluster) -> None:
    cluster.deaf = True
    with pytest.raises(HostMaintenanceError, match=f"still find {AUTH}, {MINIO} there: do not stop the host"):
        drain_host("h3", "staging")


def test_services_that_another_host_has_too_are_not_warned_of(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.elsewhere = {AUTH}
    drain_host("h3", "staging")
    assert capsys.readouterr().out.endswith(f"{NEXT}warning: 1 service is not found until then: {MINIO}\n")


def test_where_another_host_has_all_services_too_nothing_is_warned_of(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.elsewhere = set(ON_H3)
    drain_host("h3", "staging")
    assert capsys.readouterr().out.endswith(NEXT)


# return-host


def test_a_host_is_back_when_clients_find_its_services_again(
    drained: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of_return() == 0
    assert drained.maintained[-1] == {"enable": ["false"]}
    assert capsys.readouterr().out == "h3: clients find 2 of its 2 services\n"


def test_a_return_waits_for_the_checks(drained: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    drained.looks_until_passing = 5
    assert code_of_return() == 0
    assert capsys.readouterr().out == "h3: clients find 2 of its 2 services\n"


def test_a_return_waits_until_the_hosts_server_is_a_healthy_voter(drained: Cluster) -> None:
    drained.looks_until_voting = 5
    assert code_of_return() == 0
    assert drained.states[SERVERS[2]] == ("voter", True)


def test_a_service_that_does_not_pass_is_named_and_the_exit_code_is_1(
    drained: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    drained.critical = {MINIO}
    assert code_of_return() == 1
    assert capsys.readouterr().out == f"h3: clients find 1 of its 2 services: not {MINIO}\n"


def test_a_server_that_is_no_healthy_voter_is_named_and_the_exit_code_is_1(
    drained: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    drained.states[SERVERS[2]] = ("voter", False)
    assert code_of_return() == 1
    assert f"h3: its server {SERVERS[2]} does not answer, or is no healthy voter: " in capsys.readouterr().out


# Both


@pytest.mark.parametrize("command", [drain_host, return_host])
def test_a_server_of_another_host_that_answers_is_asked(cluster: Cluster, command: Callable[[str, str], None]) -> None:
    cluster.states |= {"fourth": ("voter", True), "fifth": ("voter", True)}
    cluster.down = {SERVERS[0]}
    with suppress(typer.Exit):
        command("h3", "staging")
    assert {path for name, path in cluster.asked if name == SERVERS[2]} <= {"/v1/status/leader"}
    assert {name for name, path in cluster.asked if "/health/" in path} == {SERVERS[1]}


@pytest.mark.parametrize("command", [drain_host, return_host])
def test_where_no_server_of_another_host_answers_that_is_the_error(
    cluster: Cluster, command: Callable[[str, str], None]
) -> None:
    cluster.down = set(SERVERS[:2])
    with pytest.raises(HostMaintenanceError, match=r"^no server beside h3 answers, .*: http://.*, http://"):
        command("h3", "staging")
    assert not cluster.drained


@pytest.mark.parametrize("command", [drain_host, return_host])
def test_a_host_that_the_stack_has_not_is_an_error_that_names_those_it_has(
    cluster: Cluster, command: Callable[[str, str], None]
) -> None:
    with pytest.raises(HostMaintenanceError, match=r"^stack staging has no host 'h5': it has h1, h2, h3, h4$"):
        command("h5", "staging")
    assert cluster.maintained == []


@pytest.mark.parametrize("command", [drain_host, return_host])
def test_a_stack_without_hosts_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[str, str], None]
) -> None:
    stack = stack_at("http://127.0.0.1:2", "http://127.0.0.1:1")
    only_stack(monkeypatch, lambda: stack)
    with pytest.raises(HostMaintenanceError, match=r"^stack local has no host 'h3': it has one host, without a name"):
        command("h3", "local")
