"""`verify` of `registration: catalog` on a real Consul 1.17.2; what consul-esm writes is written here in its place."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

import toolchain
from consul_cluster.agent_configuration import EXTERNAL_NODE_META
from consul_cluster.client import Consul
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox
from operations.stack import Stack
from operations.verify.findings import Finding
from operations.verify.registrations import stated
from operations.verify.report import report
from services.checks import HttpCheck
from services.environment import Environment
from services.model import Service
from services.roster import Roster
from services.user_services import USER
from settings import Settings
from tests.forty_services import forty_roster
from tests.local.stacks import TWELVE

NODE = "staging-external"


def put(consul: Consul, path: str, body: dict[str, Any]) -> None:
    answer = urllib3.request("PUT", f"{consul.address}{path}", json=body)
    assert answer.status == 200, answer.data


@pytest.fixture(name="aim")
def _aim(shared_sandbox: Sandbox, tmp_path: Path) -> Iterator[Stack]:
    host = shared_sandbox.roster.services[0].host
    config = {
        "registration": "catalog",
        "agentAddress": f"http://{shared_sandbox.agent}:8500",
        "serverAddress": f"http://{shared_sandbox.server}:8500",
        "serviceHost": host,
    }
    engine = Engine(toolchain.pulumi, tmp_path)
    aim = Stack(
        "local", "consul-staging", Settings.model_validate(config), forty_roster(host=host, names=TWELVE), engine
    )
    for service in aim.roster.services:
        register(aim, service)
    yield aim
    put(aim.server, "/v1/catalog/deregister", {"Node": NODE})


def register(aim: Stack, service: Service, interval: str | None = None) -> None:
    """Register as the Consul provider does, with what consul-esm then writes."""
    wanted = stated(aim, service)
    entry = {"ID": service.id, "Service": wanted["name"]}
    entry |= {key.capitalize(): wanted[key] for key in ("address", "port", "tags", "meta")}
    checks = [_check(service, key, check, interval) for key, check in wanted["checks"].items()]
    body = {"Node": NODE, "Address": "10.0.0.9", "NodeMeta": EXTERNAL_NODE_META, "Service": entry, "Checks": checks}
    put(aim.server, "/v1/catalog/register", body)


def _check(service: Service, check_id: str, check: dict[str, str], interval: str | None) -> dict[str, Any]:
    kind = "http" if "http" in check else "tcp"
    output = f"HTTP GET {check[kind]}: 200 OK Output: " if kind == "http" else f"TCP connect {check[kind]}: Success"
    definition = {
        kind.upper(): check[kind],
        "Interval": interval or check["interval"],
        "Timeout": check["timeout"],
        "DeregisterCriticalServiceAfter": check["deregister_critical_service_after"],
    }
    own = {"CheckID": check_id, "Name": check["name"], "ServiceID": service.id}
    return {**own, "Status": "passing", "Output": output, "Definition": definition}


def findings(aim: Stack) -> dict[str, list[Finding]]:
    return {verdict.area: list(verdict.findings) for verdict in report(aim).verdicts if verdict.findings}


def test_what_is_on_the_external_node_as_stated_is_well(aim: Stack) -> None:
    assert findings(aim) == {}


def test_an_interval_in_a_checks_definition_is_compared(aim: Stack) -> None:
    register(aim, next(each for each in aim.roster.services if each.id == "billing_service"), interval="20s")
    (one,) = findings(aim)["registrations"]
    assert one.expected == "billing_service-health interval 10s"
    assert one.found == "the catalog: billing_service-health interval 20s"


def test_a_service_on_the_agents_node_is_a_duplicate(aim: Stack) -> None:
    agent = aim.agent
    assert agent
    agent.register({"ID": "billing_service", "Name": "billing_service", "Port": 1})
    try:
        (one,) = findings(aim)["others"]
        assert one.found.startswith("id billing_service on consul-agent-shared")
    finally:
        agent.deregister("billing_service")


def test_a_service_without_a_port_is_well(aim: Stack) -> None:
    environment = Environment("staging", aim.settings.service_host)
    report_service = USER.service(environment, "report", None, checks=(HttpCheck(port=9000),))
    aim = replace(aim, roster=Roster(services=(*aim.roster.services, report_service)))
    register(aim, report_service)
    assert findings(aim) == {}
