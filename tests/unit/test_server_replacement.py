"""Several servers are replaced one at a time: a majority is there all the time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from components import server_replacement
from components.consul_connection import Connection
from components.server_replacement import ServerReplacement
from consul_cluster.client import ConsulError
from tests.event_loop import run_to_end
from tests.fake_consul import Answer, Request, serve

A, B, C = "staging-consul-h1", "staging-consul-h2", "staging-consul-h3"
STATE = "/v1/operator/autopilot/state"


@dataclass
class Cluster:
    """Servers as autopilot shows them: each with its status, and whether it is healthy; and those that get better."""

    servers: dict[str, tuple[str, bool]]
    asked: list[str] = field(default_factory=list)
    better: dict[str, tuple[str, bool]] = field(default_factory=dict)
    better_after: int = 1  # looks at their state
    leaders: bool = True
    left: tuple[str, ...] = ()
    refuses: bool = False

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        if request.path == "/v1/operator/raft/transfer-leader":
            [new] = request.query["id"]
            changed = {node: ("voter" if of[0] == "leader" else of[0], of[1]) for node, of in self.servers.items()}
            self.servers = {**changed, new: ("leader", True)}
            return 200, b'{"Success": true}', {}
        if request.path == "/v1/agent/members":
            return 200, json.dumps([{"Name": node} for node in (*self.servers, *self.left)]).encode(), {}
        if request.path == "/v1/status/leader":
            return 200, b'""', {}
        if self.refuses:
            return 403, b"ACL not found", {}
        if not self.leaders:
            return 500, b"No cluster leader", {}
        shown = {
            node: {"ID": node, "Name": node, "Status": status, "Healthy": healthy}
            for node, (status, healthy) in self.servers.items()
        }
        if self.asked.count(STATE) == self.better_after:
            self.servers |= self.better
        return 200, json.dumps({"Servers": shown}).encode(), {}


@contextmanager
def replacing(cluster: Cluster, node: str) -> Iterator[ServerReplacement]:
    with serve(cluster.answer) as address:
        others = {each: Connection(address) for each in (A, B, C) if each != node}
        yield ServerReplacement(node, {node: Connection("http://127.0.0.1:9"), **others})


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_replacement, "_TIMEOUT", 1)


def well(leader: str) -> dict[str, tuple[str, bool]]:
    return {node: ("leader" if node == leader else "voter", True) for node in (A, B, C)}


def test_another_server_leads_before_the_leader_is_replaced() -> None:
    cluster = Cluster(well(leader=A))
    with replacing(cluster, A) as replacement:
        run_to_end(replacement._hand_over("", ""))
    assert cluster.servers[A][0] == "voter"
    assert cluster.asked.count("/v1/operator/raft/transfer-leader") == 1


def test_one_that_does_not_lead_is_replaced_at_once() -> None:
    cluster = Cluster(well(leader=A))
    with replacing(cluster, B) as replacement:
        run_to_end(replacement._hand_over("", ""))
    assert cluster.servers == well(leader=A)


@pytest.mark.parametrize("state", [("voter", False), ("non-voter", True)])
def test_a_server_is_not_replaced_while_another_is_no_healthy_voter(state: tuple[str, bool]) -> None:
    cluster = Cluster({**well(leader=A), C: state})
    with replacing(cluster, B) as replacement, pytest.raises(ConsulError) as caught:
        run_to_end(replacement._hand_over("", ""))
    said = f"{C}: {state[0]}, {'healthy' if state[1] else 'not healthy'}"
    assert str(caught.value).startswith(f"{B} is not replaced: its cluster would have no majority without it")
    assert said in str(caught.value)


def test_a_server_is_not_replaced_while_another_is_gone_that_consul_has_removed_since() -> None:
    # Autopilot removes a server that has failed: what is left are healthy voters, and too few.
    cluster = Cluster({A: ("leader", True), B: ("voter", True)}, left=(C,))
    with replacing(cluster, B) as replacement, pytest.raises(ConsulError, match=f"Start {C} again"):
        run_to_end(replacement._hand_over("", ""))


def test_one_that_was_never_there_is_not_waited_for() -> None:
    # It is created after this one: the last run was interrupted while it added both.
    cluster = Cluster({A: ("leader", True), B: ("voter", True)})
    with replacing(cluster, B) as replacement:
        run_to_end(replacement._hand_over("", ""))
    assert "/v1/agent/members" in cluster.asked


def test_it_waits_until_the_others_are_healthy_voters() -> None:
    cluster = Cluster({**well(leader=A), C: ("voter", False)}, better={C: ("voter", True)}, better_after=2)
    with replacing(cluster, B) as replacement:
        run_to_end(replacement._hand_over("", ""))
    assert cluster.asked.count(STATE) == 3  # whether there is a leader, and twice whether the others are well


@pytest.mark.parametrize("method", ["_hand_over", "_join"])
def test_where_no_other_server_has_a_leader_nothing_is_waited_for(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The servers of a new cluster elect a leader when all of them have started.
    monkeypatch.setattr("consul_cluster.client._RETRY_PAUSES", ())
    cluster = Cluster(well(leader=A), leaders=False)
    with replacing(cluster, B) as replacement:
        run_to_end(replacement._join() if method == "_join" else replacement._hand_over("", ""))
    assert "/v1/operator/raft/transfer-leader" not in cluster.asked


def test_a_server_is_not_replaced_while_the_others_do_not_know_the_new_management_token() -> None:
    # `--replace keys-management`: nobody could say whether they have a majority.
    with replacing(Cluster(well(leader=A), refuses=True), B) as replacement, pytest.raises(ConsulError) as caught:
        run_to_end(replacement._hand_over("", ""))
    assert str(caught.value).startswith(f"{B} is not replaced: the others do not accept the stack's new token")
    assert str(caught.value).endswith("and replace it in steps: docs/security.md")


@pytest.mark.parametrize(("method", "looks_before"), [("_rejoin", 0), ("_join", 1)])
def test_one_that_was_replaced_or_added_to_a_running_cluster_is_waited_for_until_it_is_a_healthy_voter(
    method: str, looks_before: int
) -> None:
    unwell, well_again = {B: ("non-voter", True)}, {B: ("voter", True)}
    cluster = Cluster(well(leader=A) | unwell, better=well_again, better_after=looks_before + 1)
    with replacing(cluster, B) as replacement:
        run_to_end(replacement._join() if method == "_join" else replacement._rejoin("", ""))
    assert cluster.asked.count(STATE) == looks_before + 2


def test_a_server_that_does_not_come_back_is_an_error_that_names_it() -> None:
    cluster = Cluster({A: ("leader", True), C: ("voter", True)})
    with replacing(cluster, B) as replacement, pytest.raises(ConsulError, match=f"^{B} runs, and is no healthy voter"):
        run_to_end(replacement._rejoin("", ""))


def test_the_only_one_that_is_stated_votes_before_those_that_are_stated_no_more_are_removed() -> None:
    cluster = Cluster({**well(leader=A), B: ("non-voter", True)}, better={B: ("voter", True)})
    with serve(cluster.answer) as address:
        run_to_end(ServerReplacement(B, {B: Connection(address)})._rejoin("", ""))
    assert cluster.servers[B] == ("voter", True)
    assert cluster.asked.count(STATE) == 2


def test_while_too_few_have_started_to_elect_a_leader_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # As after a first deployment that was interrupted.
    monkeypatch.setattr("consul_cluster.client._RETRY_PAUSES", ())
    cluster = Cluster(well(leader=A), leaders=False)
    with serve(cluster.answer) as address:
        silent = Connection("http://127.0.0.1:9")
        run_to_end(ServerReplacement(B, {A: silent, B: Connection(address), C: silent})._rejoin("", ""))
    assert STATE not in cluster.asked
