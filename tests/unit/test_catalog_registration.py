import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pulumi
import pulumi_consul
import pytest

from components.consul_connection import Connection
from components.registration.catalog import CatalogRegistration, CatalogRegistrationArgs
from services.roster import Roster
from tests.fake_consul import FakeConsul, running
from tests.forty_services import FORTY, Line, forty_roster
from tests.unit.pulumi_mocks import Deployed, deploy, secret

SERVER = "http://127.0.0.1:8500"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
NODE = "staging-external"
TYPE = "consul-staging:registration:CatalogRegistration"
COMPONENT = f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${TYPE}::registration"
PROVIDER = f"urn:pulumi:test::consul-staging::{TYPE}$pulumi:providers:consul::registration-consul"

# Parts of URNs: another one would replace, and so delete, what is registered.
PROVIDER_TYPE = "pulumi:providers:consul"
NODE_TYPE = "consul:index/node:Node"
SERVICE_TYPE = "consul:index/service:Service"

SERVICES = [f"registration-{line.name}" for line in FORTY]


def registered(
    servers: Connection,
    services: Roster | None = None,
    moves: bool = False,
    opts: Callable[[], pulumi.ResourceOptions] | None = None,
    name: str = "registration",
) -> Deployed:
    """Deploy the component; options are made within the program, since they may hold resources."""

    def program() -> None:
        hooks = pulumi.ResourceHookBinding(
            before_create=[pulumi.ResourceHook("leave", lambda _: None)],
            after_create=[pulumi.ResourceHook("arrive", lambda _: None)],
        )
        args = CatalogRegistrationArgs(
            services or forty_roster(), servers, NODE, "consul-esm", hooks if moves else None
        )
        CatalogRegistration(name, args, opts() if opts else None)

    return deploy(program)


@cache
def plain() -> Deployed:
    """The 40 services with servers that ask for no token."""
    return registered(Connection(SERVER))


@cache
def guarded() -> Deployed:
    """The same with servers that ask for one, over TLS."""
    return registered(Connection("https://consul.example:8501", TOKEN, AUTHORITY))


# The component


def test_it_is_a_component_a_provider_a_node_and_a_resource_for_each_service() -> None:
    types = {name: request.type for name, request in plain().requests.items()}
    assert types == {
        "registration": TYPE,
        "registration-consul": PROVIDER_TYPE,
        "registration-node": NODE_TYPE,
        **{f"registration-{line.name}": SERVICE_TYPE for line in FORTY},
    }


def test_the_component_registers_the_ids_of_its_services_as_its_outputs() -> None:
    assert plain().outputs[COMPONENT] == {"service_ids": [line.name for line in FORTY]}


def test_the_components_services_are_found_by_id() -> None:
    found: dict[str, pulumi_consul.Service] = {}

    def program() -> None:
        args = CatalogRegistrationArgs(forty_roster(), Connection(SERVER), NODE, "consul-esm")
        found.update(CatalogRegistration("registration", args).services)

    deploy(program)
    assert list(found) == [line.name for line in FORTY]


def test_another_name_for_the_component_is_another_name_and_owner_for_each_resource() -> None:
    one = Roster(services=forty_roster().services[:1])
    found = registered(Connection(SERVER), one, name="other")
    assert list(found.requests) == ["other", "other-consul", "other-node", "other-account_service"]
    marks = [found.inputs(name)["meta"]["managed-by"] for name in ("other-node", "other-account_service")]
    assert marks == ["pulumi/consul-staging/test/other-node", "pulumi/consul-staging/test/other-account_service"]


def test_protect_reaches_every_resource() -> None:
    found = registered(Connection(SERVER), opts=lambda: pulumi.ResourceOptions(protect=True))
    assert {name for name, request in found.requests.items() if request.protect} == set(found.requests)


# The provider


def test_the_provider_is_the_servers_api_and_nothing_else() -> None:
    assert plain().inputs("registration-consul") == {
        "address": "127.0.0.1:8500",
        "scheme": "http",
        "datacenter": "dc1",
    }


def test_the_provider_of_servers_with_a_token_and_tls_is_exactly_this() -> None:
    assert guarded().inputs("registration-consul") == {
        "address": "consul.example:8501",
        "scheme": "https",
        "datacenter": "dc1",
        "caPem": AUTHORITY,
        "token": secret(TOKEN),
    }


def test_the_token_stands_in_no_other_input_or_output() -> None:
    others = [guarded().inputs(name) for name in guarded().requests if name != "registration-consul"]
    assert TOKEN not in repr((others, guarded().outputs))


def test_the_node_and_every_service_are_with_that_provider() -> None:
    # Not with the default one, whose servers an environment variable may name.
    used = {plain().requests[name].provider for name in ("registration-node", *SERVICES)}
    assert used == {f"{PROVIDER}::registration-consul-id"}


# The node


def test_the_node_is_exactly_this() -> None:
    assert plain().inputs("registration-node") == {
        "name": "staging-external",
        "address": "consul-esm",
        "meta": {
            "external-node": "true",
            "external-probe": "false",
            "managed-by": "pulumi/consul-staging/test/registration-node",
        },
    }


def test_the_node_is_not_deleted_before_it_is_replaced() -> None:
    assert not plain().requests["registration-node"].deleteBeforeReplace


def test_the_nodes_hook_is_its_own() -> None:
    bound = {name: plain().bound(name) for name in plain().requests}
    assert {name: hooks for name, hooks in bound.items() if hooks} == {
        "registration-node": {"before_create": ["refuse-anothers-node"]}
    }


@pytest.fixture(name="servers")
def _servers() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        yield consul


def creating(servers: FakeConsul) -> str:
    """What is said when the engine is about to create the node."""
    one = forty_roster(names=["billing_service"])
    return registered(Connection(servers.address), one).call("refuse-anothers-node", name=NODE)


def test_a_node_that_the_catalog_does_not_have_is_created(servers: FakeConsul) -> None:
    assert creating(servers) == ""


def test_a_node_of_a_run_that_was_interrupted_is_taken_up(servers: FakeConsul) -> None:
    meta = {"managed-by": "pulumi/consul-staging/test/registration-node"}
    servers.nodes[NODE] = {"Node": {"Node": NODE, "Meta": meta}, "Services": {}}
    assert creating(servers) == ""


@pytest.mark.parametrize(
    "meta",
    [
        {"managed-by": "pulumi/consul-staging/staging/registration-node"},
        {"managed-by": "terraform"},
        {"external-node": "true"},
        {},
        None,  # so Consul shows a node that was registered without any
    ],
    ids=["another stack", "another tool", "no mark", "empty", "null"],
)
def test_a_node_of_another_party_is_refused(servers: FakeConsul, meta: dict[str, str] | None) -> None:
    # The provider would take it, and delete it when the stack is destroyed.
    servers.nodes[NODE] = {"Node": {"Node": NODE, "Meta": meta}, "Services": {}}
    said = "the catalog has a node 'staging-external' of another party: set externalNode to a free name"
    assert creating(servers) == said


def test_looking_for_another_partys_node_changes_nothing(servers: FakeConsul) -> None:
    servers.nodes[NODE] = {"Node": {"Node": NODE, "Meta": {}}, "Services": {}}
    creating(servers)
    assert servers.wrote == []


def test_another_partys_node_of_another_name_is_none_of_ours(servers: FakeConsul) -> None:
    servers.nodes["another"] = {"Node": {"Node": "another", "Meta": {}}, "Services": {}}
    assert creating(servers) == ""


def test_servers_that_do_not_answer_are_an_error(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    servers.address = "http://127.0.0.1:9"
    assert creating(servers).startswith("GET http://127.0.0.1:9/v1/catalog/node/staging-external: no answer: ")


# The services


def test_the_inputs_of_every_service_are_exactly_these() -> None:
    inputs = {name: plain().inputs(name) for name in SERVICES}
    assert inputs == {f"registration-{line.name}": inputs_of(line) for line in FORTY}


def inputs_of(line: Line) -> dict[str, Any]:
    fields = {"deregister_critical_service_after": "deregisterCriticalServiceAfter"}
    check = {fields.get(key, key): value for key, value in line.check.items()}
    return {
        "serviceId": line.name,
        "name": line.name,
        "node": "staging-external",
        "address": line.container,
        "port": line.port,
        "tags": line.tags,
        "meta": {**line.meta, "managed-by": f"pulumi/consul-staging/test/registration-{line.name}"},
        "checks": [{"checkId": line.check_id, **check}],
    }


def test_every_service_waits_for_the_node() -> None:
    assert [plain().waits_for(name) for name in SERVICES] == [{"registration-node"}] * 40


def test_what_the_component_waits_for_the_node_and_every_service_wait_for_too() -> None:
    def options() -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(depends_on=[pulumi.ProviderResource("consul", "before", {})])

    found = registered(Connection(SERVER), opts=options)
    names = ["registration", "registration-node", *SERVICES]
    assert [name for name in names if "before" not in found.waits_for(name)] == []


def test_the_status_of_a_check_is_consul_esms_to_set() -> None:
    ignored = [list(plain().requests[name].ignoreChanges) for name in SERVICES]
    assert ignored == [["checks[*].status"]] * 40


def test_whatever_changes_of_a_check_is_an_update_of_its_service() -> None:
    # Another interval, or another id: one that is replaced would be critical until its first run.
    assert [name for name in SERVICES if plain().requests[name].replaceOnChanges] == []


def test_a_service_is_deleted_before_it_is_replaced() -> None:
    # Deleting last would delete what was just created: both have one id.
    assert [name for name in SERVICES if not plain().requests[name].deleteBeforeReplace] == []


def test_what_moves_services_is_bound_to_every_service_and_not_to_the_node() -> None:
    found = registered(Connection(SERVER), moves=True)
    assert {name: found.bound(name) for name in ("registration-node", *SERVICES)} == {
        "registration-node": {"before_create": ["refuse-anothers-node"]},
        **{key: {"before_create": ["leave"], "after_create": ["arrive"]} for key in SERVICES},
    }
