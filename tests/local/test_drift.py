"""What `--refresh` promises: drift is shown field by field, and repaired."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from operations.engine import EngineError
from services.definition import definition, register_request
from services.model import OWNER_KEY
from tests.local.stacks import OWNER, EditableStack, require_passing
from tests.waiting import within

MINE = f"{OWNER}registration-billing_service"
MINUTE = timedelta(minutes=1)  # the shortest time after which Consul reaps a service


def body(stack: EditableStack) -> dict[str, Any]:
    fields = definition(stack.service("billing_service"))
    fields["meta"][OWNER_KEY] = MINE
    return register_request(fields)


def with_check(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        held["Checks"][0][name] = value

    return change


DRIFTS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "address": (lambda held: held.update(Address="127.0.0.9"), "address   : "),
    "port": (lambda held: held.update(Port=9999), "port      : 8216 => 9999"),
    "name": (lambda held: held.update(Name="billing"), 'name      : "billing_service" => "billing"'),
    "tags": (lambda held: held["Tags"].append("canary"), '+ [4]: "canary"'),
    "meta": (lambda held: held["Meta"].update(team="nobody"), '~ team       : "user-platform" => "nobody"'),
    "check interval": (with_check("Interval", "20s"), '"10s" => "20s"'),
    "check timeout": (with_check("Timeout", "9s"), '"5s" => "9s"'),
    "check name": (with_check("Name", "other"), '"billing_service HTTP" => "other"'),
    "check id": (with_check("CheckID", "other"), "- billing_service-health: {"),
    "check notes": (with_check("Notes", "changed by hand"), "- http "),
}


@pytest.mark.parametrize("field", DRIFTS)
def test_drift_of_each_field_is_shown_and_repaired(stack: EditableStack, field: str) -> None:
    drift, shown = DRIFTS[field]
    stack.up()
    held = body(stack)
    drift(held)
    stack.consul.register(held)
    assert stack.preview(refresh=True, diff=True)["update"] == 1
    assert shown in stack.said
    assert stack.up(refresh=True)["update"] == 1
    assert stack.preview(refresh=True) == {"same": 42}


def test_a_check_that_runs_against_something_else_is_drift_even_where_its_notes_do_not_say_so(
    stack: EditableStack,
) -> None:
    stack.up()
    held = body(stack)
    elsewhere = stack.service("auth_service").address
    held["Checks"][0] |= {"HTTP": f"http://{elsewhere}/health", "Interval": "1s"}
    stack.consul.register(held)
    time.sleep(2.5)  # it runs once
    assert stack.preview(refresh=True, diff=True)["update"] == 1
    assert f'8216/health" => "http://{elsewhere}/health"' in stack.said


def test_a_missing_service_is_shown_and_registered_again(stack: EditableStack) -> None:
    stack.up()
    stack.consul.deregister("billing_service")
    assert stack.preview(refresh=True) == {"same": 41, "create": 1}
    assert stack.up(refresh=True)["create"] == 1
    assert stack.consul.service("billing_service")


def test_a_service_that_another_party_took_over_is_shown_and_left_alone(stack: EditableStack) -> None:
    stack.up()
    stack.consul.register({"ID": "billing_service", "Name": "billing_service", "Port": 1, "Meta": {}})
    assert stack.preview(refresh=True, diff=True)["update"] == 1
    with pytest.raises(EngineError):
        stack.up(refresh=True)
    assert "'billing_service' is already registered" in stack.said
    stack.destroy()
    assert set(stack.consul.all_services()) == {"billing_service"}


def test_a_service_that_was_reaped_comes_back_with_up_refresh(stack: EditableStack) -> None:
    stack.check_every_second()
    check = stack.service("billing_service").checks[0]
    stack.change("billing_service", checks=(check.model_copy(update={"deregister_critical_service_after": MINUTE}),))
    stack.up()
    require_passing(stack.consul, stack.roster)
    standin = stack.cluster.standin(stack.service("billing_service"))
    standin.stop()
    try:
        # Consul looks every 30 s for what is to be reaped, after a check that turns critical.
        within(60 + 30 + 6, lambda: not stack.consul.service("billing_service"))
    finally:
        standin.start()
    assert stack.up(refresh=True)["create"] == 1
    require_passing(stack.consul, stack.roster)
