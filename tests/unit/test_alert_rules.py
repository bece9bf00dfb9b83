"""The rules as data. What they say to Prometheus is proved in tests/monitoring."""

import dataclasses
import re
from pathlib import Path

import pytest

from consul_cluster.cluster_names import STAGING_NAMES
from monitoring.alert_rules import Alert, alert_rules, alerts
from monitoring.monitored_cluster import MonitoredCluster
from tests.forty_services import FORTY, forty_roster

ROOT = Path(__file__).parents[2]
CLUSTER = MonitoredCluster(
    STAGING_NAMES, "staging-consul:8500", 8500, "consul-exporter:9107", nodes=("consul-agent-shared", "staging-consul")
)
ALERTS = alerts(CLUSTER, "staging")
every_alert = pytest.mark.parametrize("alert", [pytest.param(each, id=each.name) for each in ALERTS])


def test_each_service_of_the_roster_is_a_series_and_each_node() -> None:
    stated, _ = alert_rules(forty_roster(), CLUSTER, "staging")["groups"]
    assert [each["labels"] for each in stated["rules"] if each["record"] == "consul:service:stated"] == [
        {"service_id": line.name, "service_name": line.name, "group": line.kind, "container": line.container}
        for line in FORTY
    ]
    assert [each["labels"] for each in stated["rules"] if each["record"] == "consul:node:stated"] == [
        {"member": "consul-agent-shared"},
        {"member": "staging-consul"},
    ]


def test_there_is_an_alert_for_each_of_these() -> None:
    assert [each.name for each in ALERTS] == [
        "ConsulServiceCritical",
        "ConsulServiceMissing",
        "ConsulServiceDuplicate",
        "ConsulNoLeader",
        "ConsulAgentFailed",
        "ConsulCertificateExpires",
        "ConsulUnreachable",
    ]


def test_an_alert_says_what_is_wrong_what_to_run_and_where_to_read() -> None:
    [first, *_] = alert_rules(forty_roster(), CLUSTER, "staging")["groups"][1]["rules"]
    assert first["annotations"] == {
        "summary": "{{ $labels.service_id }} on {{ $labels.node }} is critical: its clients do not find it",
        "command": "make verify STACK=staging",
        "runbook_url": "docs/monitoring.md#consulservicecritical",
    }
    assert (first["for"], first["labels"]) == ("60s", {"severity": "critical"})


@every_alert
def test_the_docs_have_a_heading_for_it(alert: Alert) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert re.search(rf"^#+ {alert.name}$", page, re.MULTILINE)


@every_alert
def test_its_command_is_one_of_the_makefile_or_of_pulumi(alert: Alert) -> None:
    program, command, *_ = alert.command.split()
    targets = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {"make": {name for line in targets for name in line.split()}, "pulumi": {"up"}}
    assert command in known[program]


def test_certificates_that_consul_renews_days_before_they_end_are_no_alert() -> None:
    renewed = dataclasses.replace(CLUSTER, certificates_renewed=True)
    names = {each.name for each in ALERTS} - {each.name for each in alerts(renewed, "staging")}
    assert names == {"ConsulCertificateExpires"}
