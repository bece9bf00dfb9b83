"""The rules by which Prometheus tells that something is wrong with a stack's Consul, or with its services.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from monitoring.monitored_cluster import MonitoredCluster
from monitoring.scrape_configuration import EXPORTER_JOB
from services.roster import Roster

STATED_SERVICE, STATED_NODE = "consul:service:stated", "consul:node:stated"
"""Series that are 1 for each service, and for each of Consul's nodes, that the stack states, whatever Consul has."""

RUNBOOK = "docs/monitoring.md"
"""Has a heading for each alert, of the alert's name."""

_EXPIRY_WARNING = timedelta(days=14)

# Consul keeps a maintenance mode as a critical check with an id of its own, and consul_exporter as the series of one.
# https://developer.hashicorp.com/consul/api-docs/agent/service#enable-maintenance-mode
_CRITICAL = 'consul_health_service_status{status="critical", check!~"_service_maintenance:.*"}'
_MAINTENANCE = 'consul_health_service_status{check=~"_service_maintenance:.*"}'
_NODE_MAINTENANCE = 'consul_health_node_status{check="_node_maintenance"}'
_PRESENT = "consul_catalog_service_node_healthy"
_EXPORTER_ANSWERS = "on () consul_up == 1"
_INSTANCE = "node, service_id, service_name"


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes:
        name: also of its heading in the runbook.
        expr: in PromQL: what it has a result for is wrong.
        hold: how long it must be wrong before the alert fires.
        severity: critical: somebody misses something now; warning: somebody will.
        summary: in Prometheus' template language.
        command: that says more, or mends it.
    """

    name: str
    expr: str
    hold: timedelta
    severity: Literal["critical", "warning"]
    summary: str
    command: str

    def rule(self) -> dict[str, Any]:
        """Return the alert as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": f"{self.hold.seconds}s",
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "command": self.command,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


def alert_rules(roster: Roster, cluster: MonitoredCluster, stack: str) -> dict[str, Any]:
    """Return the content of a file of rules: the series of what is stated, and the alerts.

    Args:
        roster: the services of the stack.
        cluster: its Consul.
        stack: its name, for the commands.
    """
    return {
        "groups": [
            {"name": "consul-stated", "rules": [*_stated_services(roster), *_stated_nodes(cluster)]},
            {"name": "consul-alerts", "rules": [alert.rule() for alert in alerts(cluster, stack)]},
        ]
    }


def _stated_services(roster: Roster) -> Iterator[dict[str, Any]]:
    for service in roster.services:
        labels = {
            "service_id": service.id,
            "service_name": service.name,
            "group": service.kind,
            "container": service.container,
        }
        yield {"record": STATED_SERVICE, "expr": "vector(1)", "labels": labels}


def _stated_nodes(cluster: MonitoredCluster) -> Iterator[dict[str, Any]]:
    for node in cluster.nodes:
        yield {"record": STATED_NODE, "expr": "vector(1)", "labels": {"member": node}}


def alerts(cluster: MonitoredCluster, stack: str) -> tuple[Alert, ...]:
    """Return the alerts of a stack."""
    verify, minute = f"make verify STACK={stack}", timedelta(minutes=1)
    found = (
        Alert(
            "ConsulServiceCritical",
            f"({_critical_now()}) or ({_critical_when_removed()})",
            minute,
            "critical",
            "{{ $labels.service_id }} on {{ $labels.node }} is critical: its clients do not find it",
            verify,
        ),
        Alert(
            "ConsulServiceMissing",
            f"{STATED_SERVICE} unless on (service_id) {_PRESENT} and {_EXPORTER_ANSWERS}",
            minute,
            "critical",
            "{{ $labels.service_id }} is stated, and the catalog does not have it",
            f"make heal STACK={stack}",
        ),
        Alert(
            "ConsulServiceDuplicate",
            f"count by (service_name) ({_PRESENT}) > on (service_name) count by (service_name) ({STATED_SERVICE})",
            minute,
            "warning",
            "the catalog has {{ $value }} instances of {{ $labels.service_name }}: more than are stated",
            verify,
        ),
        Alert(
            "ConsulNoLeader",
            "consul_raft_leader == 0",
            timedelta(seconds=30),
            "critical",
            "Consul has no leader: nothing can be registered, and what clients find grows old",
            verify,
        ),
        Alert(
            "ConsulAgentFailed",
            f"(max by (member) (consul_serf_lan_member_status) == 4) or ({_stated_and_not_alive()})",
            minute,
            "critical",
            "Consul's node {{ $labels.member }} is not alive: nobody checks the services on it",
            verify,
        ),
        Alert(
            "ConsulCertificateExpires",
            # 0 stands for a node without a certificate.
            f"(consul_agent_tls_cert_expiry != 0) < {_EXPIRY_WARNING.total_seconds():.0f}",
            timedelta(0),
            "warning",
            "the certificate of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
            f"pulumi up --stack {stack}",
        ),
        Alert(
            "ConsulUnreachable",
            f'(up{{job=~"consul-.*"}} == 0) or (consul_up == 0) or absent(up{{job="{EXPORTER_JOB}"}})',
            minute,
            "critical",
            "Prometheus cannot reach Consul{{ with $labels.instance }}, at {{ . }}{{ end }}: what it shows is old",
            verify,
        ),
    )
    renewed = cluster.certificates_renewed
    return tuple(each for each in found if not (renewed and each.name == "ConsulCertificateExpires"))


def _critical_now() -> str:
    maintained = f"unless on (node, service_id) {_MAINTENANCE} unless on (node) {_NODE_MAINTENANCE}"
    return f"max by ({_INSTANCE}) ({_CRITICAL}) == 1 {maintained}"


def _critical_when_removed() -> str:
    """Return what keeps the alert of a service that Consul removed while critical, until the one that it is missing."""

    def lately(series: str) -> str:
        return f"max_over_time({series}[2m])"

    maintained = f"unless on (node, service_id) {lately(_MAINTENANCE)} unless on (node) {lately(_NODE_MAINTENANCE)}"
    removed = f"unless on (service_id) {_PRESENT} and {_EXPORTER_ANSWERS}"
    return f"max by ({_INSTANCE}) ({lately(_CRITICAL)}) == 1 {maintained} {removed}"


def _stated_and_not_alive() -> str:
    alive = "(consul_serf_lan_member_status == 1)"
    return f"max by (member) ({STATED_NODE}) unless on (member) {alive} and {_EXPORTER_ANSWERS}"
