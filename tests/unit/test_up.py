import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

import toolchain
from consul_cluster.health_status import UNCHECKED
from errors import UserError
from operations import down, up
from operations.commands import app
from operations.paths import ROOT
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox
from operations.stack import Stack, StackError
from operations.up import await_next_run, further_fields, wait_for_passing
from services.consul_definition import expected_output
from tests.fake_consul import FakeConsul, running
from tests.unit.stacks import consul_of, fake_outputs, stack_at, two_services


@pytest.mark.parametrize(
    ("registration", "line"), [("agent", "0 of 2 passing"), ("catalog", "2 of 2 passing")], ids=["agent", "catalog"]
)
def test_what_is_waited_for_is_on_the_node_of_the_registration(registration: str, line: str) -> None:
    lines: list[str] = []
    with running(FakeConsul()) as consul:
        for service in two_services().services:
            [check] = service.checks  # consul-esm writes no notes
            passed = {"CheckID": check.id, "Output": f"{expected_output(service, check)} "}
            consul.add("staging-external", service.id, service.name, passed)
        config = {"registration": registration, "docker": registration != "agent"}
        stack = stack_at(consul.address, consul.address, two_services(), **config)
        wait_for_passing(replace(stack, engine=replace(stack.engine, print_line=lines.append)), seconds=0)
    assert lines == [line]


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("HTTP GET http://isa-billing:8216/health: 200 OK Output: ok", "passing"),
        ("HTTP GET http://isa-billing:8215/health: 200 OK Output: ok", UNCHECKED),
        ("HTTP GET http://isa-billing:8216/healthy: 200 OK Output: ok", UNCHECKED),
        ("HTTP POST http://isa-billing:8216/health: 200 OK Output: ok", UNCHECKED),
        ("", UNCHECKED),
    ],
    ids=["as stated", "other port", "other path", "other method", "moved with its status"],
)
def test_a_check_that_has_not_run_since_it_was_changed_is_not_taken_for_passing(output: str, status: str) -> None:
    lines: list[str] = []
    consul = consul_of(stack_at("http://127.0.0.1:1", "http://127.0.0.1:2", two_services()))
    consul.check("consul-agent-shared", "billing_service-health")["Output"] = output
    with running(consul):
        stack = stack_at(consul.address, consul.address, two_services())
        found = wait_for_passing(replace(stack, engine=replace(stack.engine, print_line=lines.append)), seconds=0)
    assert found == {"billing_service": status, "minio_grpc_service": "passing"}
    assert lines == [f"{2 if status == 'passing' else 1} of 2 passing"]


@pytest.mark.parametrize(
    ("before", "waits"), [("0123456789abcdef", [15.0]), (None, [])], ids=["another header", "the same"]
)
def test_a_check_whose_change_shows_in_no_output_is_given_the_time_of_one_run(
    monkeypatch: pytest.MonkeyPatch, before: str | None, waits: list[float]
) -> None:
    slept: list[float] = []
    with running(consul_of(stack_at("http://127.0.0.1:1", "http://127.0.0.1:2", two_services()))) as consul:
        stack = stack_at(consul.address, consul.address, two_services())
        monkeypatch.setattr(time, "sleep", slept.append)
        await_next_run(stack, {**further_fields(stack), "billing_service-health": before})
    assert slept == waits


@pytest.mark.parametrize("security", ["off", "on"])
def test_a_stack_that_is_not_deployed_has_no_check_to_wait_for(security: str) -> None:
    stack = stack_at("http://127.0.0.1:9", "http://127.0.0.1:10")
    stack = replace(stack, settings=stack.settings.model_copy(update={"security": security}))
    assert further_fields(replace(stack, engine=fake_outputs(dict))) == {}


def test_what_an_operator_has_taken_out_is_not_waited_for_and_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(up, "deploy", lambda _: None)
    consul = consul_of(stack_at("http://127.0.0.1:1", "http://127.0.0.1:2", two_services()))
    off = {"CheckID": "_service_maintenance:billing_service", "Status": "critical", "Notes": "upgrade"}
    consul.add_check("consul-agent-shared", "billing_service", **off)
    with running(consul):
        stack = stack_at(consul.address, consul.address, two_services())
        monkeypatch.setattr(Stack, "load", lambda *_, **__: stack)
        result = CliRunner().invoke(app, ["up"])
    assert (result.exit_code, slept) == (1, [])
    assert "│ maintenance │" in result.stdout
    assert "  there is  in maintenance: upgrade\n  do        end it: consul maint -http-addr=" in result.stdout
    assert result.stdout.endswith("1 of 2 passing. UI: " + stack.ui + "\n")


@dataclass
class FakeSandbox:
    """Processes that run, or not."""

    processes: Sequence[str] = ("agent", "server")
    agent_runs: bool = True
    calls: list[str] = field(default_factory=list)

    def start(self) -> int:
        self.calls.append("start")
        return len(self.processes)

    def stop(self) -> int:
        self.calls.append("stop")
        return len(self.processes)


def without_pulumi(sandbox: FakeSandbox, folder: Path) -> Stack:
    """Return a stack on a machine where `pulumi` cannot be had."""

    def pulumi() -> Path:
        raise toolchain.ToolchainError("pulumi cannot be had")

    stack = stack_at("http://127.0.0.1:9", "http://127.0.0.1:9")
    engine = Engine(pulumi, folder, print_line=lambda _: None)
    return replace(stack, engine=engine, sandbox=cast(Sandbox, sandbox))


def test_without_pulumi_nothing_is_started(tmp_path: Path) -> None:
    sandbox = FakeSandbox()
    with pytest.raises(UserError, match="pulumi cannot be had"):
        up.deploy(without_pulumi(sandbox, tmp_path))
    assert sandbox.calls == []


@pytest.mark.parametrize("agent_runs", [True, False])
def test_without_pulumi_the_processes_are_stopped_all_the_same(tmp_path: Path, agent_runs: bool) -> None:
    sandbox = FakeSandbox(agent_runs=agent_runs)
    with pytest.raises(UserError, match="pulumi cannot be had"):
        down.destroy(without_pulumi(sandbox, tmp_path))
    assert sandbox.calls == ["stop"]


@pytest.mark.real_roster
@pytest.mark.parametrize(
    ("command", "instead"), [(up.up, "pulumi up --stack staging"), (down.down, "pulumi destroy --stack staging")]
)
def test_a_stack_whose_state_is_elsewhere_is_refused(command: Callable[[str], None], instead: str) -> None:
    with pytest.raises(StackError) as caught:
        command("staging")
    assert instead in str(caught.value)


@pytest.mark.real_roster
@pytest.mark.parametrize("command", ["start-service", "stop-service"])
def test_a_stand_in_of_a_stack_that_has_none_is_refused(command: str) -> None:
    result = CliRunner().invoke(app, [command, "auth_service", "--stack", "staging"])
    assert str(result.exception) == (
        "auth_service has no stand-in process on stack staging: docker start isa-auth, or docker stop isa-auth"
    )


def test_make_has_a_stand_in_stopped_on_the_stack_that_is_named() -> None:
    said = subprocess.check_output(["make", "-n", "stop-service", "SERVICE=x", "STACK=staging"], cwd=ROOT, text=True)
    assert "stop-service x --stack staging" in said
