"""`self-registrations` on a real catalog, with services that register themselves over python-consul."""

from typing import Any

import consul

import settings
from consul_cluster.cluster_names import STAGING_NAMES
from operations.self_registrations import Comparison, compare_stack
from operations.stack import Stack
from services.model import Service
from tests.local.stacks import TWELVE, EditableStack

BILLING, AUTH, ORDER = "billing_service", "auth_service", "order_service"


def before(stack: EditableStack) -> Any:  # noqa: ANN401 - py-consul has no types
    """The server, as `consul_registry.py` speaks to it."""
    return consul.Consul(host=stack.sandbox.server, port=8500)


def registers_itself(stack: EditableStack, service: Service, beats: bool = True, **other: Any) -> None:  # noqa: ANN401
    where = {"address": service.host, "port": service.port, **other}
    service_id = f"{service.name}-1"
    at_server = before(stack)
    at_server.agent.service.register(service.name, service_id, check=consul.Check.ttl("30s"), **where)
    if beats:
        at_server.agent.check.ttl_pass(f"service:{service_id}")


def compared(stack: EditableStack) -> dict[str, Comparison]:
    where = settings.Settings.model_validate(
        {"agentAddress": stack.consul.address, "serverAddress": f"http://{stack.sandbox.server}:8500", "docker": False}
    )
    seen = Stack("local", "consul-staging", where, stack.roster, stack.engine)
    return {each.service.id: each for each in compare_stack(seen)}


def test_each_service_is_where_it_is_in_the_migration(deployed: EditableStack) -> None:
    registers_itself(deployed, deployed.service(BILLING))
    registers_itself(deployed, deployed.service(AUTH), beats=False)
    registers_itself(deployed, deployed.service(ORDER), port=8999)
    deployed.consul.deregister("account_service")
    now = compared(deployed)
    assert len(now) == len(TWELVE)
    assert {key: one.verdict.step for key, one in now.items() if one.verdict.step != "done"} == {
        BILLING: "release",
        ORDER: "compare",
        "account_service": "deploy",
    }
    assert [key for key, one in now.items() if one.can_drop] == [BILLING]
    assert [key for key, one in now.items() if one.verdict.wrong] == [ORDER]
    assert now[ORDER].verdict.message == "order_service-1 is at port 8999, the roster says 8105"
    assert now[AUTH].verdict.message == f"deregister what it left: auth_service-1 on {STAGING_NAMES.server_node}"
    [own] = now[BILLING].own
    assert (own.node, own.heartbeat, own.at) == (STAGING_NAMES.server_node, "passing", now[BILLING].service.address)


def test_a_service_that_took_option_b_registers_itself_at_the_agent_and_is_still_seen(deployed: EditableStack) -> None:
    at_agent = consul.Consul(host=deployed.sandbox.agent, port=8500)
    billing = deployed.service(BILLING)
    at_agent.agent.service.register(
        BILLING, "billing_service-1", address=billing.host, port=billing.port, check=consul.Check.ttl("30s")
    )
    at_agent.agent.check.ttl_pass("service:billing_service-1")
    one = compared(deployed)[BILLING]
    assert one.ours
    assert [own.id for own in one.own] == ["billing_service-1"]
    assert one.verdict.step == "release"


def test_a_service_that_overwrites_the_agents_registration_is_wrong(deployed: EditableStack) -> None:
    billing = deployed.service(BILLING)
    consul.Consul(host=deployed.sandbox.agent, port=8500).agent.service.register(
        BILLING, BILLING, address=billing.host, port=billing.port
    )
    assert compared(deployed)[BILLING].verdict.message == (
        "another party holds the id billing_service at the agent: deploy a release that does not register itself"
    )


def test_a_service_that_sends_heartbeats_but_fails_its_check_is_wrong(deployed: EditableStack) -> None:
    registers_itself(deployed, deployed.service(BILLING))
    deployed.sandbox.stand_in(deployed.service(BILLING)).stop()
    while (one := compared(deployed)[BILLING]).ours and one.ours.status != "critical":
        pass
    assert one.verdict.message == "it sends heartbeats, but the agent's check fails"
