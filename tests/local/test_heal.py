"""`heal` with a real Consul, a real engine, and the reaping that it is for."""

import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.agent_configuration import AGENT_NODE
from operations.command_line import period
from operations.heal import command as heal
from operations.heal.reconcile import Healer, Round
from operations.state import State
from services.definition import definition, register_request
from services.model import OWNER_KEY
from services.roster import Roster
from tests.local.clones import Clone, deployed
from tests.local.conftest import Stack
from tests.local.test_killed import engine_of, start_up
from tests.local.test_up import registers
from tests.within import within

BILLING = "billing_service"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    with deployed(tmp_path_factory.mktemp("heal"), 6) as clone:
        yield clone


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)


def healer(stack: Stack) -> Healer:
    return Healer(stack.roster, stack.consul, AGENT_NODE, State(stack.engine))


def settled(one: Healer) -> Round:
    """Run rounds until no difference waits any more; returns what they came to."""
    while (result := one.round()).waiting:
        time.sleep(0.5)
    return result


def status(clone: Clone, service_id: str = BILLING) -> str:
    checks = clone.consul.checks(service_id)
    return next((str(check["Status"]) for check in checks.values()), "missing")


def logged(errors: str) -> list[str]:
    """Return the command's own lines, without the one that says which `pulumi` it uses."""
    return [line for line in errors.splitlines() if line[:2].isdigit()]


def test_a_service_that_is_gone_is_registered_so_that_pulumi_sees_no_difference(stack: Stack) -> None:
    stack.up()
    stack.consul.deregister(BILLING)
    assert healer(stack).round().written == [BILLING]
    assert stack.preview(refresh=True) == {"same": 42}


def test_the_servers_show_what_was_registered_when_the_round_ends(stack: Stack) -> None:
    stack.up()
    stack.consul.deregister(BILLING)
    healer(stack).round()
    assert stack.consul.in_catalog(AGENT_NODE, BILLING, BILLING)


def test_nothing_is_sent_where_nothing_differs(stack: Stack) -> None:
    stack.up()
    before, one = registers(stack), healer(stack)
    assert (one.round(), one.round()) == (Round(), Round())
    assert registers(stack) == before


def test_one_service_that_is_gone_is_one_request_and_no_other_check_starts_anew(stack: Stack) -> None:
    stack.up()
    stack.consul.deregister(BILLING)
    before = registers(stack)
    healer(stack).round()
    assert registers(stack) == before + 1


def test_a_change_by_hand_is_undone_after_one_run_of_its_check(stack: Stack) -> None:
    stack.up()
    fields = definition(stack.service(BILLING))
    fields["meta"][OWNER_KEY] = f"pulumi/consul-staging/local/registration-{BILLING}"
    stack.consul.register({**register_request(fields), "Port": 9999})
    one, started = healer(stack), time.monotonic()
    assert settled(one).written == [BILLING]
    assert time.monotonic() - started >= 15
    assert stack.preview(refresh=True) == {"same": 42}


def test_a_fresh_deployment_is_left_alone_by_a_healer_with_the_roster_of_before(stack: Stack) -> None:
    stack.up()
    one = healer(stack)
    one.round()
    stack.change(BILLING, port=8299)
    stack.up()
    before = registers(stack)
    result = settled(one)
    assert result.written == []
    assert result.notices == [
        "the roster differs from what is deployed (billing_service), which stays: pulumi up deploys it"
    ]
    assert registers(stack) == before
    assert stack.preview(refresh=True) == {"same": 42}


def test_an_edit_that_was_not_deployed_stays_so_where_the_service_is_there(stack: Stack) -> None:
    stack.up()
    stack.change(BILLING, port=8299)
    before = registers(stack)
    assert settled(healer(stack)).written == []
    assert registers(stack) == before


def test_an_edit_that_was_not_deployed_stays_so_where_the_service_is_gone(stack: Stack) -> None:
    stack.up()
    stack.change(BILLING, port=8299)
    stack.consul.deregister(BILLING)
    assert healer(stack).round().written == [BILLING]
    held = stack.consul.service(BILLING)
    assert held
    assert held["Port"] == 8216
    assert stack.preview(refresh=True) == {"same": 41, "update": 1}


def test_a_service_that_was_never_deployed_is_not_registered(stack: Stack) -> None:
    whole = stack.roster
    stack.remove(BILLING)
    stack.up()
    stack.roster = whole
    assert healer(stack).round().written == []
    assert stack.consul.service(BILLING) is None


def test_a_service_that_the_roster_drops_is_kept_until_that_is_deployed(stack: Stack) -> None:
    stack.up()
    stack.remove(BILLING)
    stack.consul.deregister(BILLING)
    assert healer(stack).round().written == [BILLING]


def test_what_another_party_holds_is_left_alone_and_named(stack: Stack) -> None:
    stack.up()
    stack.consul.register({"ID": BILLING, "Name": BILLING, "Port": 1, "Meta": {}})
    result = settled(healer(stack))
    assert result.written == []
    assert result.troubles == ["billing_service is held by another party: it is left alone"]
    held = stack.consul.service(BILLING)
    assert held
    assert held["Port"] == 1


def test_nothing_is_written_while_a_run_of_pulumi_holds_the_lock(stack: Stack) -> None:
    stack.up()
    stack.roster = Roster(services=stack.roster.services[:1])
    run = start_up(stack)
    engine = engine_of(run)
    try:
        within(30, lambda: State(stack.engine).locked)
        engine.suspend()
        stack.consul.deregister(BILLING)
        result = healer(stack).round()
        assert result.written == []
        assert "a run of pulumi is at work on the stack" in result.troubles[0]
    finally:
        engine.resume()
        assert run.wait(60) == 0


def test_a_stack_that_was_never_deployed_is_one_message(clone: Clone) -> None:
    code, _, errors = clone.run("heal", "--stack", "docker-local")
    assert code == 1
    assert "error: " in errors
    assert "Traceback" not in errors


def test_once_ends_with_0_and_one_line_where_all_is_well(clone: Clone) -> None:
    code, output, errors = clone.run("heal")
    assert (code, output, len(logged(errors))) == (0, "", 1)
    assert f"stack local on {clone.consul.address}, once; the state is in file://{clone.folder}" in errors


def test_once_registers_what_is_gone_and_says_so_in_a_line(clone: Clone) -> None:
    clone.consul.deregister(BILLING)
    code, _, errors = clone.run("heal")
    assert code == 0
    assert logged(errors)[1].endswith("INFO billing_service: registered as deployed; it was gone")
    assert len(logged(errors)) == 2


def healing(clone: Clone, every: str) -> subprocess.Popen[str]:
    """Start the command; it has said so by now."""
    run = clone.start("heal", "--every", every)
    assert run.stderr
    said = ""
    while not logged(said):
        said = run.stderr.readline()
        assert said, "it ended"
    return run


def ended(run: subprocess.Popen[str], by: signal.Signals) -> list[str]:
    """End the command by a signal; returns what it said after its start."""
    run.send_signal(by)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == 0, errors
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
    process = clone.cluster.agent_program.process
    assert process
    process.kill()
    within(5, lambda: clone.cluster.agent_program.process is None)
    time.sleep(8)
    clone.cluster.start()
    clone.consul.deregister(BILLING)
    within(35, lambda: clone.consul.service(BILLING))
    lines = ended(run, signal.SIGTERM)
    # Of some five rounds that failed; two, where the agent was killed between a round's two requests.
    assert 1 <= sum("no answer" in line for line in lines) <= 2, lines
    assert any(line.endswith("all answer again") for line in lines)
    assert sum(line.endswith("billing_service: registered as deployed; it was gone") for line in lines) == 1


def test_a_service_that_was_reaped_is_passing_within_30_s_and_its_interval_of_its_return(clone: Clone) -> None:
    standin = next(clone.cluster.standin(s) for s in clone.cluster.roster.services if s.id == BILLING)
    within(60, lambda: status(clone) == "passing")
    run = healing(clone, "30s")
    standin.stop()
    try:
        within(90 + 30 + 15, lambda: status(clone) == "missing")
    finally:
        standin.start()
    took = within(30 + 10 + 5, lambda: status(clone) == "passing")
    assert ended(run, signal.SIGTERM)[0].endswith("billing_service: registered as deployed; it was gone")
    print(f"passing {took:.1f} s after its return")  # noqa: T201


def test_no_difference_is_left_for_pulumi(clone: Clone) -> None:
    changes: dict[Any, int] = dict(clone.engine.preview(refresh=True).change_summary)
    assert changes == {"same": 42}


def test_the_loop_waits_its_period_between_rounds(stack: Stack) -> None:
    stack.up()
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heal.keep(healer(stack), period("7s"), wait)
    assert waited == [7, 7]
