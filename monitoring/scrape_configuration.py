"""`prometheus.yml`: what Prometheus scrapes of a Consul.

https://prometheus.io/docs/prometheus/latest/configuration/configuration/
"""

import re
from typing import Any

from monitoring.monitored_cluster import CA_FILE, TOKEN_FILE, MonitoredCluster

RULES_FILE = "consul-rules.yml"
"""The file of the alert rules, beside `prometheus.yml`."""

EXPORTER_JOB, AGENTS_JOB, SERVERS_JOB = "consul-exporter", "consul-agents", "consul-servers"

_INTERVAL = "15s"


def scrape_configuration(cluster: MonitoredCluster) -> dict[str, Any]:
    """Return the content of `prometheus.yml`.

    Consul's nodes are found in its catalog, each at the address that it has there: servers by their service `consul`,
    agents by the services that are registered on them.

    Args:
        cluster: what is scraped.
    """
    return {
        "global": {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL},
        "rule_files": [RULES_FILE],
        "scrape_configs": [
            {"job_name": EXPORTER_JOB, "static_configs": [{"targets": [cluster.exporter]}]},
            _nodes(AGENTS_JOB, "client", cluster, {}, [_only_node(cluster.names.agent_node)]),
            *([_nodes(SERVERS_JOB, "server", cluster, {"services": ["consul"]}, [])] if cluster.server_metrics else []),
        ],
    }


def _nodes(
    job: str, role: str, cluster: MonitoredCluster, searched: dict[str, Any], kept: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the job that scrapes Consul's nodes of a role.

    Args:
        job: its name.
        role: in the name that the certificates of these nodes have, such as `server.dc1.consul`.
        cluster: what is scraped.
        searched: which services are looked up; none: all.
        kept: which of the instances found are kept.
    """
    names = cluster.names
    found = {"server": cluster.api, "datacenter": names.datacenter, **searched, **_access(cluster)}
    return {
        "job_name": job,
        "metrics_path": "/v1/agent/metrics",
        "params": {"format": ["prometheus"]},
        **_access(cluster, f"{role}.{names.datacenter}.consul"),
        "consul_sd_configs": [found],
        "relabel_configs": [
            *kept,
            {
                "source_labels": ["__meta_consul_address"],
                "target_label": "__address__",
                "replacement": f"${{1}}:{cluster.port}",
            },
            # The services of a node are one target then: Prometheus scrapes those once that have the same labels.
            {"source_labels": ["__meta_consul_node"], "target_label": "instance"},
        ],
    }


def _only_node(node: str) -> dict[str, Any]:
    return {"source_labels": ["__meta_consul_node"], "regex": re.escape(node), "action": "keep"}


def _access(cluster: MonitoredCluster, server_name: str | None = None) -> dict[str, Any]:
    """Return how one of Consul's APIs is reached.

    Args:
        cluster: whose APIs they are.
        server_name: that is in the certificate of an API at an IP address; None: the API has a name.
    """
    access: dict[str, Any] = {"scheme": cluster.scheme}
    if cluster.https:
        access["tls_config"] = {"ca_file": CA_FILE, **({"server_name": server_name} if server_name else {})}
    if cluster.token:
        access["authorization"] = {"credentials_file": TOKEN_FILE}
    return access
