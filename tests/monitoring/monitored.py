"""Prometheus and consul_exporter as processes beside a sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from monitoring.alert_rules import alert_rules
from monitoring.monitored_cluster import MonitoredCluster
from monitoring.scrape_configuration import RULES_FILE, scrape_configuration
from monitoring.yaml_text import yaml_text
from operations.sandbox.processes import BackgroundProcess
from tests.local.stacks import EditableStack
from tests.monitoring.programs import required_program
from waiting import wait_until

STACK = "local"


@dataclass(frozen=True)
class Monitored:
    """A deployed stack, and the Prometheus that watches it."""

    stack: EditableStack
    prometheus: str
    exporter: BackgroundProcess

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        answer = urllib3.request("GET", f"{self.prometheus}/api/v1/{path}", fields=query, timeout=10, retries=False)
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        return list(self.get("query", query=expr)["result"])

    def targets(self) -> list[tuple[str, str, str]]:
        """Return job, instance and health of each target."""
        found = self.get("targets", state="active")["activeTargets"]
        return sorted((each["labels"]["job"], each["labels"]["instance"], each["health"]) for each in found)

    def firing(self, alert: str) -> list[dict[str, str]]:
        """Return the labels of an alert that fires, without its name and severity."""
        found = self.get("alerts")["alerts"]
        own = [each["labels"] for each in found if each["state"] == "firing" and each["labels"]["alertname"] == alert]
        return [{key: value for key, value in each.items() if key not in ("alertname", "severity")} for each in own]

    def fires(self, alert: str, **labels: str) -> bool:
        """Return whether an alert fires that has some labels."""
        return any(labels.items() <= each.items() for each in self.firing(alert))


@contextmanager
def monitored(stack: EditableStack, folder: Path) -> Iterator[Monitored]:
    """Start both beside a stack, on its services' address, and wait until Prometheus has scraped all that there is."""
    sandbox = stack.sandbox
    address = sandbox.roster.services[0].host
    cluster = MonitoredCluster(
        sandbox.names,
        f"{sandbox.server}:8500",
        8500,
        f"{address}:9107",
        server_metrics=True,
        nodes=(sandbox.names.agent_node, sandbox.names.server_node),
    )
    config = folder / "prometheus.yml"
    config.write_text(yaml_text(scrape_configuration(cluster)))
    (folder / RULES_FILE).write_text(yaml_text(alert_rules(stack.roster, cluster, STACK)))
    options = (f"--consul.server=http://{cluster.api}", f"--web.listen-address={cluster.exporter}")
    exporter = BackgroundProcess("consul_exporter", (required_program("consul_exporter"), *options), folder)
    where = (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}:9090",
    )
    prometheus = BackgroundProcess("prometheus", (required_program("prometheus"), *where), folder)
    found = Monitored(stack, f"http://{address}:9090", exporter)
    try:
        exporter.start()
        prometheus.start()
        assert wait_until(lambda: _scraped(found), 60, pause=1), prometheus.log.read_text()
        yield found
    finally:
        prometheus.stop()
        exporter.stop()


def _scraped(found: Monitored) -> bool:
    try:
        return len(targets := found.targets()) == 3 and all(health == "up" for *_, health in targets)
    except HTTPError:
        return False
