"""Messages of an Alertmanager, which Prometheus is told of as docs/monitoring.md says."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from consul_cluster.cluster_names import STAGING_NAMES
from monitoring.alert_rules import alert_rules
from monitoring.monitored_cluster import MonitoredCluster
from monitoring.scrape_configuration import EXPORTER_JOB, RULES_FILE, scrape_configuration
from monitoring.yaml_text import yaml_text
from operations.paths import ROOT
from operations.sandbox.processes import BackgroundProcess
from tests.forty_services import forty_roster
from tests.local.loopback import new_addresses
from tests.monitoring.programs import required_program
from tests.waiting import within

_SHOWN = re.compile(r"```\n(alerting:\n.*?)```", re.DOTALL)
_RECEIVER = 9094


def shown_in_the_docs(alertmanager: str) -> dict[str, Any]:
    """Return what the page adds to Prometheus' configuration, with the address of an Alertmanager of ours."""
    shown = _SHOWN.search((ROOT / "docs" / "monitoring.md").read_text())
    assert shown
    found: dict[str, Any] = yaml.safe_load(shown[1].replace("alertmanager:9093", alertmanager))
    return found


def prometheus(folder: Path, address: str, alertmanager: str) -> BackgroundProcess:
    """Return a Prometheus with the rules of a stack whose Consul, and whose exporter, are away."""
    cluster = MonitoredCluster(STAGING_NAMES, f"{address}:8500", 8500, f"{address}:9107")
    config = {**scrape_configuration(cluster), **shown_in_the_docs(alertmanager)}
    config["scrape_configs"] = [each for each in config["scrape_configs"] if each["job_name"] == EXPORTER_JOB]
    (folder / "prometheus.yml").write_text(yaml_text(config))
    (folder / RULES_FILE).write_text(yaml_text(alert_rules(forty_roster(), cluster, "staging")))
    options = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
    command = (required_program("prometheus"), *options, f"--web.listen-address={address}:9090")
    return BackgroundProcess("prometheus", command, folder)


def alertmanager(folder: Path, address: str) -> BackgroundProcess:
    """Return an Alertmanager that sends each message to a receiver of ours."""
    receiver = {"name": "ours", "webhook_configs": [{"url": f"http://{address}:{_RECEIVER}/"}]}
    config = {"route": {"receiver": "ours", "group_wait": "1s"}, "receivers": [receiver]}
    (folder / "alertmanager.yml").write_text(yaml_text(config))
    options = (f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'alertmanager'}")
    where = (f"--web.listen-address={address}:9093", "--cluster.listen-address=")
    return BackgroundProcess("alertmanager", (required_program("alertmanager"), *options, *where), folder)


@contextmanager
def receiving(address: str) -> Iterator[list[dict[str, Any]]]:
    """Receive messages; yields the alerts that they had so far."""
    alerts: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, _RECEIVER), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield alerts
        finally:
            server.shutdown()


def test_an_alert_becomes_a_message_with_its_summary_its_command_and_where_to_read(tmp_path: Path) -> None:
    address = new_addresses().services
    processes = (alertmanager(tmp_path, address), prometheus(tmp_path, address, f"{address}:9093"))
    with receiving(address) as alerts:
        try:
            for process in processes:
                process.start()
            within(150, lambda: alerts)  # the minute of the rule, a scrape, and two evaluations
        finally:
            for process in processes:
                process.stop()
    [alert] = alerts
    assert (alert["status"], alert["labels"]["alertname"]) == ("firing", "ConsulUnreachable")
    assert alert["annotations"] == {
        "summary": f"Prometheus cannot reach Consul, at {address}:9107: what it shows is old",
        "command": "make verify STACK=staging",
        "runbook_url": "docs/monitoring.md#consulunreachable",
    }
