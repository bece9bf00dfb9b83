"""`heal` with a real Consul, a real engine, and the reaping that it is for."""

import time

import pytest

from consul_cluster.cluster_names import STAGING_NAMES
from operations.command_line import duration_option
from operations.heal import heal
from operations.heal.reconcile import Reconciler, Round
from services.consul_definition import definition, register_request
from services.field_types import OWNER_KEY
from services.roster import Roster
from tests.local.run_up import engine_of, start_up
from tests.local.stacks import OWNER, RESOURCES, EditableStack
from tests.waiting import within

BILLING = "billing_service"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)


def healer(stack: EditableStack) -> Reconciler:
    return Reconciler(stack.roster, stack.consul, STAGING_NAMES.agent_node, stack.engine)


def settled(one: Reconciler) -> Round:
    """Run rounds until no difference waits any more; returns what they came to."""
    while (result := one.round()).waiting:
        time.sleep(0.5)
    return result


def test_a_service_that_is_gone_is_registered_so_that_pulumi_sees_no_difference(deployed: EditableStack) -> None:
    deployed.consul.deregister(BILLING)
    assert healer(deployed).round().written == [BILLING]
    assert deployed.preview(refresh=True) == {"same": RESOURCES}


def test_the_servers_show_what_was_registered_when_the_round_ends(deployed: EditableStack) -> None:
    deployed.consul.deregister(BILLING)
    healer(deployed).round()
    assert deployed.consul.in_catalog(STAGING_NAMES.agent_node, BILLING, BILLING)


def test_nothing_is_sent_where_nothing_differs(deployed: EditableStack) -> None:
    before, one = deployed.register_requests(), healer(deployed)
    assert (one.round(), one.round()) == (Round(), Round())
    assert deployed.register_requests() == before


def test_one_service_that_is_gone_is_one_request_and_no_other_check_starts_anew(deployed: EditableStack) -> None:
    deployed.consul.deregister(BILLING)
    before = deployed.register_requests()
    healer(deployed).round()
    assert deployed.register_requests() == before + 1


def test_a_change_by_hand_is_reported_after_one_run_of_its_check_and_stays(deployed: EditableStack) -> None:
    fields = definition(deployed.service(BILLING))
    fields["meta"][OWNER_KEY] = f"{OWNER}registration-{BILLING}"
    deployed.consul.register({**register_request(fields), "Port": 9999})
    one, started = healer(deployed), time.monotonic()
    assert settled(one).troubles == ["billing_service has other port than deployed, and stays so: pulumi up undoes it"]
    assert time.monotonic() - started >= 1 + 5
    held = deployed.consul.service(BILLING)
    assert held
    assert held["Port"] == 9999
    assert deployed.preview(refresh=True) == {"same": RESOURCES - 1, "update": 1}


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
    assert stack.preview(refresh=True) == {"same": RESOURCES}


def test_an_edit_that_was_not_deployed_stays_so_where_the_service_is_there(deployed: EditableStack) -> None:
    deployed.change(BILLING, port=8299)
    before = deployed.register_requests()
    assert settled(healer(deployed)).written == []
    assert deployed.register_requests() == before


def test_an_edit_that_was_not_deployed_stays_so_where_the_service_is_gone(deployed: EditableStack) -> None:
    deployed.change(BILLING, port=8299)
    deployed.consul.deregister(BILLING)
    assert healer(deployed).round().written == [BILLING]
    held = deployed.consul.service(BILLING)
    assert held
    assert held["Port"] == 8216
    assert deployed.preview(refresh=True) == {"same": RESOURCES - 1, "update": 1}


def test_a_service_that_was_never_deployed_is_not_registered(stack: EditableStack) -> None:
    whole = stack.roster
    stack.remove(BILLING)
    stack.up()
    stack.roster = whole
    assert healer(stack).round().written == []
    assert stack.consul.service(BILLING) is None


def test_a_service_that_the_roster_drops_is_kept_until_that_is_deployed(deployed: EditableStack) -> None:
    deployed.remove(BILLING)
    deployed.consul.deregister(BILLING)
    assert healer(deployed).round().written == [BILLING]


def test_what_another_party_holds_is_left_alone_and_named(deployed: EditableStack) -> None:
    deployed.consul.register({"ID": BILLING, "Name": BILLING, "Port": 1, "Meta": {}})
    result = settled(healer(deployed))
    assert result.written == []
    assert result.troubles == ["billing_service is held by another party, such as the service itself: it is left alone"]
    held = deployed.consul.service(BILLING)
    assert held
    assert held["Port"] == 1


def test_nothing_is_written_while_a_run_of_pulumi_holds_the_lock(stack: EditableStack) -> None:
    stack.up()
    stack.roster = Roster(services=stack.roster.services[:1])
    run = start_up(stack)
    engine = engine_of(run)
    try:
        within(30, lambda: stack.engine.locked)
        engine.suspend()
        stack.consul.deregister(BILLING)
        result = healer(stack).round()
        assert result.written == []
        assert "a run of pulumi is at work on the stack" in result.troubles[0]
    finally:
        engine.resume()
        assert run.wait(60) == 0


def test_the_loop_waits_its_period_between_rounds(deployed: EditableStack) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heal.keep([healer(deployed)], duration_option("7s"), wait)
    assert waited == [7, 7]
