"""The files by which Grafana gets the data source and the dashboard.

https://grafana.com/docs/grafana/latest/administration/provisioning/
"""

from typing import Any

DATA_SOURCE = "consul-prometheus"
"""The uid of the data source, by which the dashboard names it."""

_FOLDER = "/etc/grafana/provisioning/dashboards"  # of Grafana's image


def data_source(prometheus: str) -> dict[str, Any]:
    """Return what makes Prometheus a data source.

    Args:
        prometheus: its address, as Grafana reaches it.
    """
    source = {"name": "Prometheus of Consul", "uid": DATA_SOURCE, "type": "prometheus", "access": "proxy"}
    return {"apiVersion": 1, "datasources": [{**source, "url": prometheus}]}


def dashboard_provider() -> dict[str, Any]:
    """Return what has Grafana read the dashboard, from the folder of this file."""
    return {
        "apiVersion": 1,
        "providers": [{"name": "consul", "folder": "Consul", "type": "file", "options": {"path": _FOLDER}}],
    }
