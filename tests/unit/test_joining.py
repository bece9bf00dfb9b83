"""The node of an agent that is gone is removed before another takes its name, and the new one is waited for."""

from collections.abc import Iterator

import pulumi
import pytest

from components.consul_connection import Connection
from components.joining import join_hooks
from tests.fake_consul import AGENT, SERVER, FakeConsul, running
from tests.unit.pulumi_mocks import Deployed, deploy
from tests.unit.test_consul_connection import sleeping

ALIVE, LEFT, FAILED = 1, 3, 4


@pytest.fixture(name="servers")
def _servers() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        for node in (AGENT, SERVER):
            consul.add_node(node)
            consul.members[node] = {"Name": node, "Status": ALIVE}
        yield consul


def hooks(address: str, await_join: bool = True) -> Deployed:
    def program() -> None:
        hooks = join_hooks(Connection(address), await_join)
        pulumi.CustomResource("test:index:Container", "container", {}, pulumi.ResourceOptions(hooks=hooks))

    return deploy(program)


def created(servers: FakeConsul) -> str:
    """Return what is said before the agent's container is created."""
    return hooks(servers.address).call("remove-dead-node", name=AGENT)


@pytest.mark.parametrize(("status", "kept"), [(ALIVE, True), (LEFT, False), (FAILED, False)])
def test_a_node_is_removed_unless_its_agent_is_alive(servers: FakeConsul, status: int, kept: bool) -> None:
    servers.members[AGENT]["Status"] = status
    assert created(servers) == ""
    assert (AGENT in servers.nodes, SERVER in servers.nodes) == (kept, True)


def test_a_cluster_that_never_had_the_agent_is_left_alone(servers: FakeConsul) -> None:
    del servers.members[AGENT]
    assert (created(servers), servers.wrote) == ("", [])


def test_a_node_that_may_not_be_removed_is_a_warning(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    servers.members[AGENT]["Status"] = FAILED
    servers.refuses_writes = (403, "Permission denied")
    assert created(servers) == ""
    assert "the catalog may have a dead node consul-agent-shared, which keeps a new agent out: PUT" in warnings[0]


def test_an_agent_that_was_created_is_waited_for_until_it_has_synchronized(
    servers: FakeConsul, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = servers.nodes[AGENT]["Node"]
    node["TaggedAddresses"] = None
    slept = sleeping(monkeypatch, lambda _: node.update(TaggedAddresses={"lan": "10.0.0.2"}))
    assert (hooks(servers.address).call("await-join", name=AGENT), slept) == ("", [0.1])


@pytest.mark.parametrize(("await_join", "after"), [(True, {"after_create": ["await-join"]}), (False, {})])
def test_it_is_waited_for_where_the_stack_may_read_the_node(await_join: bool, after: dict[str, list[str]]) -> None:
    bound = hooks("http://127.0.0.1:8500", await_join).bound("container")
    assert bound == {"before_create": ["remove-dead-node"], **after}
