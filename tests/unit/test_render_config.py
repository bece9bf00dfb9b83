"""What `render-config` writes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from operations import render_config as command
from operations.paths import ROOT
from operations.render_config import contents
from operations.stack import Stack
from services.environment import Environment
from services.field_types import OWNER_KEY
from services.roster import load_roster

pytestmark = pytest.mark.real_roster

FILES = ["agent-config.json", "ai-services.json", "grpc-services.json", "user-services.json"]


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(command.render_config)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_it_writes_four_files_into_a_folder_that_it_creates(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    result = run("--out", out)
    assert result.exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_it_names_what_it_wrote(tmp_path: Path) -> None:
    assert sorted(run("--out", tmp_path).stdout.splitlines()) == [str(tmp_path / name) for name in FILES]


@pytest.mark.parametrize("kind", ["user", "ai", "grpc"])
def test_each_definition_file_has_the_services_of_its_group(tmp_path: Path, kind: str) -> None:
    run("--out", tmp_path)
    services = json.loads((tmp_path / f"{kind}-services.json").read_text())["services"]
    assert [each["id"] for each in services] == [each.id for each in load_roster(Environment("staging")).of_kind(kind)]


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    run("--out", tmp_path / "first")
    command = (sys.executable, "-m", "operations", "render-config", "--out", tmp_path / "second")
    # Where hashes differ, so does the order of a set.
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "1"}, check=True, capture_output=True)
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    run("--out", tmp_path)
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_without_a_folder_it_prints_all_of_it_as_one_object_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = json.loads(run().stdout)
    assert list(tmp_path.iterdir()) == []
    run("--out", "files")
    assert printed == {name: json.loads((tmp_path / "files" / name).read_text()) for name in FILES}


def test_the_owner_of_each_service_is_the_files_of_the_stack() -> None:
    rendered = contents(Stack.load("staging"))
    owners = {each["meta"][OWNER_KEY] for name in FILES[1:] for each in rendered[name]["services"]}
    assert owners == {"pulumi/consul-staging/staging/definition-files"}


def test_the_agent_of_a_docker_stack_joins_the_server_by_its_name() -> None:
    config = contents(Stack.load("staging"))["agent-config.json"]
    assert (config["retry_join"], config["bind_addr"]) == (["staging-consul"], "0.0.0.0")  # noqa: S104


def test_the_agent_of_a_secured_stack_is_written_with_what_secures_it_and_without_a_secret() -> None:
    staging = Stack.load("staging")
    secured = staging.settings.model_copy(update={"security": "on", "server": "created"})
    config = contents(replace(staging, settings=secured))["agent-config.json"]
    assert (config["acl"]["default_policy"], config["ports"]) == ("deny", {"https": 8501})
    assert "encrypt" not in config


def test_the_agent_of_a_stack_without_docker_has_its_loopback_addresses() -> None:
    config = contents(Stack.load("local"))["agent-config.json"]
    assert (config["retry_join"], config["bind_addr"]) == (["127.0.0.1"], "127.0.0.2")


def test_a_folder_that_cannot_be_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("--out", tmp_path / "file" / "below")
    assert result.exit_code != 0
    assert re.search(r"--out.*Not a directory", result.output)
    assert "Traceback" not in result.output


def test_a_file_in_the_folders_place_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    result = run("--out", tmp_path / "file")
    assert result.exit_code != 0
    assert "is a file" in result.output
    assert (tmp_path / "file").read_text() == "kept"
