"""What a service can say beside name, port and check, on a real Consul."""

from typing import Any, Unpack

from consul_cluster.cluster_names import STAGING_NAMES
from services.checks import HttpCheck
from services.environment import Environment
from services.group import Options
from services.model import Service, TaggedAddress, Weights
from services.roster import Roster
from services.user_services import USER
from tests.local.stacks import EditableStack, register

WHERE = Environment("staging", "127.0.0.3")


def user(name: str, port: int, **options: Unpack[Options]) -> Service:
    """Return a service that Consul does not remove, though nothing listens there, however long a test takes."""
    lasting = HttpCheck(deregister_critical_service_after=None)
    options.setdefault("checks", (lasting,))
    return USER.service(WHERE, name, port, **options)


def only(stack: EditableStack, *services: Service) -> None:
    stack.roster = Roster(services=services)


def in_catalog(stack: EditableStack, name: str) -> dict[str, dict[str, Any]]:
    """Return the services that the catalog has under a name, by id."""
    found = stack.sandbox.server_api.node_services(STAGING_NAMES.agent_node)
    return {service_id: service for service_id, service in found.items() if service["Service"] == name}


def test_what_others_may_change_stays_and_what_they_may_not_is_as_stated_again(stack: EditableStack) -> None:
    wan = TaggedAddress(address="order.example", port=443)
    open_ = user("billing", 8216, enable_tag_override=True)
    closed = user("account", 8201, tags=("preferred",))
    weighted = user("order", 8105, weights=Weights(passing=10), tagged_addresses={"wan": wan})
    only(stack, open_, closed, weighted)
    stack.up()
    set_tags_in_catalog(stack, open_.id, ["theirs"])
    register(stack.sandbox, closed, tags=["theirs"])
    assert stack.up(refresh=True) == {"same": 4, "update": 1}
    assert in_catalog(stack, open_.name)[open_.id]["Tags"] == ["theirs"]
    assert in_catalog(stack, closed.name)[closed.id]["Tags"][-1] == "preferred"
    found = in_catalog(stack, weighted.name)[weighted.id]
    assert found["Weights"] == {"Passing": 10, "Warning": 1}
    assert found["TaggedAddresses"]["wan"] == {"Address": "order.example", "Port": 443}


def set_tags_in_catalog(stack: EditableStack, service_id: str, tags: list[str]) -> None:
    held = stack.sandbox.server_api.node_services(STAGING_NAMES.agent_node)[service_id]
    body = {"Node": STAGING_NAMES.agent_node, "SkipNodeUpdate": True, "Service": {**held, "Tags": tags}}
    stack.sandbox.server_api.register_in_catalog(body)


def test_two_instances_of_a_name_are_two_resources_and_both_are_found(stack: EditableStack) -> None:
    first = user("billing", 8216)
    second = user("billing", 8217, id="billing_service-2", container="isa-billing-2")
    only(stack, first, second)
    assert stack.up()["create"] == 4
    assert {key: each["Port"] for key, each in in_catalog(stack, "billing_service").items()} == {
        "billing_service": 8216,
        "billing_service-2": 8217,
    }
    only(stack, first)
    assert stack.up(refresh=True) == {"same": 3, "delete": 1}
    assert list(in_catalog(stack, "billing_service")) == ["billing_service"]


def test_a_service_is_found_under_its_old_and_its_new_name_while_it_is_renamed(stack: EditableStack) -> None:
    old = user("invoice", 8216)
    only(stack, old, user("billing", 8216, same_address_as="invoice_service"))
    stack.up()
    assert in_catalog(stack, "invoice_service").keys() == {"invoice_service"}
    assert in_catalog(stack, "billing_service").keys() == {"billing_service"}


CHECK = HttpCheck(
    deregister_critical_service_after=None,
    method="POST",
    header={"X-Probe": ("consul",)},
    body="{}",
    failures_before_critical=3,
)


# By service, what another party registers of its check.
OTHER: dict[str, dict[str, Any]] = {
    "header": {"header": {"X-Probe": ("other",)}},
    "no_header": {"header": {}},
    "body": {"body": "other"},
    "threshold": {"failures_before_critical": 5},
}


def test_what_consul_does_not_show_of_a_check_is_drift_too(stack: EditableStack) -> None:
    only(stack, *(probed(name, CHECK) for name in OTHER), probed("untouched", CHECK))
    stack.up()
    for name, change in OTHER.items():
        register(stack.sandbox, probed(name, CHECK.model_copy(update=change)))
    assert stack.preview(refresh=True)["update"] == len(OTHER)
    assert stack.up(refresh=True) == {"same": 3, "update": len(OTHER)}
    assert stack.up(refresh=True) == {"same": 3 + len(OTHER)}


def probed(name: str, check: HttpCheck) -> Service:
    return user(name, 8300 + [*OTHER, "untouched"].index(name), checks=(check,))
