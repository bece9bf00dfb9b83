"""The node of an agent that is gone is removed before another agent takes its name, and no other node."""

from collections.abc import Iterator

import pulumi
import pytest

from components.consul_connection import Connection
from components.dead_node import remove_dead_node
from tests.fake_consul import AGENT, SERVER, FakeConsul, running
from tests.unit.pulumi_mocks import deploy

ALIVE, LEFT, FAILED = 1, 3, 4


@pytest.fixture(name="servers")
def _servers() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        for node in (AGENT, SERVER):
            consul.add_node(node)
            consul.members[node] = {"Name": node, "Status": ALIVE}
        yield consul


def created(servers: FakeConsul) -> str:
    """Return what is said before the agent's container is created."""

    def program() -> None:
        hooks = remove_dead_node(Connection(servers.address), AGENT)
        pulumi.CustomResource("test:index:Container", "container", {}, pulumi.ResourceOptions(hooks=hooks))

    return deploy(program).call("remove-dead-node-consul-agent-shared", name=AGENT)


@pytest.mark.parametrize(("status", "kept"), [(ALIVE, True), (LEFT, False), (FAILED, False)])
def test_a_node_is_removed_unless_its_agent_is_alive(servers: FakeConsul, status: int, kept: bool) -> None:
    servers.members[AGENT]["Status"] = status
    assert created(servers) == ""
    assert (AGENT in servers.nodes, SERVER in servers.nodes) == (kept, True)


def test_a_dead_node_with_a_service_of_the_stack_is_its_own(servers: FakeConsul) -> None:
    servers.members[AGENT]["Status"] = FAILED
    servers.nodes[AGENT]["Services"] = {
        "billing_service": {
            "Service": "billing_service",
            "Meta": {"managed-by": "pulumi/consul-staging/test/registration-billing_service"},
        },
        "theirs": {"Service": "theirs", "Meta": None},
    }
    assert created(servers) == ""
    assert AGENT not in servers.nodes


def test_a_dead_node_with_consul_esm_alone_is_its_own(servers: FakeConsul) -> None:
    servers.members[AGENT]["Status"] = FAILED
    servers.nodes[AGENT]["Services"] = {"consul-esm:5c1b": {"Service": "consul-esm", "Meta": None}}
    assert created(servers) == ""
    assert AGENT not in servers.nodes


def test_a_dead_node_with_services_of_others_alone_stops_the_run(servers: FakeConsul) -> None:
    servers.members[AGENT]["Status"] = FAILED
    servers.nodes[AGENT]["Services"] = {"theirs": {"Service": "theirs", "Meta": None}}
    assert created(servers) == (
        "the catalog has a dead node consul-agent-shared with services of others (theirs): set agentNode to a free "
        "name, or remove it with them: consul force-leave -prune consul-agent-shared"
    )
    assert servers.wrote == []


def test_a_node_that_the_servers_do_not_know_as_a_member_is_removed_if_it_is_a_drained_agents(
    servers: FakeConsul,
) -> None:
    # They were replaced after it had been drained: one that stays looks as if the next agent had joined.
    del servers.members[AGENT]
    servers.nodes[AGENT]["Node"]["TaggedAddresses"] = {"lan": "10.0.0.2"}
    assert created(servers) == ""
    assert (AGENT in servers.nodes, SERVER in servers.nodes) == (False, True)


def test_a_node_of_nobodys_agent_stays(servers: FakeConsul) -> None:
    del servers.members[AGENT]
    servers.nodes[AGENT]["Node"]["TaggedAddresses"] = None
    assert (created(servers), servers.wrote) == ("", [])


def test_a_node_with_services_that_the_servers_do_not_know_as_a_member_stays(servers: FakeConsul) -> None:
    del servers.members[AGENT]
    servers.nodes[AGENT]["Node"]["TaggedAddresses"] = {"lan": "10.0.0.2"}
    servers.add(AGENT, "theirs", "theirs")
    assert (created(servers), servers.wrote) == ("", [])


def test_a_cluster_that_never_had_the_agent_is_left_alone(servers: FakeConsul) -> None:
    del servers.members[AGENT], servers.nodes[AGENT]
    assert (created(servers), servers.wrote) == ("", [])


def test_a_node_that_may_not_be_removed_is_a_warning(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    servers.members[AGENT]["Status"] = FAILED
    servers.refuses_writes = (403, "Permission denied")
    assert created(servers) == ""
    assert "the catalog may have a dead node consul-agent-shared, which keeps a new agent out: PUT" in warnings[0]
