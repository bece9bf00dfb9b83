"""A host is taken out of what clients find, and back in; never at the price of the servers' majority."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import typer

from consul_cluster.client import Consul
from operations import host_maintenance
from operations.host_maintenance import HostMaintenanceError, drain_host, return_host
from operations.stack import Stack
from settings import Settings
from tests.fake_consul import Answer, Request, serve
from tests.forty_services import forty_roster
from tests.unit.stacks import BILLING, IDLE_ENGINE, MINIO, only_stack

SERVERS = tuple(f"staging-consul-h{number}" for number in (1, 2, 3))


@dataclass
class Cluster:
    """Three servers, and an agent on each host; h3 has one service, which clients find unless its node is drained."""

    states: dict[str, tuple[str, bool]] = field(
        default_factory=lambda: {SERVERS[0]: ("voter", True), SERVERS[1]: ("voter", True), SERVERS[2]: ("leader", True)}
    )
    maintained: list[dict[str, list[str]]] = field(default_factory=list)
    transferred: list[str] = field(default_factory=list)
    passes: bool = True

    @property
    def drained(self) -> bool:
        return bool(self.maintained) and self.maintained[-1]["enable"] == ["true"]

    def answer(self, request: Request) -> Answer:
        if request.path == "/v1/agent/maintenance":
            self.maintained.append(request.query)
            return 200, b"", {}
        if request.path == "/v1/operator/raft/transfer-leader":
            [heir] = request.query["id"]
            self.transferred.append(heir)
            self.states = {**self.states, SERVERS[2]: ("voter", True), heir: ("leader", True)}
            return 200, b"{}", {}
        if request.path == "/v1/operator/autopilot/state":
            shown = {
                name: {"ID": name, "Name": name, "Status": status, "Healthy": healthy}
                for name, (status, healthy) in self.states.items()
            }
            return 200, json.dumps({"Servers": shown}).encode(), {}
        if request.path.startswith("/v1/health/service/"):
            entry = {"Node": {"Node": "consul-agent-h3"}, "Service": {"ID": MINIO}}
            return 200, json.dumps([] if self.drained or not self.passes else [entry]).encode(), {}
        return 200, b'"10.0.0.1:8300"', {}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    found = Cluster()
    hosts = {
        f"h{number}": {
            "engine": f"unix:///run/h{number}.sock",
            "address": f"10.0.0.{number}",
            "server": True,
            "services": services,
        }
        for number, services in ((1, [BILLING]), (2, []), (3, [MINIO]))
    }
    settings = Settings.model_validate(
        {
            "agentAddress": "https://10.0.0.1:8501",
            "serverAddress": "https://10.0.0.1:8500",
            "server": "created",
            "hosts": hosts,
        }
    )
    stack = Stack("staging", "consul-staging", settings, forty_roster(names=(BILLING, MINIO)), IDLE_ENGINE)
    with serve(found.answer) as address:
        monkeypatch.setattr(Stack, "agents", {host.node: Consul(address) for host in stack.hosts})
        monkeypatch.setattr(Stack, "servers", {name: Consul(address) for name in SERVERS})
        only_stack(monkeypatch, lambda: stack)
        monkeypatch.setattr(host_maintenance, "_SECONDS", 1)
        yield found


def test_a_drained_hosts_server_does_not_lead_and_clients_find_none_of_its_services(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    drain_host("h3", "staging")
    assert cluster.transferred == [SERVERS[0]]
    assert cluster.maintained == [{"enable": ["true"], "reason": ["drain-host h3"]}]
    assert capsys.readouterr().out == "h3: clients find none of its 1 services. Back: return-host h3\n"


def test_a_host_whose_server_does_not_lead_is_drained_without_an_election(cluster: Cluster) -> None:
    drain_host("h1", "staging")
    assert cluster.transferred == []


def test_nothing_is_drained_where_the_other_servers_would_be_no_majority(cluster: Cluster) -> None:
    cluster.states[SERVERS[0]] = ("voter", False)
    with pytest.raises(HostMaintenanceError, match=f"^{SERVERS[2]}: without it, the servers would have no majority"):
        drain_host("h3", "staging")
    assert (cluster.transferred, cluster.maintained) == ([], [])


@pytest.mark.parametrize("command", [drain_host, return_host])
def test_a_host_that_the_stack_has_not_is_an_error_that_names_those_it_has(
    cluster: Cluster, command: Callable[[str, str], None]
) -> None:
    with pytest.raises(HostMaintenanceError, match=r"^stack staging has no host 'h4': it has h1, h2, h3$"):
        command("h4", "staging")
    assert cluster.maintained == []


@pytest.mark.parametrize(("passes", "code"), [(True, 0), (False, 1)])
def test_a_host_is_back_when_clients_find_its_services_again(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], passes: bool, code: int
) -> None:
    drain_host("h3", "staging")
    capsys.readouterr()
    cluster.passes = passes
    with pytest.raises(typer.Exit) as ended:
        return_host("h3", "staging")
    assert cluster.maintained[-1] == {"enable": ["false"]}
    assert ended.value.exit_code == code
    assert capsys.readouterr().out == f"h3: clients find {int(passes)} of its 1 services\n"
