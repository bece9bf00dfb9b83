"""What `render-monitoring` writes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from docker_hosts import HostSettings
from monitoring.dashboard import dashboard
from operations import render_monitoring as command
from operations.paths import ROOT
from operations.render_monitoring import RenderMonitoringError, contents
from operations.stack import Stack

pytestmark = pytest.mark.real_roster

FILES = [
    "consul-rules.yml",
    "grafana/provisioning/dashboards/consul.json",
    "grafana/provisioning/dashboards/consul.yaml",
    "grafana/provisioning/datasources/consul.yaml",
    "prometheus.yml",
]


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(command.render_monitoring)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_it_writes_these_files_into_a_folder_that_it_creates_and_names_them(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    result = run("--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(str(each.relative_to(out)) for each in out.rglob("*") if each.is_file()) == FILES
    assert sorted(result.stdout.splitlines()) == [str(out / name) for name in FILES]


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    arguments = ("--stack", "docker-local", "--out")
    run(*arguments, tmp_path / "first")
    command = (sys.executable, "-m", "operations", "render-monitoring", *arguments, tmp_path / "second")
    # Where hashes differ, so does the order of a set.
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "1"}, check=True, capture_output=True)
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_rules_file_is_the_one_that_the_configuration_names() -> None:
    rendered = contents(Stack.load("docker-local"))
    [named] = yaml.safe_load(rendered["prometheus.yml"])["rule_files"]
    assert named in rendered


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    rendered = contents(Stack.load("docker-local"))
    [source] = yaml.safe_load(rendered["grafana/provisioning/datasources/consul.yaml"])["datasources"]
    panels = json.loads(rendered["grafana/provisioning/dashboards/consul.json"])["panels"]
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {source["uid"]}
    assert source["url"] == "http://consul-prometheus:9090"


def test_no_two_panels_have_one_id_or_one_place() -> None:
    panels = dashboard("staging")["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_a_stack_of_several_hosts_is_refused() -> None:
    stack = Stack.load("staging")
    host = HostSettings(engine="unix:///var/run/docker.sock", address="127.0.0.1")
    several = replace(stack, settings=stack.settings.model_copy(update={"hosts": {"a": host}}))
    with pytest.raises(RenderMonitoringError, match=r"^Pulumi\.staging\.yaml: hosts: what is rendered is for one"):
        contents(several)


def test_nothing_else_imports_grafanas_sdk() -> None:
    imports = "import sys, components.deployment, operations.render_monitoring"
    code = f"{imports}; print('grafana_foundation_sdk' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout == "False\n"
