"""`heal` with a real Consul, a real engine, and the reaping that it is for."""

import time

import pytest

from cluster.agent_configuration import AGENT_NODE
from operations.command_line import period
from operations.heal import command as heal
from operations.heal.reconcile import Healer, Round
from operations.state import State
from services.definition import definition, register_request
from services.model import OWNER_KEY
from services.roster import Roster
from tests.local.run_up import engine_of, start_up
from tests.local.stacks import OWNER, EditableStack
from tests.waiting import within

BILLING = "billing_service"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)


def healer(stack: EditableStack) -> Healer:
    return Healer(stack.roster, stack.consul, AGENT_NODE, State(stack.engine))


def settled(one: Healer) -> Round:
    """Run rounds until no difference waits any more; returns what they came to."""
    while (result := one.round()).waiting:
        time.sleep(0.5)
    return result


def test_a_service_that_is_gone_is_registered_so_that_pulumi_sees_no_difference(stack: EditableStack) -> None:
    stack.up()
    stack.consul.deregister(BILLING)
    assert healer(stack).round().written == [BILLING]
    assert stack.preview(refresh=True) == {"same": 42}


def test_the_servers_show_what_was_registered_when_the_round_ends(stack: EditableStack) -> None:
    stack.up()
    stack.consul.deregister(BILLING)
    healer(stack).round()
    assert stack.consul.in_catalog(AGENT_NODE, BILLING, BILLING)


def test_nothing_is_sent_where_nothing_differs(stack: EditableStack) -> None:
    stack.up()
    before, one = stack.register_requests(), healer(stack)
    assert (one.round(), one.round()) == (Round(), Round())
    assert stack.register_requests() == before


def test_one_service_that_is_gone_is_one_request_and_no_other_check_starts_anew(stack: EditableStack) -> None:
    stack.up()
    stack.consul.deregister(BILLING)
    before = stack.register_requests()
    healer(stack).round()
    assert stack.register_requests() == before + 1


def test_a_change_by_hand_is_undone_after_one_run_of_its_check(stack: EditableStack) -> None:
    stack.check_every_second()
    stack.up()
    fields = definition(stack.service(BILLING))
    fields["meta"][OWNER_KEY] = f"{OWNER}registration-{BILLING}"
    stack.consul.register({**register_request(fields), "Port": 9999})
    one, started = healer(stack), time.monotonic()
    assert settled(one).written == [BILLING]
    assert time.monotonic() - started >= 1 + 5
    assert stack.preview(refresh=True) == {"same": 42}


def test_a_fresh_deployment_is_left_alone_by_a_healer_with_the_roster_of_before(stack: EditableStack) -> None:
    stack.check_every_second()
    stack.up()
    one = healer(stack)
    one.round()
    stack.change(BILLING, port=8299)
    stack.up()
    before = stack.register_requests()
    result = settled(one)
    assert result.written == []
    assert result.notices == [
        "the roster differs from what is deployed (billing_service), which stays: pulumi up deploys it"
    ]
    assert stack.register_requests() == before
    assert stack.preview(refresh=True) == {"same": 42}


def test_an_edit_that_was_not_deployed_stays_so_where_the_service_is_there(stack: EditableStack) -> None:
    stack.check_every_second()
    stack.up()
    stack.change(BILLING, port=8299)
    before = stack.register_requests()
    assert settled(healer(stack)).written == []
    assert stack.register_requests() == before


def test_an_edit_that_was_not_deployed_stays_so_where_the_service_is_gone(stack: EditableStack) -> None:
    stack.up()
    stack.change(BILLING, port=8299)
    stack.consul.deregister(BILLING)
    assert healer(stack).round().written == [BILLING]
    held = stack.consul.service(BILLING)
    assert held
    assert held["Port"] == 8216
    assert stack.preview(refresh=True) == {"same": 41, "update": 1}


def test_a_service_that_was_never_deployed_is_not_registered(stack: EditableStack) -> None:
    whole = stack.roster
    stack.remove(BILLING)
    stack.up()
    stack.roster = whole
    assert healer(stack).round().written == []
    assert stack.consul.service(BILLING) is None


def test_a_service_that_the_roster_drops_is_kept_until_that_is_deployed(stack: EditableStack) -> None:
    stack.up()
    stack.remove(BILLING)
    stack.consul.deregister(BILLING)
    assert healer(stack).round().written == [BILLING]


def test_what_another_party_holds_is_left_alone_and_named(stack: EditableStack) -> None:
    stack.check_every_second()
    stack.up()
    stack.consul.register({"ID": BILLING, "Name": BILLING, "Port": 1, "Meta": {}})
    result = settled(healer(stack))
    assert result.written == []
    assert result.troubles == ["billing_service is held by another party: it is left alone"]
    held = stack.consul.service(BILLING)
    assert held
    assert held["Port"] == 1


def test_nothing_is_written_while_a_run_of_pulumi_holds_the_lock(stack: EditableStack) -> None:
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


def test_the_loop_waits_its_period_between_rounds(stack: EditableStack) -> None:
    stack.up()
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heal.keep(healer(stack), period("7s"), wait)
    assert waited == [7, 7]
