"""Prometheus, promtool, consul_exporter and Alertmanager: this project does not have them.

Of Debian's packages, Alertmanager's alone will do.
"""

import shutil
import subprocess
from pathlib import Path

import yaml

_RELEASES = {
    "prometheus": "https://github.com/prometheus/prometheus/releases",
    "promtool": "https://github.com/prometheus/prometheus/releases",
    "consul_exporter": "https://github.com/prometheus/consul_exporter/releases",
    "alertmanager": "https://github.com/prometheus/alertmanager/releases",
}


def program(name: str) -> str | None:
    """Return the path of a program; Debian has Alertmanager under another name."""
    return shutil.which(name) or shutil.which(f"prometheus-{name}")


def required_program(name: str) -> str:
    """Return the path of a program that has to be there."""
    found = program(name)
    assert found, name
    return found


def obstacle(folder: Path) -> str | None:
    """Return why the tests cannot run here, and what would help.

    Args:
        folder: for a file of no further use.
    """
    for name, releases in _RELEASES.items():
        if not program(name):
            return f"{name} is not on PATH: get a release from {releases}"
    file = folder / "prometheus.yml"
    found = {"server": "127.0.0.1:8500"}
    file.write_text(yaml.safe_dump({"scrape_configs": [{"job_name": "consul", "consul_sd_configs": [found]}]}))
    if subprocess.run(("promtool", "check", "config", file), capture_output=True, check=False).returncode:
        without = f"{shutil.which('promtool')} knows no consul_sd_configs, as that of Debian's package"
        return f"{without}: get a release from {_RELEASES['promtool']}"
    return None
