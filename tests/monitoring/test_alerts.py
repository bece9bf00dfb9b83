"""Alerts on a real Prometheus: what is broken for real fires, with the configuration that a stack deploys."""

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import urllib3

from consul_cluster.agent_configuration import server_config
from operations.sandbox.processes import BackgroundProcess
from operations.sandbox.sandbox import consul_process, write_config
from tests.local.stacks import repair
from tests.monitoring.monitored import Monitored
from tests.statuses import require_passing
from tests.waiting import within

BILLING, ORDER, WALLET = "billing_service", "order_service", "wallet_service"

# Seconds: a check, a scrape, an evaluation, the minute of the rule, and an evaluation again.
FIRING = 120
RESOLVED = 60


@pytest.fixture(autouse=True)
def _repair(consul: Monitored) -> Iterator[None]:
    yield
    consul.exporter.start()
    repair(consul.stack.sandbox)
    within(RESOLVED, lambda: not consul.get("alerts")["alerts"])


def maintain(consul: Monitored, what: str, enable: str) -> None:
    address = consul.stack.sandbox.agent_api.address
    answer = urllib3.request("PUT", f"{address}/v1/agent/{what}?enable={enable}&reason=an+upgrade")
    assert answer.status == 200, answer.data


def stop(consul: Monitored, service_id: str) -> None:
    consul.stack.sandbox.stand_in(consul.stack.service(service_id)).stop()


def measured(record: Callable[[str, object], None], what: str, seconds: float) -> None:
    record(what, round(seconds, 1))
    print(f"{what}: {seconds:.1f} s")  # noqa: T201 - what a person runs this for


def test_each_of_consuls_nodes_is_a_target_once(consul: Monitored) -> None:
    names = consul.stack.sandbox.names
    assert [target[:2] for target in consul.targets()] == [
        ("consul-agents", names.agent_node),
        ("consul-exporter", f"{consul.stack.roster.services[0].host}:9107"),
        ("consul-servers", names.server_node),
    ]


def test_nothing_fires_where_all_is_well(consul: Monitored) -> None:
    time.sleep(90)  # longer than each rule waits
    assert consul.get("alerts")["alerts"] == []


def test_a_stopped_service_fires_unless_it_is_in_maintenance_until_it_runs_again(
    consul: Monitored, record_property: Callable[[str, object], None]
) -> None:
    maintain(consul, f"service/maintenance/{ORDER}", "true")
    stop(consul, ORDER)
    stop(consul, BILLING)
    fired = within(FIRING, lambda: consul.fires("ConsulServiceCritical", service_id=BILLING))
    assert not consul.fires("ConsulServiceCritical", service_id=ORDER)
    consul.stack.sandbox.start()
    resolved = within(RESOLVED, lambda: not consul.firing("ConsulServiceCritical"))
    maintain(consul, f"service/maintenance/{ORDER}", "false")
    measured(record_property, "from the stop of a service to its alert", fired)
    measured(record_property, "from the start of a service to the end of its alert", resolved)


def test_the_services_of_a_node_in_maintenance_are_silent(consul: Monitored) -> None:
    maintain(consul, "maintenance", "true")
    try:
        stop(consul, BILLING)
        time.sleep(85)  # the alert of the test before was there by then; Consul removes the service after 90 s
        assert consul.get("alerts")["alerts"] == []
    finally:
        maintain(consul, "maintenance", "false")


def test_a_service_that_consul_removed_fires_all_the_time(consul: Monitored) -> None:
    started = time.time()
    stop(consul, BILLING)
    within(FIRING, lambda: consul.fires("ConsulServiceCritical", service_id=BILLING))
    within(180, lambda: consul.fires("ConsulServiceMissing", service_id=BILLING))
    within(180, lambda: not consul.firing("ConsulServiceCritical"))
    assert consul.fires("ConsulServiceMissing", service_id=BILLING)
    now = time.time()
    expr = f'count(ALERTS{{alertstate="firing", service_id="{BILLING}"}}) or vector(0)'
    found = consul.get("query_range", query=expr, start=str(started), end=str(now), step="5")["result"]
    firing = [value != "0" for each in found for _, value in each["values"]]
    assert firing[firing.index(True) :].count(False) == 0


def test_a_second_instance_of_a_service_fires(consul: Monitored) -> None:
    consul.stack.consul.register({"ID": "wallet-by-itself", "Name": WALLET, "Port": 1})
    within(FIRING, lambda: consul.fires("ConsulServiceDuplicate", service_name=WALLET))


def test_an_agent_that_is_killed_fires(consul: Monitored) -> None:
    sandbox = consul.stack.sandbox
    process = sandbox.agent_process.running
    assert process
    process.kill()
    within(FIRING, lambda: consul.fires("ConsulAgentFailed", member=sandbox.names.agent_node))
    assert not consul.firing("ConsulServiceCritical")  # one alert for one cause
    sandbox.start()
    require_passing(sandbox.agent_api, sandbox.roster)


def second_server(consul: Monitored) -> BackgroundProcess:
    """Return the process of one more server, which leaves when it is stopped; not yet started."""
    sandbox = consul.stack.sandbox
    address = ipaddress.ip_address(consul.stack.roster.services[0].host) + 1
    names = replace(sandbox.names, server_node="second-server", servers=sandbox.server)
    config = server_config(names, str(address), str(address), telemetry=True)
    del config["bootstrap_expect"]  # the cluster is there
    write_config(config, names.server_node, sandbox.folder)
    return consul_process(sandbox.consul(), names.server_node, sandbox.folder)


def voters(server: str) -> int:
    answer = urllib3.request("GET", f"{server}/v1/operator/raft/configuration").json()
    return sum(each["Voter"] for each in answer["Servers"])


def test_servers_without_a_leader_fire(consul: Monitored) -> None:
    server, second = consul.stack.sandbox.server_api, second_server(consul)
    kept = urllib3.request(
        "PUT", f"{server.address}/v1/operator/autopilot/configuration", json={"CleanupDeadServers": False}
    )
    assert kept.status == 200, kept.data
    try:
        second.start()
        within(60, lambda: voters(server.address) == 2)
        process = second.running
        assert process
        process.kill()  # of two, one is no majority
        within(FIRING, lambda: consul.firing("ConsulNoLeader"))
        second.start()
        within(60, lambda: not consul.firing("ConsulNoLeader"))
    finally:
        second.stop()


def test_a_consul_that_is_away_fires(consul: Monitored) -> None:
    sandbox = consul.stack.sandbox
    sandbox.server_process.stop()
    try:
        within(FIRING, lambda: consul.fires("ConsulUnreachable", job="consul-exporter"))
        assert not consul.firing("ConsulServiceMissing")
    finally:
        sandbox.start()


def test_an_exporter_that_is_away_fires(consul: Monitored) -> None:
    consul.exporter.stop()
    within(FIRING, lambda: consul.fires("ConsulUnreachable", job="consul-exporter"))
    assert [each for each in consul.get("alerts")["alerts"] if each["labels"]["alertname"] != "ConsulUnreachable"] == []
