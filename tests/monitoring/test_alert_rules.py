"""Each alert in `promtool test rules`: it fires when it must, and is silent when it must not be.

https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from consul_cluster.cluster_names import STAGING_NAMES
from monitoring.alert_rules import alert_rules, alerts
from monitoring.monitored_cluster import MonitoredCluster
from monitoring.scrape_configuration import scrape_configuration
from monitoring.yaml_text import yaml_text
from tests.forty_services import forty_roster

AGENT, SERVER = STAGING_NAMES.agent_node, STAGING_NAMES.server_node
BILLING = f'node="{AGENT}", service_id="billing_service", service_name="billing_service"'
ORDER = f'node="{AGENT}", service_id="order_service", service_name="order_service"'
DAY = 24 * 3600

CLUSTER = MonitoredCluster(
    STAGING_NAMES, "staging-consul:8500", 8500, "consul-exporter:9107", server_metrics=True, nodes=(AGENT, SERVER)
)


def member(name: str) -> str:
    return f'consul_serf_lan_member_status{{member="{name}"}}'


def expiry(node: str) -> str:
    return f'consul_agent_tls_cert_expiry{{instance="{node}"}}'


# A series of every 15 s for an hour, by PromQL's selector of it. As Prometheus has it where all is well.
WELL = {
    "consul_up": "1x240",
    "consul_raft_leader": "1x240",
    'up{job="consul-exporter", instance="consul-exporter:9107"}': "1x240",
    f'up{{job="consul-agents", instance="{AGENT}"}}': "1x240",
    f'up{{job="consul-servers", instance="{SERVER}"}}': "1x240",
    member(AGENT): "1x240",
    member(SERVER): "1x240",
    expiry(AGENT): "0x240",
    expiry(SERVER): f"{300 * DAY}x240",
    f'consul_health_node_status{{check="serfHealth", node="{AGENT}", status="critical"}}': "0x240",
    f"consul_catalog_service_node_healthy{{{BILLING}}}": "1x240",
    f"consul_catalog_service_node_healthy{{{ORDER}}}": "1x240",
    f'consul_health_service_status{{check="billing_service-health", {BILLING}, status="critical"}}': "0x240",
    f'consul_health_service_status{{check="order_service-health", {ORDER}, status="critical"}}': "0x240",
}
CRITICAL = f'consul_health_service_status{{check="billing_service-health", {BILLING}, status="critical"}}'
PRESENT = f"consul_catalog_service_node_healthy{{{BILLING}}}"
MAINTENANCE = (
    f'consul_health_service_status{{check="_service_maintenance:billing_service", {BILLING}, status="critical"}}'
)
NODE_MAINTENANCE = f'consul_health_node_status{{check="_node_maintenance", node="{AGENT}", status="critical"}}'
GONE = "_x240"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of rules of a stack with two services."""
    file = tmp_path_factory.mktemp("rules") / "consul-rules.yml"
    roster = forty_roster(names=("billing_service", "order_service"))
    file.write_text(yaml_text(alert_rules(roster, CLUSTER, "staging")))
    return file


def firing(rules: Path, alert: str, changed: Mapping[str, str], after: str) -> str:
    """Return what promtool says where an alert is expected not to fire: nothing, if it does not."""
    series = {**WELL, **changed}
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": after, "alertname": alert, "exp_alerts": []}],
    }
    document: dict[str, Any] = {"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": [test]}
    file = rules.with_name("test.yml")
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(("promtool", "test", "rules", file), capture_output=True, text=True, check=False)
    assert "SUCCESS" in done.stdout or "got:[" in done.stderr, done.stderr
    return done.stderr


FIRES = {
    "ConsulServiceCritical": [
        pytest.param({CRITICAL: "0x7 1x240"}, "3m15s", 'service_id="billing_service"', id="after a minute"),
        pytest.param(
            {CRITICAL: "0x7 1x6 stale", PRESENT: "1x7 0x6 stale"},
            "4m30s",
            'service_id="billing_service"',
            id="when Consul has removed it, until the other alert has begun",
        ),
    ],
    "ConsulServiceMissing": [
        pytest.param({PRESENT: "1x7 stale"}, "3m30s", 'service_id="billing_service"', id="after a minute"),
        pytest.param({PRESENT: GONE, CRITICAL: GONE}, "2m", 'container="isa-billing"', id="that was never there"),
    ],
    "ConsulServiceDuplicate": [
        pytest.param(
            {f'{PRESENT[:-1]}, other="1"}}'.replace('node="', 'node="other-'): "0x240"},
            "2m",
            'service_name="billing_service"',
            id="on another node",
        ),
    ],
    "ConsulNoLeader": [pytest.param({"consul_raft_leader": "1x7 0x240"}, "2m45s", "", id="after 30 s")],
    "ConsulAgentFailed": [
        pytest.param(
            {member(AGENT): "1x7 4x240"},
            "3m15s",
            f'member="{AGENT}"',
            id="failed",
        ),
        pytest.param({member(AGENT): "1x7 3x240"}, "3m15s", f'member="{AGENT}"', id="left"),
        pytest.param(
            {member(AGENT): "1x7 stale"},
            "3m30s",
            f'member="{AGENT}"',
            id="unknown",
        ),
        pytest.param({member("of-others"): "4x240"}, "2m", 'member="of-others"', id="of others"),
    ],
    "ConsulCertificateExpires": [
        pytest.param(
            {expiry(SERVER): f"{14 * DAY - 60}x240"},
            "1m",
            f'instance="{SERVER}"',
            id="a minute below 14 days",
        ),
        pytest.param({expiry(SERVER): "-60x240"}, "1m", "ends in -1m 0s", id="that ended"),
    ],
    "ConsulUnreachable": [
        pytest.param({"consul_up": "1x7 0x240"}, "3m15s", "", id="the exporter does not reach it"),
        pytest.param(
            {f'up{{job="consul-servers", instance="{SERVER}"}}': "1x7 0x240"}, "3m15s", f"at {SERVER}", id="a server"
        ),
        pytest.param(
            {'up{job="consul-exporter", instance="consul-exporter:9107"}': GONE}, "2m", "", id="no exporter at all"
        ),
    ],
}
SILENT = {
    "ConsulServiceCritical": [
        pytest.param({}, "10m", id="all is well"),
        pytest.param({CRITICAL: "0x7 1x3 0x240"}, "3m15s", id="it was critical for less than a minute"),
        pytest.param({CRITICAL: "1x240", MAINTENANCE: "1x240"}, "10m", id="it is in maintenance"),
        pytest.param({CRITICAL: "1x240", NODE_MAINTENANCE: "1x240"}, "10m", id="its node is in maintenance"),
        pytest.param(
            {CRITICAL: "1x12 stale", PRESENT: "0x12 stale", MAINTENANCE: "1x12 stale"},
            "4m15s",
            id="Consul removed it while in maintenance",
        ),
        pytest.param({CRITICAL: "0x7 1x8 0x240"}, "4m15s", id="it runs again"),
        pytest.param({CRITICAL: "0x7 1x6 stale", PRESENT: "1x7 0x6 stale"}, "7m", id="the other alert has begun"),
    ],
    "ConsulServiceMissing": [
        pytest.param({}, "10m", id="all is well"),
        pytest.param({PRESENT: "1x7 stale _x2 1x240"}, "3m15s", id="it was away for less than a minute"),
        pytest.param({PRESENT: "0x240", CRITICAL: "1x240"}, "10m", id="it is critical"),
        pytest.param({PRESENT: "1x7 stale", "consul_up": "1x7 0x240"}, "10m", id="the exporter does not reach Consul"),
        pytest.param({PRESENT: "1x7 stale", "consul_up": "1x7 stale"}, "10m", id="the exporter is away"),
    ],
    "ConsulServiceDuplicate": [
        pytest.param({}, "10m", id="all is well"),
        pytest.param(
            {'consul_catalog_service_node_healthy{node="a", service_id="x", service_name="not_stated"}': "1x240"},
            "10m",
            id="a service that is not stated",
        ),
    ],
    "ConsulNoLeader": [
        pytest.param({}, "10m", id="all is well"),
        pytest.param({"consul_raft_leader": "1x7 0x1 1x240"}, "2m30s", id="an election"),
    ],
    "ConsulAgentFailed": [
        pytest.param({}, "10m", id="all is well"),
        pytest.param(
            {member(AGENT): "1x7 3x2 1x240"},
            "4m",
            id="its container is replaced",
        ),
        pytest.param({member("of-others"): "3x240"}, "10m", id="one of others has left"),
        pytest.param(
            {member(AGENT): "1x7 stale", "consul_up": "1x7 0x240"},
            "10m",
            id="the exporter does not reach Consul",
        ),
    ],
    "ConsulCertificateExpires": [
        pytest.param({}, "10m", id="all is well, and one node has no certificate"),
        pytest.param({expiry(SERVER): f"{14 * DAY}x240"}, "10m", id="14 days are left"),
    ],
    "ConsulUnreachable": [
        pytest.param({}, "10m", id="all is well"),
        pytest.param({"consul_up": "1x7 0x3 1x240"}, "3m", id="a restart"),
    ],
}


def test_promtool_finds_no_mistake_in_rules_and_configuration(rules: Path) -> None:
    config = rules.with_name("prometheus.yml")
    config.write_text(yaml_text(scrape_configuration(CLUSTER)))
    done = subprocess.run(("promtool", "check", "config", config), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # two services, two nodes, and the alerts
    assert f"SUCCESS: {4 + len(alerts(CLUSTER, 'staging'))} rules found" in done.stdout


def test_each_alert_is_proved_both_ways() -> None:
    names = {each.name for each in alerts(CLUSTER, "staging")}
    assert (set(FIRES), set(SILENT)) == (names, names)


@pytest.mark.parametrize(
    ("alert", "changed", "after", "shown"),
    [pytest.param(name, *case.values, id=f"{name}: {case.id}") for name, cases in FIRES.items() for case in cases],
)
def test_it_fires(rules: Path, alert: str, changed: dict[str, str], after: str, shown: str) -> None:
    found = firing(rules, alert, changed, after)
    assert "got:[" in found
    assert shown in found


@pytest.mark.parametrize(
    ("alert", "changed", "after"),
    [pytest.param(name, *case.values, id=f"{name}: {case.id}") for name, cases in SILENT.items() for case in cases],
)
def test_it_is_silent(rules: Path, alert: str, changed: dict[str, str], after: str) -> None:
    assert firing(rules, alert, changed, after) == ""
