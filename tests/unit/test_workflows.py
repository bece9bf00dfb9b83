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


STACK_LINES = """\
Previewing update (staging):
  pulumi:pulumi:Stack: (same)
    [urn=urn:pulumi:staging::consul-staging::pulumi:pulumi:Stack::consul-staging-staging]
"""
SERVICE_URN = (
    "urn:pulumi:staging::consul-staging::consul-staging:registration:AgentRegistration"
    "$pulumi-python:dynamic/consul:AgentService::registration-billing_service"
)
NOTHING = f"{STACK_LINES}Resources:\n    85 unchanged\n"
CHANGED_PORT = f"""\
{STACK_LINES}\
    ~ pulumi-python:dynamic/consul:AgentService: (update)
        [id=billing_service]
        [urn={SERVICE_URN}]
        address   : "isa-billing"
      ~ checks    : {{
          ~ billing_service-health: {{
              ~ http    : "http://isa-billing:8216/health" => "http://isa-billing:8999/health"
                interval: "10s"
            }}
        }}
      ~ port      : 8216 => 8999
        tags      : [
            [0]: "v1"
        ]
    --outputs:--
  ~ service/billing_service      : {{
      ~ address: "isa-billing:8216" => "isa-billing:8999"
      ~ check  : "http://isa-billing:8216/health" => "http://isa-billing:8999/health"
    }}
Resources:
    ~ 1 to update
    84 unchanged
"""
REFUSED = "error: Pulumi.staging.yaml: registration: 'agnet': input should be 'agent', 'catalog' or 'files'\n"


def comment(folder: Path, pulumi: str) -> tuple[int, str]:
    """Run the steps of the workflow `preview`, with another `pulumi`; returns how the first one ends, and the comment.

    As on a runner, `gh` has the comment's file as an argument, and each step's shell ends at the first error.
    """
    programs = folder / "programs"
    programs.mkdir()
    for name, script in (("pulumi", pulumi), ("gh", 'cp "$5" posted.md')):
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "NUMBER": "7"}
    codes = []
    for step in steps("preview")[-2:]:
        command = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"])
        codes.append(subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True).returncode)
        environment["OUTCOME"] = "failure" if codes[0] else "success"
    assert codes[1:] == [0]
    return codes[0], (folder / "posted.md").read_text()


def test_the_comment_of_a_changed_port_has_what_changes_and_at_most_30_lines(tmp_path: Path) -> None:
    (tmp_path / "output").write_text(CHANGED_PORT)
    assert comment(tmp_path, "cat output; echo 'warning: using a plugin from $PATH' >&2") == (
        0,
        f"""\
```diff
    ~ pulumi-python:dynamic/consul:AgentService: (update)
        [urn={SERVICE_URN}]
      ~ checks    : {{
          ~ billing_service-health: {{
              ~ http    : "http://isa-billing:8216/health" => "http://isa-billing:8999/health"
      ~ port      : 8216 => 8999
    --outputs:--
  ~ service/billing_service      : {{
      ~ address: "isa-billing:8216" => "isa-billing:8999"
      ~ check  : "http://isa-billing:8216/health" => "http://isa-billing:8999/health"
    ~ 1 to update
    84 unchanged
```
""",
    )


def test_the_comment_of_a_change_of_everything_is_cut_to_what_github_takes(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("      + tags: one more line of many\n" * 3_000)
    code, text = comment(tmp_path, "cat output")
    assert code == 0
    assert 55_000 < len(text) < 65_536
    assert text.endswith("line of many\n… The log of the job has the rest.\n```\n")


def test_the_comment_of_a_pull_request_that_changes_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "output").write_text(NOTHING)
    assert comment(tmp_path, "cat output") == (0, "```diff\n    85 unchanged\n```\n")


def test_a_preview_that_fails_fails_the_job_and_its_comment_says_why_instead_of_what_a_former_push_said(
    tmp_path: Path,
) -> None:
    (tmp_path / "output").write_text(STACK_LINES)
    (tmp_path / "errors").write_text(f"warning: using a plugin from $PATH\n{REFUSED}")
    code, text = comment(tmp_path, "cat output; cat errors >&2; exit 255")
    assert code == 255
    assert text == f"The preview failed: the log of its job has the rest.\n```\n{REFUSED}```\n"
    assert [step.get("if") for step in steps("preview")[-2:]] == [None, "${{ !cancelled() }}"]


def test_a_job_that_fails_before_its_preview_has_a_comment_too(tmp_path: Path) -> None:
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "NUMBER": "7", "OUTCOME": "skipped"}
    (tmp_path / "gh").write_text('#!/bin/bash\ncat "$5"\n')
    (tmp_path / "gh").chmod(0o755)
    command = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", steps("preview")[-1]["run"])
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "The preview failed: the log of its job has the rest.\n```\n```\n"


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
