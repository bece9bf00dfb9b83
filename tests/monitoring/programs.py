"""Prometheus, promtool and consul_exporter: neither this project nor a package of Debian's has them."""

import shutil
import subprocess
from pathlib import Path

import yaml

_RELEASES = {
    "prometheus": "https://github.com/prometheus/prometheus/releases",
    "promtool": "https://github.com/prometheus/prometheus/releases",
    "consul_exporter": "https://github.com/prometheus/consul_exporter/releases",
}


def obstacle(folder: Path) -> str | None:
    """Return why the tests cannot run here, and what would help.

    Args:
        folder: for a file of no further use.
    """
    for name, releases in _RELEASES.items():
        if not shutil.which(name):
            return f"{name} is not on PATH: get a release from {releases}"
    file = folder / "prometheus.yml"
    found = {"server": "127.0.0.1:8500"}
    file.write_text(yaml.safe_dump({"scrape_configs": [{"job_name": "consul", "consul_sd_configs": [found]}]}))
    if subprocess.run(("promtool", "check", "config", file), capture_output=True, check=False).returncode:
        without = f"{shutil.which('promtool')} knows no consul_sd_configs, as that of Debian's package"
        return f"{without}: get a release from {_RELEASES['promtool']}"
    return None
