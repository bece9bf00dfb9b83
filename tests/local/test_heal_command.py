"""`heal`, as a person runs it, on a stack that is up."""

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.local.clones import Clone
from tests.local.stacks import repair
from tests.waiting import within

BILLING = "billing_service"
AGAIN = "registered as deployed; it was gone. If it is down, start it, or Consul removes it again"


@pytest.fixture(autouse=True)
def _repair(clone: Clone) -> Iterator[None]:
    yield
    repair(clone.sandbox)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)


def status(clone: Clone) -> str:
    checks = clone.agent.checks(BILLING)
    return next((str(check["Status"]) for check in checks.values()), "missing")


def logged(errors: str) -> list[str]:
    """Return the command's own lines, without the one that says which `pulumi` it uses."""
    return [line for line in errors.splitlines() if line[:2].isdigit()]


def test_a_stack_that_was_never_deployed_is_one_message(clone: Clone) -> None:
    heal = clone.run("heal", "--stack", "docker-local")
    assert heal.returncode == 2
    assert "error: " in heal.stderr
    assert "Traceback" not in heal.stderr


def test_once_ends_with_0_and_says_that_there_is_nothing_to_heal_where_all_is_well(clone: Clone) -> None:
    heal = clone.run("heal")
    assert (heal.returncode, heal.stdout, len(logged(heal.stderr))) == (0, "", 2)
    assert logged(heal.stderr)[1].endswith(f"nothing to heal: {clone.sandbox.names.agent_node} has all as deployed")
    assert f"stack local on {clone.agent.address}, once; the state is in file://{clone.folder}" in heal.stderr


def test_once_registers_what_is_gone_and_says_so_in_a_line(clone: Clone) -> None:
    clone.agent.deregister(BILLING)
    heal = clone.run("heal")
    assert heal.returncode == 0
    assert logged(heal.stderr)[1].endswith(f"INFO billing_service: {AGAIN}")
    assert len(logged(heal.stderr)) == 2


def healing(clone: Clone, every: str) -> subprocess.Popen[str]:
    """Start the command; it has said so by now."""
    run = clone.start("heal", "--every", every)
    read_until(run, "")
    return run


def read_until(run: subprocess.Popen[str], *ends: str) -> list[str]:
    """Read on until lines of the command's own end so, in any order; returns the lines up to then."""
    assert run.stderr
    lines: list[str] = []
    while not all(any(line.endswith(end) for line in lines) for end in ends):
        line = run.stderr.readline()
        assert line, f"it ended, after {lines}"
        lines += logged(line)
    return lines


def ended(run: subprocess.Popen[str], by: signal.Signals) -> list[str]:
    """End the command by a signal; returns what it said after its start."""
    run.send_signal(by)
    assert run.stderr
    errors = run.stderr.read()  # what `read_until` read too far is in here, and not in what `communicate` returns
    assert run.wait(20) == 0, errors
    assert "Traceback" not in errors
    return logged(errors)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_0(clone: Clone, by: signal.Signals) -> None:
    run = healing(clone, "1s")
    time.sleep(3)
    [line] = ended(run, by)
    assert line.endswith("ended by a signal")


def test_an_agent_that_was_away_is_waited_for_and_healed(clone: Clone) -> None:
    run = healing(clone, "1s")
    process = clone.sandbox.agent_process.running
    assert process
    process.kill()
    within(5, lambda: clone.sandbox.agent_process.running is None)
    time.sleep(8)
    clone.sandbox.start()
    clone.agent.deregister(BILLING)
    within(35, lambda: clone.agent.service(BILLING))
    lines = read_until(run, "all answer again", f"billing_service: {AGAIN}")
    # Of some five rounds that failed; two, where the agent was killed between a round's two requests.
    assert 1 <= sum("no answer" in line for line in lines) <= 2, lines
    assert [line for line in ended(run, signal.SIGTERM) if "registered" in line] == []


def test_a_service_that_was_reaped_is_passing_within_30_s_and_its_interval_of_its_return(clone: Clone) -> None:
    standin = clone.stand_in(BILLING)
    run = healing(clone, "30s")
    standin.stop()
    try:
        within(90 + 30 + 15, lambda: status(clone) == "missing")
    finally:
        standin.start()
    within(30 + 1 + 5, lambda: status(clone) == "passing")
    assert ended(run, signal.SIGTERM)[0].endswith(f"billing_service: {AGAIN}")


def test_no_difference_is_left_for_pulumi(clone: Clone) -> None:
    clone.agent.deregister(BILLING)
    assert clone.run("heal").returncode == 0
    assert "pulumi: nothing to change\n" in clone.make("up").stdout
