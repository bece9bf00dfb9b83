"""`drill`, as a person runs it, on a stack that is up."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta

import psutil
import pytest

from tests.local.clones import Clone, deployed_clone
from tests.local.stacks import repair
from tests.waiting import within

BILLING, MINIO = "billing_service", "minio_grpc_service"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone that is up. Its checks leave time to interrupt a drill before it is over."""
    with deployed_clone(tmp_path_factory.mktemp("drill"), timedelta(seconds=5)) as clone:
        yield clone


@pytest.fixture(autouse=True)
def _repair(clone: Clone) -> Iterator[None]:
    yield
    repair(clone.sandbox)


def await_status(clone: Clone, status: str) -> None:
    within(40, lambda: status in [check["Status"] for check in clone.agent.checks(BILLING).values()])


@pytest.mark.parametrize(("name", "promised"), [(BILLING, 5 + 5), (MINIO, 5 + 3)])
def test_each_step_is_measured_and_within_its_promise(clone: Clone, name: str, promised: float) -> None:
    before = clone.stand_in(name).running
    drill = clone.run("drill", name, "--json")
    assert drill.returncode == 0, drill.stderr
    document = json.loads(drill.stdout)
    assert [step["promised_seconds"] for step in document["steps"]] == [promised] * 3
    assert all(step["kept"] and step["measured_seconds"] <= promised for step in document["steps"])
    after = clone.stand_in(name).running
    assert after
    assert after != before


def test_what_is_seen_is_told_as_it_happens_and_once_more_as_rows(clone: Clone) -> None:
    drill = clone.run("drill", BILLING)
    lines = drill.stdout.splitlines()
    assert drill.returncode == 0, drill.stdout + drill.stderr
    assert lines[0] == "billing_service: stopped"
    assert lines[1].startswith("billing_service: critical in the catalog after ")
    assert lines[3] == "billing_service: started again"
    assert lines[5] == "Step\tPromised\tMeasured\tResult"
    assert lines[6].startswith("critical in the catalog\t10 s\t")
    assert all(line.endswith("\tkept") for line in lines[6:])


def interrupted(clone: Clone, *signals: signal.Signals) -> subprocess.Popen[str]:
    """Start a drill, and send it signals while the service is stopped."""
    run = clone.start("drill", BILLING)
    assert run.stdout
    assert run.stdout.readline() == f"{BILLING}: stopped\n"
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
    assert run.returncode != 0, output + errors
    assert clone.stand_in(BILLING).running
    assert output.endswith("billing_service: started again\n")
    assert "Traceback" not in errors


def test_what_was_started_again_can_be_stopped_gently(clone: Clone) -> None:
    interrupted(clone, signal.SIGTERM).communicate(timeout=30)
    started = time.monotonic()
    clone.stand_in(BILLING).stop()
    took = time.monotonic() - started
    assert took < 5  # not killed after its 20 s


def test_the_service_runs_again_where_consul_does_not_answer_meanwhile(clone: Clone) -> None:
    run = interrupted(clone)
    agent = clone.sandbox.agent_process.running
    assert agent
    agent.kill()
    try:
        _, errors = run.communicate(timeout=60)
        runs = clone.stand_in(BILLING).running
    finally:
        psutil.wait_procs([agent], timeout=5)
    assert run.returncode == 2
    assert "no answer" in errors
    assert "Traceback" not in errors
    assert runs


def test_a_service_that_is_not_passing_is_refused_and_left_as_it_is(clone: Clone) -> None:
    await_status(clone, "passing")  # an agent that was started again shows critical before its first checks
    clone.stand_in(BILLING).stop()
    await_status(clone, "critical")
    drill = clone.run("drill", BILLING)
    assert drill.returncode == 2
    assert "billing_service is critical, not passing" in drill.stderr
    assert clone.stand_in(BILLING).running is None


def test_a_name_that_the_roster_does_not_have_is_one_message(clone: Clone) -> None:
    drill = clone.run("drill", "biling_service")
    assert drill.returncode == 2
    assert drill.stderr.startswith("error: there is no service 'biling_service' in services/: billing_service is")
