from collections.abc import Iterator

import pytest

from consul_cluster.client import Consul
from operations.snapshot.snapshot import _finds_servers, _has_its_own_nodes
from tests.fake_consul import FakeConsul, running

SERVER = "staging-consul"


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as made:
        made.members[SERVER] = {"Name": SERVER, "Status": 1, "Tags": {"id": "new"}}
        yield made


def test_the_node_of_a_lost_server_is_removed_from_a_restored_catalog_and_the_new_one_is_waited_for(
    consul: FakeConsul,
) -> None:
    # Else Consul keeps its name for it, and the new server can register nothing.
    consul.add_node(SERVER, ID="lost")
    assert not _has_its_own_nodes(Consul(consul.address))
    assert [(path, body) for _, path, body in consul.wrote] == [("/v1/catalog/deregister", {"Node": SERVER})]


def test_nodes_that_are_themselves_and_external_ones_stay(consul: FakeConsul) -> None:
    consul.add_node(SERVER, ID="new")
    consul.add_node("staging-external", ID="")
    assert _has_its_own_nodes(Consul(consul.address))
    assert consul.wrote == []


def test_a_member_that_is_not_in_the_catalog_yet_is_waited_for(consul: FakeConsul) -> None:
    assert not _has_its_own_nodes(Consul(consul.address))
    consul.add_node(SERVER, ID="new")
    assert _has_its_own_nodes(Consul(consul.address))


def test_a_member_that_has_failed_is_not_waited_for(consul: FakeConsul) -> None:
    consul.members["agent"] = {"Name": "agent", "Status": 4, "Tags": {"id": "gone"}}
    consul.add_node(SERVER, ID="new")
    assert _has_its_own_nodes(Consul(consul.address))


@pytest.mark.parametrize(("leader", "wrote"), [("10.0.0.1:8300", []), ("", ["/v1/agent/join/consul-agent-h1"])])
def test_an_agent_that_finds_no_servers_is_joined_by_the_new_ones(
    consul: FakeConsul, leader: str, wrote: list[str]
) -> None:
    # They have other addresses than the lost ones, and know no agent.
    agent = FakeConsul(leader=leader)
    with running(agent):
        assert _finds_servers(Consul(agent.address), Consul(consul.address), "consul-agent-h1") == bool(leader)
    assert ([path for _, path, _ in consul.wrote], agent.wrote) == (wrote, [])


def test_an_agent_that_is_not_there_is_not_waited_for(consul: FakeConsul) -> None:
    # The next `up` creates its container, and it joins by itself.
    assert _finds_servers(Consul("http://127.0.0.1:9"), Consul(consul.address), "consul-agent-h1")
    assert consul.wrote == []
