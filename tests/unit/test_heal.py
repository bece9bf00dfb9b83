"""When `heal` writes, and above all when it does not."""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

from consul_cluster.client import Consul, NoAnswerError
from consul_cluster.drift import read_service, read_services
from consul_cluster.ownership import with_owner
from operations import signals
from operations.command_line import duration_option
from operations.heal import heal
from operations.heal import reconcile as healer
from operations.heal.reconcile import Reconciler, Round
from operations.pulumi_engine import Engine, EngineError, quiet_sdk
from operations.pulumi_state import DeployedService, DeployedState
from operations.stack import Stack
from services.consul_definition import definition, register_request
from services.field_types import OWNER_KEY
from tests.fake_consul import AGENT, SERVER, FakeConsul, running
from tests.unit.stacks import BILLING, IDLE_ENGINE, MINIO, two_services


@dataclass
class FakeEngine:
    """Says that a roster is deployed."""

    services: dict[str, DeployedService] = field(default_factory=dict)
    unfinished: bool = False
    locks: list[bool] = field(default_factory=lambda: [False])
    reads: int = 0

    @property
    def locked(self) -> bool:
        return self.locks.pop(0) if len(self.locks) > 1 else self.locks[0]

    def deployed_state(self) -> DeployedState:
        self.reads += 1
        return DeployedState(self.services, self.unfinished)


@dataclass
class Case:
    """Two services, deployed and held."""

    consul: FakeConsul
    engine: FakeEngine
    reconciler: Reconciler

    def fields(self, service_id: str = BILLING) -> dict[str, Any]:
        return self.engine.services[service_id].fields

    def drifts(self, **fields: Any) -> None:  # noqa: ANN401
        self.consul.register(register_request({"id": BILLING, **self.fields(), **fields}))

    def loses(self, service_id: str = BILLING) -> None:
        self.consul.remove(AGENT, service_id)


@pytest.fixture
def case() -> Iterator[Case]:
    roster = two_services()
    with running(FakeConsul()) as consul:
        engine = FakeEngine()
        for service in roster.services:
            mark = f"pulumi/consul-staging/local/registration-{service.id}"
            fields = {key: value for key, value in definition(with_owner(service, mark)).items() if key != "id"}
            engine.services[service.id] = DeployedService(consul.address, mark, fields)
            consul.register(register_request({"id": service.id, **fields}))
        yield Case(consul, engine, Reconciler(roster, consul.api, AGENT, cast(Engine, engine)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass, without waiting."""
    now = [1000.0]

    def passes(seconds: float) -> None:
        now[0] += seconds

    fake = SimpleNamespace(monotonic=lambda: now[0], sleep=passes)
    monkeypatch.setattr(healer, "time", fake)
    return passes


# Nothing to do


def test_where_nothing_differs_nothing_is_written(case: Case) -> None:
    assert case.reconciler.round() == Round()
    assert case.consul.written == []


def test_where_nothing_differs_the_state_is_read_once_and_a_round_is_two_requests(case: Case) -> None:
    case.reconciler.round()
    before = len(case.consul.requests)
    case.reconciler.round()
    assert case.engine.reads == 1
    asked = [(request.method, request.path) for request in case.consul.requests[before:]]
    assert asked == [("GET", "/v1/agent/services"), ("GET", "/v1/agent/checks")]


# What is gone


def test_what_is_gone_is_registered_at_once_exactly_as_it_was_deployed(case: Case) -> None:
    before = (dict(case.consul.services), dict(case.consul.checks))
    case.loses()
    assert case.reconciler.round().written == [BILLING]
    assert (case.consul.services, case.consul.checks) == before


def test_what_is_gone_is_one_request_and_nothing_else_is_written(case: Case) -> None:
    case.loses()
    case.reconciler.round()
    assert case.consul.written == ["/v1/agent/service/register"]


def test_what_was_deployed_is_written_and_not_what_the_roster_states(case: Case) -> None:
    case.fields()["port"] = 8299
    case.loses()
    case.reconciler.round()
    assert case.consul.services[BILLING]["Port"] == 8299


def test_what_was_never_deployed_is_not_registered(case: Case) -> None:
    case.loses()
    del case.engine.services[BILLING]
    result = case.reconciler.round()
    assert (result.written, case.consul.written) == ([], [])
    assert "(billing_service)" in result.notices[0]


def test_what_an_interrupted_up_left_on_the_server_is_not_registered_twice(case: Case) -> None:
    meta = case.consul.services["billing_service"]["Meta"]
    case.consul.remove(AGENT, "billing_service")
    case.consul.add(SERVER, "billing_service", "billing_service", Meta=meta)
    found = case.reconciler.round()
    assert found.troubles == [
        "billing_service is on staging-consul since an up was interrupted, and checked there: pulumi up moves it back"
    ]
    assert case.consul.wrote == []


def test_a_refusal_of_one_does_not_keep_the_others_from_being_registered(case: Case) -> None:
    case.loses()
    case.loses(MINIO)
    case.consul.refuses_ids = {BILLING}
    result = case.reconciler.round()
    assert result.written == [MINIO]
    assert "billing_service is not registered: " in result.troubles[0]
    assert "Permission denied" in result.troubles[0]


@pytest.mark.usefixtures("clock")
def test_what_the_servers_do_not_show_is_a_trouble(case: Case) -> None:
    case.loses()
    case.consul.in_sync = False
    for _ in range(2):  # also where nothing differs any more
        assert "the servers do not show billing_service" in case.reconciler.round().troubles[0]
    case.consul.in_sync = True
    assert case.reconciler.round().troubles == []


# What differs


def test_a_difference_is_reported_after_one_run_of_the_check_and_stays(
    case: Case, clock: Callable[[float], None]
) -> None:
    case.drifts(port=9999)
    assert case.reconciler.round().waiting == [BILLING]
    clock(14.9)
    assert case.reconciler.round().waiting == [BILLING]
    clock(0.2)
    assert case.reconciler.round().troubles == [
        "billing_service has other port than deployed, and stays so: pulumi up undoes it"
    ]
    assert case.consul.written == []


def test_a_difference_that_changes_waits_anew(case: Case, clock: Callable[[float], None]) -> None:
    case.drifts(port=9999)
    case.reconciler.round()
    clock(16)
    case.drifts(port=9998)
    assert case.reconciler.round().waiting == [BILLING]
    assert case.consul.written == []


def test_a_difference_that_went_and_came_waits_anew(case: Case, clock: Callable[[float], None]) -> None:
    case.engine.services[MINIO].fields["port"] = 1  # the roster differs: each round looks closer
    case.drifts(port=9999)
    case.reconciler.round()
    case.drifts()
    case.reconciler.round()
    clock(16)
    case.drifts(port=9999)
    assert BILLING in case.reconciler.round().waiting


@pytest.mark.parametrize("owner", [None, "nomad", "pulumi/consul-staging/other/registration-billing_service"])
def test_what_another_party_owns_is_never_written(
    case: Case, clock: Callable[[float], None], owner: str | None
) -> None:
    case.drifts(meta={OWNER_KEY: owner} if owner else {}, port=1)
    case.reconciler.round()
    clock(1000)
    result = case.reconciler.round()
    assert case.consul.written == []
    holder = owner or "another party, such as the service itself"
    assert result.troubles == [f"billing_service is held by {holder}: it is left alone"]


def test_what_the_service_itself_has_taken_the_place_of_is_named_and_not_written(case: Case) -> None:
    case.loses()
    own = {"ID": "billing_service-isa-billing-8216", "Name": BILLING, "Address": "isa-billing", "Port": 8216}
    case.consul.register({**own, "Tags": [], "Meta": {}, "Checks": []})
    result = case.reconciler.round()
    assert case.consul.written == []
    assert len(result.troubles) == 1
    assert "billing_service is gone, and billing_service-isa-billing-8216 stands in its place" in result.troubles[0]


@pytest.mark.parametrize("other", [{"Port": 8217}, {"Name": "billing"}, {"Meta": {OWNER_KEY: "nomad"}}])
def test_an_instance_of_another_kind_is_not_taken_for_the_services_own(case: Case, other: dict[str, Any]) -> None:
    case.loses()
    own = {"ID": "other", "Name": BILLING, "Address": "isa-billing", "Port": 8216, "Tags": [], "Meta": {}, "Checks": []}
    case.consul.register({**own, **other})
    assert case.reconciler.round().written == [BILLING]


def test_what_was_deployed_on_another_agent_is_not_written_to_this_one(case: Case) -> None:
    case.loses()
    case.engine.services[BILLING] = DeployedService("http://10.0.0.9:8500", "", case.fields())
    result = case.reconciler.round()
    assert case.consul.written == []
    assert f"is deployed on http://10.0.0.9:8500, not on {case.consul.address}" in result.troubles[0]


def test_a_fresh_deployment_that_differs_from_this_roster_stays(case: Case, clock: Callable[[float], None]) -> None:
    case.reconciler.round()
    case.fields()["port"] = 8299
    case.drifts()
    case.reconciler.round()
    clock(1000)
    result = case.reconciler.round()
    assert (result.written, result.waiting, result.troubles) == ([], [], [])
    assert result.notices == [
        "the roster differs from what is deployed (billing_service), which stays: pulumi up deploys it"
    ]


# Beside a run of pulumi


def test_nothing_is_written_while_the_stack_is_locked(case: Case) -> None:
    case.loses()
    case.engine.locks = [True]
    result = case.reconciler.round()
    assert case.consul.written == []
    assert "a run of pulumi is at work" in result.troubles[0]


def test_nothing_is_written_where_operations_are_unfinished(case: Case) -> None:
    case.loses()
    case.engine.unfinished = True
    assert "a run of pulumi is at work" in case.reconciler.round().troubles[0]
    assert case.consul.written == []


def test_a_run_that_begins_after_the_state_was_read_is_noticed_before_the_write(case: Case) -> None:
    case.loses()
    case.engine.locks = [False, True]
    assert case.reconciler.round().waiting == [BILLING]
    assert case.consul.written == []


def test_what_changes_between_the_look_and_the_write_is_not_written(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.loses()
    read = case.engine.deployed_state

    def deployed_meanwhile() -> DeployedState:
        case.drifts(port=8299)
        return read()

    monkeypatch.setattr(case.engine, "deployed_state", deployed_meanwhile)
    assert case.reconciler.round().waiting == [BILLING]
    assert case.consul.written == []


# What is logged


def test_each_write_and_each_difference_is_a_line(
    case: Case, caplog: pytest.LogCaptureFixture, clock: Callable[[float], None]
) -> None:
    case.loses(MINIO)
    case.drifts(port=9999, tags=[])
    with caplog.at_level(logging.INFO, "heal"):
        assert heal.once(case.reconciler, clock) is False
    assert caplog.messages == [
        "minio_grpc_service: registered as deployed; it was gone. If it is down, start it, or Consul removes it again",
        "billing_service has other port, tags than deployed, and stays so: pulumi up undoes it",
    ]


def test_a_stack_that_needs_no_healing_is_a_line(
    case: Case, caplog: pytest.LogCaptureFixture, clock: Callable[[float], None]
) -> None:
    with caplog.at_level(logging.INFO, "heal"):
        assert heal.once(case.reconciler, clock)
    assert caplog.messages == [f"nothing to heal: {case.reconciler.node} has all as deployed"]


def test_what_was_healed_is_not_called_nothing(
    case: Case, caplog: pytest.LogCaptureFixture, clock: Callable[[float], None]
) -> None:
    case.loses(MINIO)
    with caplog.at_level(logging.INFO, "heal"):
        assert heal.once(case.reconciler, clock)
    assert not [line for line in caplog.messages if line.startswith("nothing to heal")]


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    heal._log_to_stderr()
    healer.log.error("Consul answers 500:\n  No cluster leader\n")
    healer.log.handlers.clear()
    healer.log.propagate = True
    assert capsys.readouterr().err.endswith(" ERROR Consul answers 500: No cluster leader\n")


# The loop


def kept(case: Case, rounds: int) -> list[float]:
    """Run the loop for some rounds; returns the seconds that it waited after each."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == rounds:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heal.keep([case.reconciler], duration_option("30s"), wait)
    return waited


def test_errors_are_tried_again_ever_more_rarely_up_to_30_s(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(_: object) -> Round:
        raise NoAnswerError("no answer")

    monkeypatch.setattr(Reconciler, "round", no_answer)
    assert kept(case, 7) == [1, 2, 4, 8, 16, 30, 30]


def test_an_error_is_logged_once_and_its_end_too(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Exception | Round] = [NoAnswerError("no answer"), NoAnswerError("no answer"), Round(), Round()]

    def one(_: object) -> Round:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    monkeypatch.setattr(Reconciler, "round", one)
    with caplog.at_level(logging.INFO, "heal"):
        assert kept(case, 4) == [1, 2, 30, 30]
    assert caplog.messages == ["no answer; trying again, every 30 s at the latest", "all answer again"]


def test_a_line_is_logged_once_for_as_long_as_it_is_true(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.fields()["port"] = 8299
    case.drifts()
    with caplog.at_level(logging.INFO, "heal"):
        kept(case, 3)
    assert len(caplog.messages) == 1


def test_a_round_is_cut_short(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "_LIMIT", 0.05)
    monkeypatch.setattr(Reconciler, "round", lambda _: time.sleep(5))
    with pytest.raises(signals.TooLongError, match=r"longer than 0\.05 s"):
        heal.once(case.reconciler, time.sleep)


def test_the_agents_of_other_hosts_are_healed_while_one_is_away(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.loses()
    away = replace(case.reconciler, agent=Consul("http://127.0.0.1:1"), node="consul-agent-h1")
    monkeypatch.setattr("consul_cluster.client._RETRY_PAUSES", ())
    with pytest.raises(heal.HealError, match=r"consul-agent-h1: .* no answer"):
        heal._all_once([away, case.reconciler], time.sleep)
    assert BILLING in case.consul.services


def test_a_round_that_takes_too_long_is_one_message(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "_LIMIT", 0.05)
    monkeypatch.setattr(Reconciler, "round", lambda _: time.sleep(5))
    with pytest.raises(heal.HealError, match=r"^took longer than 0\.05 s$"):
        heal._all_once([case.reconciler], time.sleep)


def test_once_waits_until_a_difference_has_stood_and_then_is_not_well(
    case: Case, clock: Callable[[float], None]
) -> None:
    case.drifts(port=9999)
    assert not heal.once(case.reconciler, clock)
    assert case.consul.services[BILLING]["Port"] == 9999


def test_once_waits_for_a_run_that_is_at_work(case: Case, clock: Callable[[float], None]) -> None:
    case.loses()
    case.engine.locks = [True, True, False]
    assert heal.once(case.reconciler, clock)
    assert case.consul.services[BILLING]["Port"] == 8216


def test_once_gives_a_run_that_does_not_end_two_minutes(case: Case) -> None:
    case.loses()
    case.engine.unfinished = True
    waited: list[float] = []
    assert not heal.once(case.reconciler, waited.append)
    assert sum(waited) == 120


def test_all_services_are_read_as_each_of_them_is(case: Case) -> None:
    case.consul.checks[f"{MINIO}-tcp"] |= {"Notes": "", "Interval": "1m"}
    assert read_services(case.consul.api) == {key: read_service(case.consul.api, key) for key in (BILLING, MINIO)}


def test_once_is_not_well_where_something_is_left(case: Case) -> None:
    case.drifts(meta={})
    assert not heal.once(case.reconciler, time.sleep)


# The command


@pytest.mark.parametrize("text", ["30", "abc", "-3s", "0s", "999ms"])
def test_a_wrong_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration_option(text)


@pytest.mark.real_roster
@pytest.mark.parametrize(
    ("registration", "said"),
    [("catalog", "pulumi up --stack other registers"), ("files", "docker exec consul-agent-shared consul reload")],
)
def test_for_another_registration_the_error_has_the_command_that_heals(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registration: str, said: str
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: consul-staging\n")
    (tmp_path / "Pulumi.other.yaml").write_text(
        "config:\n  consul-staging:serverAddress: http://127.0.0.1:8500\n"
        "  consul-staging:agentAddress: http://127.0.0.1:8501\n"
        f"  consul-staging:registration: {registration}\n"
    )
    with pytest.raises(heal.HealError, match=said):
        heal.reconcilers_of(Stack.load("other", tmp_path))


@pytest.mark.real_roster
def test_a_secured_agent_is_healed_with_the_registrations_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tokens = {role: f"{role}-token" for role in ("verify", "registration", "removal")}
    monkeypatch.delenv("CONSUL_HTTP_TOKEN", raising=False)
    monkeypatch.setattr(Engine, "outputs", lambda _: {"ca": None, "tokens": tokens})
    (tmp_path / "Pulumi.yaml").write_text("name: consul-staging\n")
    with running(FakeConsul()) as agent:
        (tmp_path / "Pulumi.other.yaml").write_text(
            "config:\n  consul-staging:serverAddress: http://127.0.0.1:8500\n  consul-staging:server: created\n"
            f"  consul-staging:agentAddress: {agent.address}\n  consul-staging:security: accepted\n"
        )
        [reconciler] = heal.reconcilers_of(Stack.load("other", tmp_path))
        reconciler.agent.all_services()
    assert agent.tokens == {"registration-token"}


def test_the_help_names_the_command_to_type() -> None:
    app = typer.Typer(rich_markup_mode="markdown")
    app.command()(heal.heal)
    assert "python -m operations heal --stack local --every 30s" in CliRunner().invoke(app, ["--help"]).output


# The state

EXPORTED = {
    "deployment": {
        "resources": [
            {"type": "pulumi:pulumi:Stack", "urn": "urn:stack"},
            {
                "type": "pulumi-python:dynamic/consul:AgentService",
                "inputs": {
                    "service_id": BILLING,
                    "agent": "http://127.0.0.2:8500",
                    "mark": "mine",
                    "token": {"4dabf18193072939515e22adb298388d": "1b47", "ciphertext": "v1:…"},
                    "name": BILLING,
                    "address": "isa-billing",
                    "port": 8216.0,
                    "tags": [],
                    "meta": {},
                    "checks": {},
                },
                "outputs": {"port": 9999},
            },
            {"type": "pulumi-python:dynamic/consul:AgentService", "delete": True, "inputs": {"service_id": "old"}},
        ]
    }
}


def engine(folder: Path, script: str) -> Engine:
    """An engine whose `pulumi` is a script."""
    program = folder / "pulumi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (folder / "Pulumi.yaml").write_text("name: consul-staging\n")
    return Engine(lambda: program, folder, folder)


def exporting(folder: Path, document: dict[str, Any]) -> Engine:
    (folder / "export.json").write_text(json.dumps(document))
    return engine(folder, f"cat {folder}/export.json")


def test_what_is_deployed_is_what_the_last_run_stated_and_not_what_a_refresh_found(tmp_path: Path) -> None:
    services = exporting(tmp_path, EXPORTED).deployed_state().services
    assert list(services) == [BILLING]
    assert services[BILLING].fields["port"] == 8216
    assert isinstance(services[BILLING].fields["port"], int)


def test_the_services_of_a_state_are_its_outputs_and_what_registers_one(tmp_path: Path) -> None:
    stack = {"type": "pulumi:pulumi:Stack", "outputs": {"service/a_service": "", "ui": "", "service/b_service": ""}}
    by_provider = {"type": "consul:index/service:Service", "inputs": {"serviceId": "c_service"}}
    document = {"deployment": {"resources": [stack, by_provider, *EXPORTED["deployment"]["resources"]]}}
    assert exporting(tmp_path, document).deployed_state().ids == {
        *("a_service", "b_service", "c_service", BILLING, "old")
    }


def test_no_token_is_taken_from_the_engine(tmp_path: Path) -> None:
    assert "ciphertext" not in repr(exporting(tmp_path, EXPORTED).deployed_state())


def test_a_stacks_outputs_are_read_with_its_secrets(tmp_path: Path) -> None:
    here = engine(tmp_path, f'echo "$@" > {tmp_path}/arguments; echo \'{{"ca": "PEM", "tokens": {{"verify": "v"}}}}\'')
    assert here.outputs() == {"ca": "PEM", "tokens": {"verify": "v"}}
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == ["stack", "output", "--json", "--show-secrets", "--stack", "local", "--non-interactive"]


def test_outputs_that_pulumi_does_not_show_are_an_error_in_its_words(tmp_path: Path) -> None:
    script = "echo 'error: getting secrets manager: passphrase must be set' >&2; exit 255"
    with pytest.raises(EngineError) as caught:
        engine(tmp_path, script).outputs()
    assert str(caught.value) == (
        "pulumi stack output --json --show-secrets --stack local: getting secrets manager: passphrase must be set"
    )


@pytest.mark.parametrize(("given", "used"), [(None, ""), ("", ""), ("a passphrase", "a passphrase")])
def test_an_engines_passphrase_is_the_environments_or_blank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, used: str
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    if given is not None:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", given)
    assert engine(tmp_path, "").environment["PULUMI_CONFIG_PASSPHRASE"] == used


def test_an_engine_leaves_a_passphrase_that_is_in_a_file_to_pulumi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/run/secrets/passphrase")
    assert "PULUMI_CONFIG_PASSPHRASE" not in engine(tmp_path, "").environment


@pytest.mark.parametrize("stack", ["local", "docker-local"])
@pytest.mark.parametrize("variable", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_another_stacks_passphrase_in_the_shell_is_not_taken_for_one_whose_salt_is_that_of_a_blank_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, stack: str
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.setenv(variable, "staging's")
    assert replace(IDLE_ENGINE, stack=stack).environment["PULUMI_CONFIG_PASSPHRASE"] == ""


def test_a_wrong_passphrase_is_named_with_its_variable_and_the_stack(tmp_path: Path) -> None:
    script = "echo 'error: getting stack configuration: get stack secrets manager: incorrect passphrase' >&2; exit 255"
    with pytest.raises(EngineError) as caught:
        engine(tmp_path, script).outputs()
    assert str(caught.value) == (
        "incorrect passphrase: PULUMI_CONFIG_PASSPHRASE is not the one of stack local, with which its state and the "
        "secrets in Pulumi.local.yaml were encrypted; of a blank one, set PULUMI_CONFIG_PASSPHRASE="
    )


def test_a_stack_without_a_state_where_pulumi_is_logged_in_nowhere_is_said_to_be_not_deployed(tmp_path: Path) -> None:
    script = "echo 'error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions' >&2; exit 255"
    with pytest.raises(EngineError, match="this clone has no state of stack local, and pulumi is "):
        engine(tmp_path, script).deployed_state()


@pytest.mark.parametrize("interrupted", [True, False])
def test_what_ends_a_thread_of_the_sdk_is_printed_only_after_a_run_that_ended_well(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    printed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)

    def run() -> None:
        thread = threading.Thread(target=[].pop)
        thread.start()
        thread.join()
        if interrupted:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt), quiet_sdk():
        run()
    assert len(printed) == (not interrupted)


def lock(folder: Path, stack: str, hostname: str) -> Path:
    """Write a lock as Pulumi does, of a process that is not there."""
    file = folder / "state" / ".pulumi" / "locks" / "organization" / "consul-staging" / stack / "d6a26f5c.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": 2**22 + 1, "username": "root", "hostname": hostname}))
    return file


def test_the_lock_of_a_run_that_was_killed_is_removed(tmp_path: Path) -> None:
    own = lock(tmp_path, "local", socket.gethostname())
    assert engine(tmp_path, "").unlock()
    assert not own.exists()


def test_a_lock_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    own = lock(tmp_path, "local", socket.gethostname())
    own.write_text("")
    assert engine(tmp_path, "").unlock()
    assert not own.exists()


def test_the_lock_of_another_stack_is_left_alone(tmp_path: Path) -> None:
    other = lock(tmp_path, "docker-local", socket.gethostname())
    assert not engine(tmp_path, "").unlock()
    assert other.exists()


def test_the_lock_of_a_run_on_another_machine_is_respected(tmp_path: Path) -> None:
    # Its process cannot be seen here.
    other = lock(tmp_path, "local", "another-machine")
    with pytest.raises(EngineError, match="a run on another-machine holds this stack's lock"):
        engine(tmp_path, "").unlock()
    assert other.exists()


def test_pending_operations_are_noticed(tmp_path: Path) -> None:
    document = {"deployment": {**EXPORTED["deployment"], "pending_operations": [{"type": "updating"}]}}
    assert exporting(tmp_path, document).deployed_state().unfinished
    assert not exporting(tmp_path, EXPORTED).deployed_state().unfinished


def test_an_error_of_pulumi_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^pulumi stack export --stack local: no stack named 'local' found$"):
        engine(tmp_path, "echo \"error: no stack named 'local' found\n\" >&2; exit 6").deployed_state()


@pytest.mark.parametrize(
    ("lock", "locked"),
    [("local", True), ("other", False)],
)
def test_a_lock_is_that_of_this_stack(tmp_path: Path, lock: str, locked: bool) -> None:
    folder = tmp_path / ".pulumi" / "locks" / "organization" / "consul-staging" / lock
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{}")
    assert engine(tmp_path, f'echo \'{{"url": "file://{tmp_path}"}}\'').locked is locked


def test_another_backend_has_no_lock_that_could_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "app.pulumi.com" / "me" / ".pulumi" / "locks" / "organization" / "consul-staging" / "local"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert not engine(tmp_path, 'echo \'{"url": "https://app.pulumi.com/me"}\'').locked


@pytest.mark.parametrize(
    ("own", "named", "used"),
    [(True, None, "own"), (True, "s3://x", "own"), (False, "s3://x", "s3://x"), (False, None, "")],
)
def test_the_backend_is_this_clones_where_it_has_the_stack_and_else_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, named: str | None, used: str
) -> None:
    if own:
        file = tmp_path / "state" / ".pulumi" / "stacks" / "consul-staging" / "local.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    if named:
        monkeypatch.setenv("PULUMI_BACKEND_URL", named)
    else:
        monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    url = engine(tmp_path, 'echo "{\\"url\\": \\"$PULUMI_BACKEND_URL\\"}"').backend
    assert url == ((tmp_path / "state").as_uri() if used == "own" else used)
    assert os.environ.get("PULUMI_BACKEND_URL") == named
