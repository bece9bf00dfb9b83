"""The stack `docker-local` with monitoring: Prometheus and consul_exporter as the stack deploys them."""

import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import urllib3

from operations import down
from operations.stack import Stack
from tests.docker.conftest import AGENT, HTTPS, SERVER, changes, deployed, docker, ours, project, without_billing
from tests.waiting import within

PROMETHEUS = "http://127.0.0.1:9090"
SECURITY: dict[str, dict[str, str]] = {"off": {"security": "off"}, "on": {"security": "on", **HTTPS}}


@pytest.fixture(scope="module", params=SECURITY)
def monitored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    config = SECURITY[request.param]
    stack = project(tmp_path_factory.mktemp("monitored"), "docker-local", monitoring=True, **config)
    with deployed(stack):
        yield stack


def get(path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
    return urllib3.request("GET", f"{PROMETHEUS}/api/v1/{path}", fields=query, retries=False).json()["data"]


def query(expr: str) -> list[dict[str, Any]]:
    return list(get("query", query=expr)["result"])


def number(expr: str) -> int | None:
    """Return the value of a query with one result, or None."""
    return next((int(each["value"][1]) for each in query(expr)), None)


def targets() -> list[tuple[str, str, str]]:
    """Return job, instance and health of each target."""
    found = get("targets", state="active")["activeTargets"]
    return sorted((each["labels"]["job"], each["labels"]["instance"], each["health"]) for each in found)


def test_each_of_consuls_nodes_is_scraped_once_and_the_exporter(monitored: Stack) -> None:
    del monitored
    expected = [
        ("consul-agents", AGENT, "up"),
        ("consul-exporter", "consul-exporter:9107", "up"),
        ("consul-servers", SERVER, "up"),
    ]
    within(60, lambda: targets() == expected)


def test_the_40_services_are_seen_passing_and_nothing_is_pending(monitored: Stack) -> None:
    services = len(monitored.roster)
    within(60, lambda: number("count(consul_catalog_service_node_healthy == 1)") == services + 1)  # Consul's own too
    within(30, lambda: number("count(consul:service:stated)") == services)  # the rules are evaluated every 15 s
    within(60, lambda: get("alerts")["alerts"] == [])


def test_nobody_but_this_machine_reaches_prometheus_and_nobody_at_all_the_exporter(monitored: Stack) -> None:
    del monitored
    ports = "{{json .NetworkSettings.Ports}}"
    assert docker("inspect", "--format", ports, "consul-prometheus") == (
        '{"9090/tcp":[{"HostIp":"127.0.0.1","HostPort":"9090"}]}'
    )
    assert docker("inspect", "--format", ports, "consul-exporter") in ("{}", '{"9107/tcp":null}')


def test_no_secret_shows_in_what_docker_tells_of_a_container(monitored: Stack) -> None:
    token = monitored.engine.outputs().get("tokens", {}).get("monitoring")
    assert (token is not None) == (monitored.settings.stage == "on")
    shown = docker("inspect", "consul-prometheus", "consul-exporter")
    assert not token or token not in shown


def test_of_a_secured_stack_the_end_of_each_nodes_certificate_is_seen(monitored: Stack) -> None:
    secured = {AGENT, SERVER} if monitored.settings.stage == "on" else set()  # 0 stands for no certificate
    within(60, lambda: {each["metric"]["instance"] for each in query("consul_agent_tls_cert_expiry != 0")} == secured)


def test_a_service_that_the_stack_drops_leaves_the_rules_and_the_data_stays(monitored: Stack) -> None:
    within(60, lambda: query("consul_up"))
    with patch("services.roster.load_roster", lambda *_: without_billing(monitored)):
        changes(monitored)
        within(60, lambda: number("count(consul:service:stated)") == len(monitored.roster) - 1)
        assert query('count_over_time(consul:service:stated{service_id="billing_service"}[30m])')
        assert changes(monitored).keys() == {"same"}
        time.sleep(75)  # longer than the rule waits that it is missing
        assert not query('count_over_time(ALERTS{alertstate="firing", service_id="billing_service"}[5m])')
    changes(monitored)


def test_destroy_leaves_nothing(monitored: Stack) -> None:
    down.destroy(monitored)
    assert ours() == ""
