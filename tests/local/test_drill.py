"""`drill`, as a person runs it, on a stack that is up."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from operations.sandbox.processes import Program
from tests.local.clones import Clone, deployed
from tests.within import within

BILLING, MINIO = "billing_service", "minio_grpc_service"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    with deployed(tmp_path_factory.mktemp("drill"), 7) as clone:
        yield clone


def standin(clone: Clone, name: str = BILLING) -> Program:
    return next(clone.cluster.standin(service) for service in clone.cluster.roster.services if service.name == name)


def await_status(clone: Clone, status: str, name: str = BILLING) -> None:
    until = time.monotonic() + 40
    while status not in [str(check["Status"]) for check in clone.consul.checks(name).values()]:
        assert time.monotonic() < until, f"{name} is not {status}"
        time.sleep(0.1)


def await_passing(clone: Clone) -> None:
    """Wait until the service answers, then for its check: one just started may turn critical after it was passing."""
    service = next(service for service in clone.cluster.roster.services if service.name == BILLING)
    within(20, lambda: answers(service.host, service.port))
    await_status(clone, "passing")


def answers(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


@pytest.mark.parametrize(("name", "promised"), [(BILLING, 15), (MINIO, 33)])
def test_each_step_is_measured_and_within_its_promise(clone: Clone, name: str, promised: float) -> None:
    before = standin(clone, name).process
    code, output, errors = clone.run("drill", name, "--json")
    document = json.loads(output)
    print(json.dumps(document))  # noqa: T201 - the measured times, for `pytest -s`
    assert code == 0, errors
    assert [step["promised_seconds"] for step in document["steps"]] == [promised] * 3
    assert all(step["kept"] and step["measured_seconds"] <= promised for step in document["steps"])
    after = standin(clone, name).process
    assert after
    assert after != before


def test_what_is_seen_is_told_as_it_happens_and_once_more_as_rows(clone: Clone) -> None:
    await_passing(clone)
    code, output, _ = clone.run("drill", BILLING)
    lines = output.splitlines()
    assert code == 0
    assert lines[0] == "billing_service: stopped"
    assert lines[1].startswith("billing_service: critical in the catalog after ")
    assert lines[3] == "billing_service: started again"
    assert lines[5] == "Step\tPromised\tMeasured\tResult"
    assert lines[6].startswith("critical in the catalog\t15 s\t")
    assert all(line.endswith("\tkept") for line in lines[6:])


def interrupted(clone: Clone, *signals: signal.Signals) -> subprocess.Popen[str]:
    """Start a drill, and send it signals while the service is stopped."""
    await_passing(clone)
    run = clone.start("drill", BILLING)
    until = time.monotonic() + 20
    while standin(clone).process:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until, "it stops nothing"
        time.sleep(0.02)
    time.sleep(0.5)
    for each in signals:
        run.send_signal(each)
    return run


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGTERM, signal.SIGINT)],
    ids=["Ctrl-C", "kill", "closed terminal", "several at once"],
)
def test_the_service_runs_again_after(clone: Clone, signals: tuple[signal.Signals, ...]) -> None:
    run = interrupted(clone, *signals)
    output, errors = run.communicate(timeout=30)
    assert run.returncode != 0
    assert standin(clone).process
    assert output.endswith("billing_service: started again\n")
    assert "Traceback" not in errors


def test_what_was_started_again_can_be_stopped_gently(clone: Clone) -> None:
    interrupted(clone, signal.SIGTERM).communicate(timeout=30)
    started = time.monotonic()
    standin(clone).stop()
    took = time.monotonic() - started
    standin(clone).start()
    assert took < 5  # not killed after its 20 s


def test_the_service_runs_again_where_consul_does_not_answer_meanwhile(clone: Clone) -> None:
    run = interrupted(clone)
    agent = clone.cluster.agent_program.process
    assert agent
    agent.kill()
    try:
        _, errors = run.communicate(timeout=60)
        runs = standin(clone).process  # before the cluster's start, which would start it too
    finally:
        psutil.wait_procs([agent], timeout=5)
        clone.cluster.start()
    assert run.returncode == 1
    assert "no answer" in errors
    assert "Traceback" not in errors
    assert runs


def test_a_service_that_is_not_passing_is_refused_and_left_as_it_is(clone: Clone) -> None:
    await_passing(clone)
    standin(clone).stop()
    try:
        await_status(clone, "critical")
        code, _, errors = clone.run("drill", BILLING)
        assert code == 1
        assert "billing_service is critical, not passing" in errors
        assert standin(clone).process is None
    finally:
        standin(clone).start()


def test_a_name_that_the_roster_does_not_have_is_one_message(clone: Clone) -> None:
    code, _, errors = clone.run("drill", "biling_service")
    assert code == 1
    assert errors.startswith("error: 'biling_service' is not in services/roster.py: it has account_service, ")
