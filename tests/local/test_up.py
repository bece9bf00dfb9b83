"""What `pulumi up` promises, with the real engine and a real Consul 1.17.2."""

import re
import time
from datetime import timedelta

import pytest
import urllib3

from services.consul_definition import definition
from services.field_types import OWNER_KEY
from tests.local.stacks import RESOURCES, TWELVE, EditableStack
from tests.statuses import require_passing, statuses


def test_up_registers_the_40_services_and_the_agent_checks_every_one_of_them(stack_of_forty: EditableStack) -> None:
    stack = stack_of_forty
    stack.check_every_second()
    assert stack.up()["create"] == 42  # with the stack and the component
    require_passing(stack.consul, stack.roster)
    ran = {check["ServiceID"]: check["Output"] for check in stack.consul.all_checks().values() if check["ServiceID"]}
    assert len(ran) == 40
    assert all(re.match(r"HTTP GET \S+/health: 200 OK|TCP connect \S+: Success", output) for output in ran.values())


def test_what_the_agent_holds_is_what_the_roster_states(deployed: EditableStack) -> None:
    held = deployed.consul.all_services()
    for service in deployed.roster.services:
        wanted = definition(service)
        one = held[service.id]
        assert (one["Service"], one["Address"], one["Port"]) == (wanted["name"], wanted["address"], wanted["port"])
        assert one["Tags"] == wanted["tags"]
        assert one["Meta"] == wanted["meta"] | {OWNER_KEY: f"pulumi/consul-staging/local/registration-{service.id}"}


def test_the_catalog_shows_each_service_once_when_up_returns(deployed: EditableStack) -> None:
    catalog = urllib3.request("GET", f"{deployed.consul.address}/v1/catalog/node-services/consul-agent-shared").json()
    assert sorted(entry["ID"] for entry in catalog["Services"]) == sorted(s.id for s in deployed.roster.services)


def test_a_second_up_changes_nothing_and_sends_nothing(deployed: EditableStack) -> None:
    before = deployed.register_requests()
    assert deployed.up() == {"same": RESOURCES}
    assert deployed.register_requests() == before


def test_a_changed_interval_updates_that_service_alone_and_no_check_leaves_passing(stack: EditableStack) -> None:
    stack.check_every_second()
    stack.up()
    require_passing(stack.consul, stack.roster)
    before = stack.register_requests()
    billing = stack.service("billing_service")
    check = billing.checks[0].model_copy(update={"interval": timedelta(seconds=5)})
    stack.change("billing_service", checks=(check,))
    assert stack.up() == {"same": RESOURCES - 1, "update": 1}
    assert stack.register_requests() == before + 1
    assert stack.consul.checks("billing_service")["billing_service-health"]["Interval"] == "5s"
    until = time.monotonic() + 6  # longer than any check's interval: each has run once more
    while time.monotonic() < until:
        assert set(statuses(stack.consul, stack.roster).values()) == {"passing"}
        time.sleep(0.2)


def test_the_preview_of_a_changed_service_is_one_resource_with_the_changed_fields(deployed: EditableStack) -> None:
    deployed.change("billing_service", port=8299)
    assert deployed.preview(diff=True) == {"same": RESOURCES - 1, "update": 1}
    assert "port      : 8216 => 8299" in deployed.said
    assert "8216/health" in deployed.said
    assert "auth_service" not in deployed.said


def test_a_changed_port_moves_the_service_and_its_check(stack: EditableStack) -> None:
    stack.up()
    stack.change("billing_service", port=8299)
    assert stack.up() == {"same": RESOURCES - 1, "update": 1}
    service = stack.consul.service("billing_service")
    assert service
    assert service["Port"] == 8299
    assert ":8299/health" in stack.consul.checks("billing_service")["billing_service-health"]["Notes"]


def test_a_check_that_is_stated_no_more_is_gone(stack: EditableStack) -> None:
    billing = stack.service("billing_service")
    second = billing.checks[0].model_copy(update={"id": "billing_service-deep", "path": "/health?deep"})
    stack.change("billing_service", checks=(*billing.checks, second))
    stack.up()
    assert set(stack.consul.checks("billing_service")) == {"billing_service-health", "billing_service-deep"}
    stack.change("billing_service", checks=billing.checks)
    stack.up()
    assert set(stack.consul.checks("billing_service")) == {"billing_service-health"}


def test_a_removed_entry_deregisters_that_service_alone(stack: EditableStack) -> None:
    stack.up()
    stack.remove("billing_service")
    assert stack.up() == {"same": RESOURCES - 1, "delete": 1}
    assert "billing_service" not in stack.consul.all_services()
    assert len(stack.consul.all_services()) == len(TWELVE) - 1
    assert not stack.consul.in_catalog("consul-agent-shared", "billing_service", "billing_service")


def test_a_changed_id_is_a_replacement_that_registers_before_it_deregisters(stack: EditableStack) -> None:
    stack.up()
    billing = stack.service("billing_service")
    check = billing.checks[0].model_copy(update={"id": "billing-2-health"})
    # The resource keeps its name where the roster's id is what names it: state both, as a changed id does.
    stack.change("billing_service", id="billing-2", checks=(check,))
    assert stack.up() == {"same": RESOURCES - 1, "create": 1, "delete": 1}
    assert "billing-2" in stack.consul.all_services()
    assert "billing_service" not in stack.consul.all_services()


def test_up_of_a_target_brings_that_service_alone_to_what_is_stated(deployed: EditableStack) -> None:
    for changed in ("account_service", "auth_service", "billing_service"):
        deployed.change(changed, tags=("changed",))
    deployed.consul.deregister("auth_service")
    targets = [urn for urn in deployed.engine.urns() if urn.endswith(("-auth_service", "-billing_service"))]
    assert deployed.up(target=targets, refresh=True) == {"same": RESOURCES - 2, "create": 1, "update": 1}
    tags = {service_id: service["Tags"] for service_id, service in deployed.consul.all_services().items()}
    assert [key for key, each in tags.items() if each == ["changed"]] == ["auth_service", "billing_service"]
    assert deployed.up() == {"same": RESOURCES - 1, "update": 1}


def test_destroy_leaves_nothing_of_ours_and_all_that_is_not(stack: EditableStack) -> None:
    stack.consul.register({"ID": "own", "Name": "own", "Port": 1234})
    stack.up()
    stack.destroy()
    assert set(stack.consul.all_services()) == {"own"}


@pytest.mark.parametrize("refresh", [False, True])
def test_destroy_twice_is_no_error(stack: EditableStack, refresh: bool) -> None:
    stack.up()
    stack.destroy()
    assert stack.up(refresh=refresh)["create"] == RESOURCES
    stack.destroy()
    stack.destroy()
