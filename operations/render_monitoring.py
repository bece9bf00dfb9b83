"""`render-monitoring`: writes what a Prometheus and a Grafana of one's own need to monitor a stack."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from errors import UserError
from monitoring.alert_rules import alert_rules
from monitoring.grafana_provisioning import dashboard_provider, data_source
from monitoring.monitored_cluster import PROMETHEUS_CONTAINER, monitored_cluster
from monitoring.scrape_configuration import RULES_FILE, scrape_configuration
from monitoring.yaml_text import yaml_text
from operations.command_line import DEFAULT_STACK, StackName
from operations.rendered_files import OUT, write_files
from operations.stack import Stack

_PROVISIONING = "grafana/provisioning"


class RenderMonitoringError(UserError):
    """The stack has more than one Docker host."""


def render_monitoring(out: Annotated[Path, OUT], stack: StackName = DEFAULT_STACK) -> None:
    """Write prometheus.yml, consul-rules.yml, and Grafana's provisioning with the dashboard.

    Two runs give the same bytes. Nobody is asked: `promtool check config DIR/prometheus.yml` judges them.
    """
    write_files(out, contents(Stack.load(stack)))


def contents(stack: Stack) -> Mapping[str, str]:
    """Return the text of each file, by its path.

    Raises:
        RenderMonitoringError: the stack has several Docker hosts.
    """
    from monitoring.dashboard import dashboard  # noqa: PLC0415 - of all commands, this one alone needs Grafana's SDK

    if stack.settings.hosts:
        raise RenderMonitoringError(f"Pulumi.{stack.name}.yaml: hosts: what is rendered is for one Docker host")
    cluster = monitored_cluster(stack.settings)
    prometheus = f"http://{PROMETHEUS_CONTAINER if stack.settings.docker else '127.0.0.1'}:9090"
    return {
        "prometheus.yml": yaml_text(scrape_configuration(cluster)),
        RULES_FILE: yaml_text(alert_rules(stack.roster, cluster, stack.name)),
        f"{_PROVISIONING}/datasources/consul.yaml": yaml_text(data_source(prometheus)),
        f"{_PROVISIONING}/dashboards/consul.yaml": yaml_text(dashboard_provider()),
        f"{_PROVISIONING}/dashboards/consul.json": json.dumps(dashboard(stack.name), indent=2) + "\n",
    }
