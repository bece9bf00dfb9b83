"""What holds for every workflow under .github: nobody runs them here."""

import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

import toolchain

GITHUB = Path(__file__).parents[2] / ".github"
FILES = sorted(GITHUB.rglob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((GITHUB / "workflows").glob("*.yml"))}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def triggers(name: str) -> set[str]:
    on = WORKFLOWS[name][True]  # which is how YAML 1.1 reads `on`
    return {on} if isinstance(on, str) else set(on)


def test_there_is_a_workflow_for_each_way_of_using_the_program() -> None:
    assert set(WORKFLOWS) == {"test", "preview", "deploy", "drift", "destroy", "snapshot"}


def test_actionlint_finds_nothing() -> None:
    try:
        program = toolchain.actionlint()
    except toolchain.ToolchainError as problem:
        pytest.skip(str(problem))
    done = subprocess.run([program], cwd=GITHUB.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@every_file
def test_every_action_of_others_is_pinned_by_digest_with_its_version_beside(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert [use for use in uses if not re.fullmatch(r"\./\S+|\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


@every_workflow
def test_a_workflow_has_the_permissions_that_it_needs_and_no_other(name: str) -> None:
    comments = {"pull-requests": "write"} if name == "preview" else {}
    assert WORKFLOWS[name]["permissions"] == {"contents": "read", **comments}


@every_workflow
def test_a_checkout_leaves_no_credentials_behind(name: str) -> None:
    checkouts = [step for step in steps(name) if step.get("uses", "").startswith("actions/checkout")]
    assert [step["with"] for step in checkouts] == [{"persist-credentials": False}] * len(WORKFLOWS[name]["jobs"])


@every_workflow
def test_every_job_has_a_time_limit(name: str) -> None:
    assert all(0 < job["timeout-minutes"] <= 90 for job in WORKFLOWS[name]["jobs"].values())


@pytest.mark.parametrize("name", ["preview", "deploy", "drift", "destroy"])
def test_pulumi_is_of_the_version_that_requirements_pin(name: str) -> None:
    versions = [step["with"]["pulumi-version"] for step in steps(name) if "pulumi/actions" in step.get("uses", "")]
    assert versions == [version("pulumi")]


@pytest.mark.parametrize(
    ("name", "on", "command"),
    [
        ("deploy", {"push"}, "up"),
        ("destroy", {"workflow_dispatch"}, "destroy"),
    ],
)
def test_a_workflow_runs_its_command_of_pulumi_on_its_event(name: str, on: set[str], command: str) -> None:
    assert triggers(name) == on
    pulumi = [step["with"] for step in steps(name) if "pulumi/actions" in step.get("uses", "")]
    assert [(each["command"], each["stack-name"]) for each in pulumi] == [(command, "staging")]


def test_what_needs_docker_is_tested_in_a_job_of_its_own() -> None:
    commands = {job: entry["steps"][-1]["run"] for job, entry in WORKFLOWS["test"]["jobs"].items()}
    assert commands == {"test": "make test", "docker": "make test-docker"}


def commands(name: str) -> list[str]:
    return [line for step in steps(name) for line in step.get("run", "").splitlines()]


def test_a_preview_reaches_neither_docker_nor_consul() -> None:
    assert triggers("preview") == {"pull_request"}
    [preview] = [line for line in commands("preview") if line.startswith("pulumi ")]
    assert preview.startswith("pulumi preview --stack staging --refresh=false --diff ")


def test_drift_brings_back_what_was_reaped_and_reports_the_rest() -> None:
    assert triggers("drift") == {"schedule"}
    assert commands("drift") == [
        "make heal STACK=staging",
        "pulumi refresh --stack staging --preview-only --expect-no-changes --diff --non-interactive",
    ]


def test_what_was_deployed_is_verified() -> None:
    assert steps("deploy")[-1]["run"] == "make verify STACK=staging WAIT=1m"


@pytest.mark.parametrize(
    ("name", "command", "secret"),
    [
        ("deploy", "make verify", "CONSUL_HTTP_TOKEN"),
        ("drift", "make heal", "CONSUL_HTTP_TOKEN"),
        ("snapshot", "make snapshot", "CONSUL_SNAPSHOT_TOKEN"),
    ],
)
def test_a_command_gets_the_token_of_a_consul_that_others_secured(name: str, command: str, secret: str) -> None:
    [step] = [step for step in steps(name) if step.get("run", "").startswith(command)]
    assert step["env"]["CONSUL_HTTP_TOKEN"] == f"${{{{ secrets.{secret} }}}}"


def test_a_drift_run_that_waits_pushes_out_no_deployment_that_waits() -> None:
    assert WORKFLOWS["drift"]["concurrency"] != WORKFLOWS["deploy"]["concurrency"]


@pytest.mark.parametrize("name", ["deploy", "destroy"])
def test_only_one_run_at_a_time_changes_staging(name: str) -> None:
    assert WORKFLOWS[name]["concurrency"] == {"group": "staging"}


def test_what_changes_staging_waits_for_approval_and_what_runs_on_a_schedule_does_not() -> None:
    environments = {name: job.get("environment") for name in WORKFLOWS for job in WORKFLOWS[name]["jobs"].values()}
    assert {name: each for name, each in environments.items() if each} == {"deploy": "staging", "destroy": "staging"}


def test_a_destroy_is_confirmed_by_the_stacks_name() -> None:
    assert [job["if"] for job in WORKFLOWS["destroy"]["jobs"].values()] == ["inputs.confirm == 'staging'"]


def test_a_preview_of_a_fork_does_not_run_since_it_is_given_no_secrets() -> None:
    condition = "github.event.pull_request.head.repo.full_name == github.repository"
    assert [job["if"] for job in WORKFLOWS["preview"]["jobs"].values()] == [condition]
