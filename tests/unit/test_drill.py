"""What `drill` promises whatever happens, and its way to containers, on a Docker that is not there."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
import typer
from docker.errors import DockerException, NotFound
from requests.exceptions import ReadTimeout
from typer.testing import CliRunner

import settings
from consul_cluster.client import ConsulError
from docker_engine import DockerEngine
from operations import signals
from operations.drill import drill
from operations.drill.drill import Drill, DrillError, Step
from operations.drill.running_service import RunningServiceError, ServiceContainer, StandInProcess, engine_of
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox
from operations.stack import Stack, StackError
from services.model import Service
from services.roster import Roster
from tests.fake_consul import AGENT, FakeConsul, running
from tests.unit.stacks import BILLING, only_stack, stack_at, two_services


@dataclass
class FakeInstance:
    """Turns the catalog's status over when it is stopped and started, if it is noticed at all."""

    consul: FakeConsul
    notices: bool = True
    running: bool = True
    done: list[str] = field(default_factory=list)
    on_stop: Callable[[], object] = lambda: None
    on_start: Callable[[], object] = lambda: None

    def refuse_unless_running(self) -> None:
        if not self.running:
            raise RunningServiceError("it does not run")

    def stop(self) -> None:
        self.done.append("stop")
        self._turn("critical")
        self.on_stop()

    def start(self) -> None:
        self.on_start()
        self.done.append("start")
        self._turn("passing")

    def _turn(self, status: str) -> None:
        if self.notices:
            self.consul.set_status(f"{BILLING}-check", status)


def quick() -> Service:
    """A service whose promise is 0.3 s."""
    billing = two_services().services[0]
    [check] = billing.checks
    shorter = check.model_copy(update={"interval": timedelta(seconds=0.2), "timeout": timedelta(seconds=0.1)})
    return billing.model_copy(update={"checks": (shorter,)})


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as fake:
        billing = quick()
        fake.add(AGENT, BILLING, BILLING, {"Status": "passing"}, Address=billing.host, Port=billing.port)
        yield fake


@pytest.fixture
def instance(consul: FakeConsul) -> FakeInstance:
    return FakeInstance(consul)


def drilled(instance: FakeInstance) -> tuple[Drill, list[str]]:
    stack = stack_at(instance.consul.address, instance.consul.address, Roster(services=(quick(),)))
    lines: list[str] = []
    return Drill(stack, quick(), instance, lines.append), lines


def test_a_drill_sees_it_go_and_return(instance: FakeInstance) -> None:
    one, lines = drilled(instance)
    steps = one.run()
    assert [step.what for step in steps] == [
        "critical in the catalog",
        "left out by ?passing",
        "passing, and found again",
    ]
    assert all(step.kept for step in steps)
    assert instance.done == ["stop", "start"]
    assert lines[0] == "billing_service: stopped"


@pytest.mark.parametrize(("number", "promise"), [(0, 15), (1, 33)])
def test_a_promise_is_an_interval_and_a_timeout(instance: FakeInstance, number: int, promise: float) -> None:
    one, _ = drilled(instance)
    assert Drill(one.stack, two_services().services[number], instance, print).promise == promise


def test_what_is_not_noticed_is_missed_after_twice_the_promise_and_the_service_runs(instance: FakeInstance) -> None:
    instance.notices = False
    steps = drilled(instance)[0].run()
    assert [step.measured for step in steps[:2]] == [None, None]
    assert not steps[0].kept
    assert instance.done == ["stop", "start"]


@pytest.mark.parametrize(("measured", "kept"), [(15.0, True), (15.1, False), (None, False)])
def test_a_promise_is_kept_up_to_its_last_moment(measured: float | None, kept: bool) -> None:
    assert Step("critical", 15, measured).kept is kept


@pytest.mark.parametrize("status", ["critical", "warning"])
def test_a_service_that_is_not_passing_is_refused(instance: FakeInstance, status: str) -> None:
    instance.consul.set_status(f"{BILLING}-check", status)
    with pytest.raises(DrillError, match=f"is {status}, not passing: .* nothing was stopped"):
        drilled(instance)[0].run()
    assert instance.done == []


def test_a_service_that_is_not_registered_is_refused(instance: FakeInstance) -> None:
    instance.consul.services.clear()
    with pytest.raises(DrillError, match="is missing, not passing"):
        drilled(instance)[0].run()
    assert instance.done == []


def test_a_service_in_maintenance_is_refused(instance: FakeInstance) -> None:
    instance.consul.add_check(AGENT, BILLING, CheckID=f"_service_maintenance:{BILLING}", Status="critical")
    with pytest.raises(DrillError, match="is maintenance, not passing"):
        drilled(instance)[0].run()
    assert instance.done == []


def test_a_service_whose_node_is_in_maintenance_is_refused(instance: FakeInstance) -> None:
    instance.consul.undiscovered.add(BILLING)
    with pytest.raises(DrillError, match=f"passes, and clients do not find it, as in a maintenance of {AGENT}"):
        drilled(instance)[0].run()
    assert instance.done == []


def test_a_service_that_was_edited_and_not_deployed_is_refused(instance: FakeInstance) -> None:
    instance.consul.services[BILLING]["Port"] = 8299
    with pytest.raises(
        StackError, match=r"registered at isa-billing:8299, and its line states isa-billing:8216: first"
    ):
        drilled(instance)[0].run()
    assert instance.done == []


def test_what_does_not_run_is_refused(instance: FakeInstance) -> None:
    instance.running = False
    with pytest.raises(RunningServiceError):
        drilled(instance)[0].run()
    assert instance.done == []


def failing() -> None:
    raise RunningServiceError("Docker does not answer")


def test_it_is_started_where_stopping_it_failed_halfway(instance: FakeInstance) -> None:
    instance.on_stop = failing
    with pytest.raises(RunningServiceError):
        drilled(instance)[0].run()
    assert instance.done == ["stop", "start"]


def test_it_is_started_where_consul_does_not_answer_meanwhile(instance: FakeInstance) -> None:
    instance.on_stop = lambda: setattr(instance.consul, "refuses", (200, "<html>"))
    with pytest.raises(ConsulError):
        drilled(instance)[0].run()
    assert instance.done == ["stop", "start"]


def test_the_error_names_a_service_that_cannot_be_started_again(instance: FakeInstance) -> None:
    instance.on_start = failing
    with pytest.raises(RunningServiceError, match=r"billing_service does NOT run again: .* Docker does not answer"):
        drilled(instance)[0].run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_it_is_started_again(instance: FakeInstance, number: signal.Signals) -> None:
    instance.on_stop = lambda: os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt):
        drilled(instance)[0].run()
    assert instance.done == ["stop", "start"]


def test_a_second_signal_does_not_keep_it_from_being_started_again(instance: FakeInstance) -> None:
    instance.on_stop = instance.on_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        drilled(instance)[0].run()
    assert instance.done == ["stop", "start"]


def test_a_signal_while_it_is_started_again_does_not_cut_that_short(instance: FakeInstance) -> None:
    instance.on_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    drilled(instance)[0].run()
    assert instance.done == ["stop", "start"]


def test_a_second_signal_does_not_cut_short_what_the_first_one_began() -> None:
    done: list[str] = []

    def interrupted_twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt), signals.interrupting():
        interrupted_twice()
    assert done == ["cleaned up"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_afterwards_signals_do_what_they_did_before(instance: FakeInstance, number: signal.Signals) -> None:
    def handler(*_: object) -> None: ...

    before = signal.signal(number, handler)
    try:
        drilled(instance)[0].run()
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_what_is_started_while_signals_are_ignored_does_not_ignore_them_itself() -> None:
    with signals.ignored():  # a program inherits SIG_IGN, and no function
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN


# The command


def typed(instance: FakeInstance, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:  # noqa: ANN401
    one, _ = drilled(instance)

    def drill_of(_stack: Stack, _name: str, output: Callable[[str], object]) -> Drill:
        return Drill(one.stack, one.service, instance, output)

    only_stack(monkeypatch, lambda: one.stack)
    monkeypatch.setattr(drill, "drill_of", drill_of)
    app = typer.Typer()
    app.command()(drill.drill)
    return CliRunner().invoke(app, [BILLING, *arguments])


def test_kept_promises_are_0_and_a_missed_one_is_1(instance: FakeInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed(instance, monkeypatch).exit_code == 0
    instance.notices = False
    assert typed(instance, monkeypatch).exit_code == 1


def test_as_json_there_is_one_document_and_nothing_else(
    instance: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(typed(instance, monkeypatch, "--json").output)
    assert (document["service"], document["stack"]) == (BILLING, "local")
    assert [step["promised_seconds"] for step in document["steps"]] == [0.3] * 3


# Which instance it is


def stack_in(tmp_path: Path, in_docker: bool) -> Stack:
    config = {"serverAddress": "http://127.0.0.1:8500", "agentAddress": "http://127.0.0.2:8500", "docker": in_docker}
    sandbox = None if in_docker else Sandbox(lambda: tmp_path / "consul", "", "", two_services(), tmp_path)
    engine = Engine(lambda: tmp_path / "pulumi", tmp_path, tmp_path, stack="some")
    parsed = settings.Settings.model_validate(config)
    return Stack("some", "consul-staging", parsed, two_services(), engine, sandbox)


@pytest.mark.parametrize("in_docker", [True, False])
def test_it_is_the_services_container_or_its_stand_in(tmp_path: Path, in_docker: bool) -> None:
    (tmp_path / "Pulumi.some.yaml").write_text("config:\n  docker:host: ssh://staging\n")
    running_service = drill.drill_of(stack_in(tmp_path, in_docker), BILLING, print).running_service
    if in_docker:
        assert running_service == ServiceContainer("isa-billing", DockerEngine("ssh://staging"))
    else:
        assert isinstance(running_service, StandInProcess)
        assert running_service.process.name == "isa-billing"


def test_a_name_that_the_roster_does_not_have_is_refused_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"there is no service 'billing' in services/: billing_service is"):
        drill.drill_of(stack_in(tmp_path, False), "billing", print)


# Containers


@dataclass
class FakeDocker:
    """Docker's client, its containers, and one container."""

    status: str = "running"
    error: Exception | None = None
    done: list[str] = field(default_factory=list)

    @property
    def containers(self) -> "FakeDocker":
        return self

    def get(self, name: str) -> "FakeDocker":
        self.done.append(name)
        if self.error:
            raise self.error
        return self

    def stop(self) -> None:
        self.done.append("stop")

    def start(self) -> None:
        self.done.append("start")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    fake = FakeDocker()
    monkeypatch.setattr(docker, "from_env", lambda **_: fake)
    return fake


def test_a_container_is_stopped_and_started_by_its_name(engine: FakeDocker) -> None:
    ServiceContainer("isa-billing").stop()
    ServiceContainer("isa-billing").start()
    assert engine.done == ["isa-billing", "stop", "isa-billing", "start"]


def test_a_running_container_is_not_refused(engine: FakeDocker) -> None:
    ServiceContainer("isa-billing").refuse_unless_running()
    assert engine.done == ["isa-billing"]


@pytest.mark.parametrize("status", ["exited", "paused", "restarting"])
def test_a_container_that_does_not_run_is_refused(engine: FakeDocker, status: str) -> None:
    engine.status = status
    with pytest.raises(RunningServiceError, match=f"container isa-billing is {status}"):
        ServiceContainer("isa-billing").refuse_unless_running()


def test_a_container_that_does_not_exist_is_an_error_with_its_name(engine: FakeDocker) -> None:
    engine.error = NotFound("404 Client Error")
    with pytest.raises(RunningServiceError, match="Docker has no container isa-billing"):
        ServiceContainer("isa-billing").refuse_unless_running()


@pytest.mark.parametrize("error", [DockerException("Error while fetching server API version"), ReadTimeout("60 s")])
def test_a_docker_that_does_not_answer_is_one_message(engine: FakeDocker, error: Exception) -> None:
    engine.error = error
    with pytest.raises(RunningServiceError, match=f"container isa-billing: {error}"):
        ServiceContainer("isa-billing").stop()


def test_the_stacks_own_engine_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def client(address: str, **_: object) -> FakeDocker:
        used.append(address)
        return FakeDocker()

    monkeypatch.setattr(docker, "DockerClient", client)
    ServiceContainer("isa-billing", DockerEngine("ssh://staging")).stop()
    assert used == ["ssh://staging"]


@pytest.mark.parametrize(("line", "address"), [("  docker:host: ssh://staging", "ssh://staging"), ("  a: b", None)])
def test_the_engine_is_that_of_the_stacks_file(tmp_path: Path, line: str, address: str | None) -> None:
    file = tmp_path / "Pulumi.some.yaml"
    file.write_text(f"config:\n{line}\n")
    assert engine_of(file) == DockerEngine(address)
