"""What `--refresh` promises: drift is shown field by field, and repaired."""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from operations.pulumi_engine import EngineError
from services.consul_definition import definition, register_request
from services.field_types import OWNER_KEY
from tests.local.stacks import OWNER, RESOURCES, EditableStack
from tests.statuses import require_passing
from tests.waiting import within

MINUTE = timedelta(minutes=1)  # the shortest time after which Consul reaps a service


def body(stack: EditableStack, service_id: str = "billing_service") -> dict[str, Any]:
    """Return the request that registers a service as the stack does."""
    fields = definition(stack.service(service_id))
    fields["meta"][OWNER_KEY] = f"{OWNER}registration-{service_id}"
    return register_request(fields)


def with_check(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        held["Checks"][0][name] = value

    return change


# By field: a service, how it drifts there, and what the preview then shows of it.
DRIFTS: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "address": ("account_service", lambda held: held.update(Address="127.0.0.9"), 'address   : "127.0.0.9" => '),
    "port": ("billing_service", lambda held: held.update(Port=9999), "port      : 9999 => 8216"),
    "name": ("auth_service", lambda held: held.update(Name="auth"), 'name      : "auth" => "auth_service"'),
    "tags": ("order_service", lambda held: held["Tags"].append("canary"), '- [4]: "canary"'),
    "meta": (
        "event_service",
        lambda held: held["Meta"].update(team="nobody"),
        '~ team       : "nobody" => "user-platform"',
    ),
    "check interval": ("audit_service", with_check("Interval", "20s"), '"20s" => "10s"'),
    "check timeout": ("wallet_service", with_check("Timeout", "9s"), '"9s" => "5s"'),
    "check name": ("task_service", with_check("Name", "other"), '"other" => "task_service HTTP"'),
    "check id": ("album_service", with_check("CheckID", "other"), "+ album_service-health: {"),
    "check notes": ("media_service", with_check("Notes", "changed by hand"), "+ http "),
}


def shown(stack: EditableStack, service_id: str) -> str:
    """Return what the engine printed of one service."""
    return "\n".join(re.findall(rf"\[id={service_id}\](.*?)(?=AgentService: |\Z)", stack.said, re.DOTALL))


def test_drift_of_each_field_is_shown_and_repaired(stack: EditableStack) -> None:
    stack.up()
    for service_id, drift, _ in DRIFTS.values():
        held = body(stack, service_id)
        drift(held)
        stack.consul.register(held)
    assert stack.preview(refresh=True, diff=True) == {"same": RESOURCES - len(DRIFTS), "update": len(DRIFTS)}
    assert [field for field, (service_id, _, text) in DRIFTS.items() if text not in shown(stack, service_id)] == []
    assert stack.up(refresh=True)["update"] == len(DRIFTS)
    assert stack.preview(refresh=True) == {"same": RESOURCES}


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
    assert stack.preview(refresh=True) == {"same": RESOURCES - 1, "create": 1}
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
    standin = stack.sandbox.stand_in(stack.service("billing_service"))
    standin.stop()
    try:
        # Consul looks every 30 s for what is to be reaped, after a check that turns critical.
        within(60 + 30 + 6, lambda: not stack.consul.service("billing_service"))
    finally:
        standin.start()
    assert stack.up(refresh=True)["create"] == 1
    require_passing(stack.consul, stack.roster)
