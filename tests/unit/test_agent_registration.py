import base64
import pickletools
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest
import trustme

from components import unanswered_requests
from components.consul_connection import Connection
from components.registration import agent
from components.registration.agent import (
    AgentRegistration,
    AgentRegistrationArgs,
    AgentService,
    AgentServiceProvider,
)
from consul_cluster.client import ConsulError, ForbiddenError, NoAnswerError, UnknownTokenError, UntrustedError
from docker_engine import OWN_ENGINE, DockerEngine
from services.environment import Environment
from services.model import Service
from services.roster import Roster
from services.user_services import USER
from tests.fake_consul import Answer, FakeConsul, Request, running, serve
from tests.forty_services import FORTY, Line, forty_roster
from tests.unit.authorities import AUTHORITY
from tests.unit.pulumi_mocks import ROOT, Deployed, deploy, program_with, secret

AGENT = "http://127.0.0.1:8501"
SERVER = "http://127.0.0.1:8500"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
TYPE = "pulumi-python:dynamic/consul:AgentService"
COMPONENT_TYPE = "consul-staging:registration:AgentRegistration"
COMPONENT = f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${COMPONENT_TYPE}::registration"

SERVICES = [f"registration-{line.name}" for line in FORTY]


@pytest.fixture(autouse=True)
def _another_run() -> None:
    agent._unseen_since.clear()
    agent._created.clear()
    agent._has_lost_servers.cache_clear()


def registered(
    args: AgentRegistrationArgs | None = None, opts: Callable[[], pulumi.ResourceOptions] | None = None
) -> Deployed:
    """Deploy the component; options are made within the program, since they may hold resources."""
    chosen = args or AgentRegistrationArgs(forty_roster(), Connection(AGENT))
    return deploy(lambda: AgentRegistration("registration", chosen, opts() if opts else None))


@cache
def plain() -> Deployed:
    """The 40 services with an agent that asks for no token."""
    return registered()


@cache
def guarded() -> Deployed:
    """The same with an agent that asks for one, over TLS."""
    agent = Connection("https://consul.example:8501", TOKEN, AUTHORITY)
    return registered(AgentRegistrationArgs(forty_roster(), agent, adopt=True))


# One resource a service


def test_every_service_is_one_resource_and_there_is_no_other() -> None:
    # The types and parents are parts of the URNs: others would replace every registration.
    found = {name: (request.type, request.parent) for name, request in plain().requests.items()}
    assert found == {"registration": (COMPONENT_TYPE, ROOT), **dict.fromkeys(SERVICES, (TYPE, COMPONENT))}
    assert sorted(plain().requests) == sorted(["registration", *SERVICES])


def test_the_inputs_of_every_service_are_exactly_these() -> None:
    inputs = {name: {**plain().inputs(name)} for name in SERVICES}
    for each in inputs.values():
        each.pop("__provider")  # has a test of its own
    assert inputs == {f"registration-{line.name}": inputs_of(line) for line in FORTY}


def inputs_of(line: Line) -> dict[str, Any]:
    mark = f"pulumi/consul-staging/test/registration-{line.name}"
    return {
        "mark": mark,
        "agent": AGENT,
        "owned": False,
        "adopt": False,
        "service_id": line.name,
        "name": line.name,
        "address": line.container,
        "port": line.port,
        "tags": line.tags,
        "meta": {**line.meta, "managed-by": mark},
        "checks": {line.check_id: line.check},
    }


def test_a_token_is_a_secret_and_in_no_other_input() -> None:
    inputs = [guarded().inputs(name) for name in SERVICES]
    assert [each.pop("token") for each in inputs] == [secret(TOKEN)] * 40
    assert TOKEN not in repr(inputs)


def test_a_token_that_is_an_output_is_a_secret_too() -> None:
    def program() -> None:
        agent = Connection(AGENT, pulumi.Output.from_input(TOKEN))
        AgentRegistration("registration", AgentRegistrationArgs(forty_roster(), agent))

    assert deploy(program).inputs("registration-billing_service")["token"] == secret(TOKEN)


def test_no_token_and_no_authority_are_no_inputs() -> None:
    inputs = plain().inputs("registration-billing_service")
    assert ("token" in inputs, "ca" in inputs) == (False, False)


def test_every_service_is_given_the_agents_address_and_authority_and_whether_to_adopt() -> None:
    given = [{key: guarded().inputs(name)[key] for key in ("agent", "ca", "adopt")} for name in SERVICES]
    assert given == [{"agent": "https://consul.example:8501", "ca": AUTHORITY, "adopt": True}] * 40


def test_an_agents_authority_may_be_an_output() -> None:
    def program() -> None:
        agent = Connection(AGENT, ca=pulumi.Output.from_input(AUTHORITY))
        AgentRegistration("registration", AgentRegistrationArgs(forty_roster(), agent))

    assert deploy(program).inputs("registration-billing_service")["ca"] == AUTHORITY


def test_an_input_of_every_service_is_whether_the_stack_deploys_the_agent() -> None:
    made = registered(AgentRegistrationArgs(forty_roster(), Connection(AGENT), owned=True))
    assert {made.inputs(name)["owned"] for name in made.of_type(TYPE)} == {True}


def test_the_state_names_the_provider_by_its_module_and_class() -> None:
    # The engine loads the provider from every state by this path: moving or renaming the class breaks them all.
    [provider] = {plain().inputs(name)["__provider"] for name in SERVICES}
    pickled = base64.b64decode(provider)
    words = [argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)]
    assert words == ["components.registration.agent", "AgentServiceProvider"]


def test_the_token_is_not_in_the_endpoints_repr() -> None:
    assert TOKEN not in repr(Connection(AGENT, TOKEN))


def test_the_owner_leaves_a_service_within_consuls_64_meta_keys() -> None:
    full = Service(
        **{**dict(forty_roster().services[0]), "meta": {f"key{number}": "" for number in range(63)}, "id": "full"}
    )
    made = registered(AgentRegistrationArgs(Roster(services=(full,)), Connection(AGENT)))
    assert len(made.inputs("registration-full")["meta"]) == 64


# The component


def test_the_component_is_no_resource_of_a_provider() -> None:
    assert not plain().requests["registration"].custom


def test_the_component_registers_the_ids_of_its_services_as_its_outputs() -> None:
    assert plain().outputs[COMPONENT] == {"service_ids": [line.name for line in FORTY]}


def test_the_components_services_are_found_by_id() -> None:
    found: dict[str, AgentService] = {}

    def program() -> None:
        args = AgentRegistrationArgs(forty_roster(), Connection(AGENT))
        found.update(AgentRegistration("registration", args).services)

    deploy(program)
    assert list(found) == [line.name for line in FORTY]


def test_the_id_and_the_agent_of_a_service_are_its_outputs() -> None:
    def program() -> None:
        made = AgentRegistration("registration", AgentRegistrationArgs(forty_roster(), Connection(AGENT))).services
        for name, service in made.items():
            pulumi.export(name, pulumi.Output.all(service.service_id, service.agent))

    assert deploy(program).sent_exports == {line.name: [line.name, AGENT] for line in FORTY}


def by_name(name: str) -> Service:
    return next(each for each in forty_roster().services if each.name == name)


def test_another_name_for_the_component_is_another_name_and_owner_for_each_service() -> None:
    def program() -> None:
        AgentRegistration("other", AgentRegistrationArgs(forty_roster(), Connection(AGENT)))

    inputs = deploy(program).inputs("other-billing_service")
    assert inputs["meta"]["managed-by"] == "pulumi/consul-staging/test/other-billing_service"


# What the caller may ask of Pulumi


def test_a_component_that_is_not_protected_protects_nothing() -> None:
    assert not any(request.protect for request in plain().requests.values())


def test_protect_reaches_the_component_and_every_service() -> None:
    made = registered(opts=lambda: pulumi.ResourceOptions(protect=True))
    assert {name for name, request in made.requests.items() if request.protect} == set(made.requests)


def test_the_component_waits_for_what_it_depends_on() -> None:
    # Its services wait for the component: they are its children.
    made = registered(opts=lambda: pulumi.ResourceOptions(depends_on=[Provider("consul", "before")]))
    assert [urn.rpartition("::")[2] for urn in made.requests["registration"].dependencies] == ["before"]


def test_what_depends_on_the_component_waits_for_every_service() -> None:
    def program() -> None:
        made = AgentRegistration("registration", AgentRegistrationArgs(forty_roster(), Connection(AGENT)))
        Provider("consul", "after", pulumi.ResourceOptions(depends_on=[made]))

    waits = {urn.rpartition("::")[2] for urn in deploy(program).requests["after"].dependencies}
    assert waits == {f"registration-{line.name}" for line in FORTY}


def test_a_provider_reaches_every_service() -> None:
    made = registered(opts=lambda: pulumi.ResourceOptions(providers=[Provider("pulumi-python", "mine")]))
    used = {request.provider.rpartition("::")[0] for request in made.of_type(TYPE).values()}
    assert [urn.rpartition("::")[2] for urn in used] == ["mine"]


def test_nothing_is_moved_by_default() -> None:
    assert [name for name in plain().requests if plain().bound(name)] == []


def test_what_moves_services_is_bound_to_every_one_and_not_to_the_component() -> None:
    def program() -> None:
        moves = pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook("move", lambda _: None)])
        args = AgentRegistrationArgs(forty_roster(), Connection(AGENT), hooks=moves)
        AgentRegistration("registration", args)

    found = deploy(program)
    bound = {name: found.bound(name) for name in found.requests}
    assert bound == {"registration": {}} | {f"registration-{line.name}": {"before_create": ["move"]} for line in FORTY}


def test_an_alias_is_the_components_alone() -> None:
    made = registered(opts=lambda: pulumi.ResourceOptions(aliases=[pulumi.Alias(name="before")]))
    aliased = {name: [alias.spec.name for alias in request.aliases] for name, request in made.requests.items()}
    assert {name: aliases for name, aliases in aliased.items() if aliases} == {"registration": ["before"]}


def test_a_component_may_have_a_parent() -> None:
    def program() -> None:
        above = pulumi.ComponentResource("consul-staging:test:Above", "above")
        args = AgentRegistrationArgs(forty_roster(), Connection(AGENT))
        AgentRegistration("registration", args, pulumi.ResourceOptions(parent=above))

    assert deploy(program).requests["registration"].parent.endswith("consul-staging:test:Above::above")


def test_a_service_by_itself_takes_options_too() -> None:
    def program() -> None:
        options = pulumi.ResourceOptions(retain_on_delete=True)
        AgentService("alone", by_name("billing_service"), Connection(AGENT), opts=options)

    assert deploy(program).requests["alone"].retainOnDelete


class Provider(pulumi.ProviderResource):
    """Any provider of a package."""

    def __init__(self, package: str, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(package, name, {}, opts)


# The whole program

# Without what it deploys on Docker, which test_deployment covers.
CONFIG = {"agentAddress": AGENT, "serverAddress": SERVER, "docker": "false"}


def program(config: Mapping[str, str] | None = None, secrets: tuple[str, ...] = ()) -> Deployed:
    return program_with({**CONFIG, **(config or {})}, secrets)[0]


def test_the_program_registers_the_40_services() -> None:
    assert sorted(program().of_type(TYPE)) == sorted(SERVICES)  # they are declared side by side


def test_the_program_registers_them_as_the_component_does() -> None:
    assert dict(all_inputs(program())) == dict(all_inputs(plain()))


def all_inputs(made: Deployed) -> list[tuple[str, dict[str, Any]]]:
    return [(name, made.inputs(name)) for name in made.requests]


def test_the_programs_outputs_are_exactly_these() -> None:
    assert program().exports == {
        **{
            f"service/{line.name}": {"address": f"{line.container}:{line.port}", "check": line.target} for line in FORTY
        },
        "agent": "http://127.0.0.1:8501",
        "server": "http://127.0.0.1:8500",
        "ui": "http://127.0.0.1:8500/ui",
    }


def test_the_program_keeps_a_token_secret() -> None:
    made = program({"agentToken": TOKEN}, ("agentToken",))
    assert {name: made.inputs(name)["token"] for name in made.of_type(TYPE)} == {
        f"registration-{line.name}": secret(TOKEN) for line in FORTY
    }


def test_the_programs_outputs_do_not_have_the_token() -> None:
    assert TOKEN not in repr(program({"agentToken": TOKEN}, ("agentToken",)).exports)


def test_the_program_puts_the_stacks_environment_on_every_service() -> None:
    made = program({"environment": "production"})
    assert {made.inputs(name)["meta"]["environment"] for name in made.of_type(TYPE)} == {"production"}


def test_the_program_puts_the_stacks_host_in_every_containers_place() -> None:
    made = program({"serviceHost": "127.0.0.3"})
    assert {made.inputs(name)["address"] for name in made.of_type(TYPE)} == {"127.0.0.3"}


def test_the_program_adopts_where_the_stack_sets_it() -> None:
    made = program({"adopt": "true"})
    assert {made.inputs(name)["adopt"] for name in made.of_type(TYPE)} == {True}


def test_the_program_gives_every_service_the_stacks_authority(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(AUTHORITY)
    made = program({"agentCaFile": str(file)})
    assert {made.inputs(name)["ca"] for name in made.of_type(TYPE)} == {AUTHORITY}


def test_the_program_stops_at_a_wrong_config_before_it_registers_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(AgentRegistration, "__init__", lambda *_: made.append("a component"))
    with pytest.raises(pulumi.RunError, match="environment: 'a b' must be"):
        program({"environment": "a b"})
    assert made == []


def test_one_more_service_is_one_more_registration_and_changes_no_other() -> None:
    before = registered(AgentRegistrationArgs(forty_roster(), Connection(AGENT)))
    longer = Roster(services=(*forty_roster().services, USER.service(Environment("staging"), "search", 8228)))
    after = registered(AgentRegistrationArgs(longer, Connection(AGENT)))
    assert [each for each in all_inputs(after)[1:] if each not in all_inputs(before)] == [
        ("registration-search_service", after.inputs("registration-search_service"))
    ]
    assert len(after.of_type(TYPE)) == 41


# The provider: what is a change

STATE: dict[str, Any] = {
    "agent": AGENT,
    "token": None,
    "removal": None,
    "ca": None,
    "owned": False,
    "adopt": False,
    "mark": "pulumi/consul-staging/test/registration-billing_service",
    "service_id": "billing_service",
    "name": "billing_service",
    "address": "isa-billing",
    "port": 8216,
    "tags": ["v1", "fastapi", "user-microservice", "staging"],
    "meta": {"version": "v1", "managed-by": "pulumi/consul-staging/test/registration-billing_service"},
    "checks": {
        "billing_service-health": {
            "name": "billing_service HTTP",
            "http": "http://isa-billing:8216/health",
            "interval": "10s",
            "timeout": "5s",
            "deregister_critical_service_after": "1m30s",
        }
    },
}

CHECK = STATE["checks"]["billing_service-health"]

in_place = pytest.mark.parametrize(
    "change",
    [
        {"token": TOKEN},
        {"ca": AUTHORITY},
        {"owned": True},
        {"drained_to": "http://127.0.0.1:8500"},
        {"name": "billing"},
        {"address": "127.0.0.3"},
        {"port": 8217},
        {"tags": ["v2"]},
        {"tags": [*reversed(STATE["tags"])]},
        {"meta": {**STATE["meta"], "version": "v2"}},
        {"meta": {}},
        {"checks": {}},
        {"checks": {"renamed": CHECK}},
        *({"checks": {"billing_service-health": {**CHECK, field: "1h"}}} for field in CHECK),
    ],
    ids=str,
)


Verdict = tuple[bool | None, list[str] | None, bool | None]


def diff(news: dict[str, Any], olds: dict[str, Any] | None = None) -> Verdict:
    """What the engine gets: whether anything changed, what asks for a replacement, whether to delete first."""
    found = AgentServiceProvider().diff("billing_service", olds or STATE, news)
    return found.changes, found.replaces, found.delete_before_replace


UNCHANGED: Verdict = (False, [], False)
UPDATE: Verdict = (True, [], False)


def test_what_is_the_same_is_no_change() -> None:
    assert diff(dict(STATE)) == UNCHANGED


def test_whole_numbers_that_come_as_floats_are_no_change() -> None:
    # The engine knows no whole numbers.
    assert diff({**STATE, "port": 8216.0}) == UNCHANGED


def test_an_input_that_is_left_out_is_the_same_as_none() -> None:
    assert diff({key: value for key, value in STATE.items() if value is not None}) == UNCHANGED


def test_another_order_of_meta_or_of_a_checks_fields_is_no_change() -> None:
    check = dict(reversed(CHECK.items()))
    meta = dict(reversed(STATE["meta"].items()))
    assert diff({**STATE, "meta": meta, "checks": {"billing_service-health": check}}) == UNCHANGED


def test_another_serialization_of_the_provider_is_no_change() -> None:
    assert diff({**STATE, "__provider": "gASV"}, {**STATE, "__provider": "gASW"}) == UNCHANGED


def test_adopting_from_now_on_is_no_change_of_a_service_that_is_ours() -> None:
    assert diff({**STATE, "adopt": True}) == UNCHANGED


@in_place
def test_another_value_is_an_update(change: dict[str, Any]) -> None:
    assert diff({**STATE, **change}) == UPDATE


@in_place
def test_a_value_that_drifted_is_an_update(change: dict[str, Any]) -> None:
    # After a refresh the old side is what the agent holds.
    assert diff(dict(STATE), {**STATE, **change}) == UPDATE


def test_a_token_that_is_given_up_is_an_update() -> None:
    assert diff(dict(STATE), {**STATE, "token": TOKEN}) == UPDATE


def test_another_id_is_a_replacement() -> None:
    assert diff({**STATE, "service_id": "billing"}) == (True, ["service_id"], False)


def test_another_agent_is_a_replacement_that_deletes_first() -> None:
    # Two addresses may be one agent: deleting last would delete what was just created.
    assert diff({**STATE, "agent": "http://127.0.0.2:8501"}) == (True, ["agent"], True)


def test_another_agent_and_id_are_one_replacement() -> None:
    changed = {**STATE, "agent": "http://127.0.0.2:8501", "service_id": "billing"}
    assert diff(changed) == (True, ["agent", "service_id"], True)


def test_another_value_beside_another_agent_is_a_replacement_for_the_agents_sake() -> None:
    assert diff({**STATE, "agent": "http://127.0.0.2:8501", "port": 8217}) == (True, ["agent"], True)


OWNED = {**STATE, "owned": True}


def test_another_address_of_the_stacks_own_agent_is_an_update() -> None:
    # The stack deploys only one: it is the same agent.
    changes, replaces, _ = diff({**OWNED, "agent": "https://127.0.0.1:8501"}, OWNED)
    assert (changes, replaces) == (True, [])


@pytest.mark.parametrize(("before", "now"), [(False, True), (True, False), (None, True), (True, None)])
def test_another_address_is_a_replacement_unless_the_stack_deployed_the_agent_before_and_now(
    before: bool | None, now: bool | None
) -> None:
    olds, news = {**STATE, "owned": before}, {**STATE, "owned": now, "agent": "http://127.0.0.2:8501"}
    assert diff(news, olds) == (True, ["agent"], True)


def test_another_id_with_the_stacks_own_agent_is_a_replacement() -> None:
    assert diff({**OWNED, "service_id": "billing"}, OWNED) == (True, ["service_id"], False)


# The provider: whose registration it takes for its own


def held(mark: str | None, **differing: object) -> FakeConsul:
    """An agent that holds the service as it is stated, but for its mark and what differs."""
    consul = FakeConsul()
    meta = {"version": "v1", **({"managed-by": mark} if mark else {})}
    consul.services["billing_service"] = {
        "Service": "billing_service",
        "Address": "isa-billing",
        "Port": 8216,
        "Tags": STATE["tags"],
        "Meta": meta,
        **differing,
    }
    consul.checks["billing_service-health"] = {
        "CheckID": "billing_service-health",
        "ServiceID": "billing_service",
        "Name": CHECK["name"],
        "Type": "http",
        "Notes": "GET http://isa-billing:8216/health; deregistered after 1m30s critical",
        "Output": "",
        "Interval": "10s",
        "Timeout": "5s",
    }
    return consul


def created(consul: FakeConsul, adopt: bool = False, token: str | None = None) -> list[str]:
    """The paths to which the provider writes when it creates the service."""
    with running(consul):
        AgentServiceProvider().create({**STATE, "agent": consul.address, "adopt": adopt, "token": token})
    return [path for _, path, _ in consul.wrote]


def refreshed(state: dict[str, Any]) -> dict[str, Any]:
    """What a refresh writes to the state of the service, which it has found."""
    found = AgentServiceProvider().read("billing_service", state)
    assert found.id == "billing_service"
    return found.outs or {}


REGISTER = ["/v1/agent/service/register"]


def test_what_this_very_resource_registered_is_taken_up_and_nothing_sent() -> None:
    # That would restart its check.
    assert created(held("pulumi/consul-staging/test/registration-billing_service")) == []


def test_a_service_without_a_port_is_registered_and_then_as_stated() -> None:
    consul, portless = FakeConsul(), {**STATE, "port": 0}
    with running(consul):
        made = AgentServiceProvider().create({**portless, "agent": consul.address})
        assert refreshed(made.outs or {})["port"] == 0
        AgentServiceProvider().create({**portless, "agent": consul.address})
    assert consul.written == REGISTER


def test_what_drifted_is_what_the_stated_fields_are_compared_with_and_nothing_else_is() -> None:
    with running(held(OURS, Port=9999)) as drifted, running(held(OURS)) as stated:
        seen, same = (
            AgentServiceProvider().read("billing_service", {**STATE, "agent": consul.address})
            for consul in (drifted, stated)
        )
    assert (same.inputs, (seen.inputs or {})["port"], seen.inputs) == (None, 9999, seen.outs)


def test_a_conflict_over_a_service_without_a_port_names_its_host_alone() -> None:
    with pytest.raises(ConsulError, match=r"by another party, not by Pulumi, at isa-billing\. "):
        created(held(None, Port=0))


def test_what_it_registered_with_a_token_that_no_state_knows_any_more_gets_the_token_of_now() -> None:
    # The agent does not show it, and synchronizes the service with it. It keeps the status of a check that is the same.
    assert created(held("pulumi/consul-staging/test/registration-billing_service"), token=TOKEN) == REGISTER


@pytest.mark.usefixtures("_no_pauses")
def test_what_the_servers_refused_is_changed_once_so_that_the_agent_tells_them_again() -> None:
    consul = held("pulumi/consul-staging/test/registration-billing_service")
    consul.in_sync = False
    with running(consul), suppress(ConsulError):
        AgentServiceProvider().create({**STATE, "agent": consul.address, "token": TOKEN})
    assert [body["Tags"] for _, _, body in consul.wrote] == [[*STATE["tags"], "tried-again"], STATE["tags"]]


def test_what_this_very_resource_registered_otherwise_is_registered_as_it_is_stated() -> None:
    assert created(held("pulumi/consul-staging/test/registration-billing_service", Port=8217)) == REGISTER


def test_what_the_agent_read_from_the_stacks_own_files_is_taken_over() -> None:
    # So a stack comes from registration files.
    consul = held("pulumi/consul-staging/test/definition-files")
    assert created(consul) == REGISTER
    assert consul.services["billing_service"]["Meta"] == STATE["meta"]


@pytest.mark.parametrize(
    "set_by_others",
    [
        {"EnableTagOverride": True},
        {"Weights": {"Passing": 10, "Warning": 1}},
        {"TaggedAddresses": {"wan": {"Address": "198.51.100.1", "Port": 80}}},
    ],
    ids=str,
)
def test_what_others_set_beside_the_stated_fields_is_drift_and_is_mended(set_by_others: dict[str, object]) -> None:
    consul = held(OURS, **set_by_others)
    with running(consul):
        seen = AgentServiceProvider().read("billing_service", {**STATE, "agent": consul.address}).outs
    assert diff(dict(STATE), dict(seen or {}))[0]
    assert created(consul) == REGISTER


def test_what_consul_sets_by_default_is_no_drift() -> None:
    own = {"Address": "isa-billing", "Port": 8216}
    default = {"Weights": {"Passing": 1, "Warning": 1}, "TaggedAddresses": {"lan_ipv4": own, "wan_ipv4": own}}
    assert created(held(OURS, EnableTagOverride=False, **default)) == []


def test_a_service_in_maintenance_is_no_drift_and_stays_so_where_another_field_is_mended() -> None:
    off = "_service_maintenance:billing_service"
    for port, writes in ((8216, []), (8217, REGISTER)):
        consul = held(OURS, Port=port)
        consul.checks[off] = {"CheckID": off, "ServiceID": "billing_service", "Name": "off", "Type": "maintenance"}
        assert created(consul) == writes
        assert off in consul.checks


@pytest.mark.parametrize(
    ("mark", "owner"),
    [
        ("pulumi/consul-staging/staging/definition-files", "pulumi/consul-staging/staging/definition-files"),
        ("pulumi/other/test/definition-files", "pulumi/other/test/definition-files"),
        ("pulumi/consul-staging/test/other-billing_service", "pulumi/consul-staging/test/other-billing_service"),
        ("definition-files", "definition-files"),
        ("terraform", "terraform"),
        (None, "another party, not by Pulumi"),
    ],
)
def test_what_another_registered_is_refused_with_its_name_and_what_would_help(mark: str | None, owner: str) -> None:
    consul = held(mark)
    with pytest.raises(ConsulError) as caught:
        created(consul)
    assert str(caught.value) == (
        f"service id 'billing_service' is already registered with the agent {consul.address} by {owner}, "
        "at isa-billing:8216. Deregister it there, or let this stack take it over: "
        "consul-staging:adopt: true in Pulumi.test.yaml"
    )
    assert consul.wrote == []


@pytest.mark.parametrize("mark", ["pulumi/consul-staging/staging/definition-files", None])
def test_what_another_registered_is_taken_over_where_the_stack_adopts(mark: str | None) -> None:
    assert created(held(mark), adopt=True) == REGISTER


# The provider: how it changes what it registered


OURS = "pulumi/consul-staging/test/registration-billing_service"


def updated(consul: FakeConsul, olds: Mapping[str, object], news: Mapping[str, object]) -> list[str]:
    """The paths to which the provider writes when it updates the service."""
    with running(consul):
        agent = {"agent": consul.address}
        AgentServiceProvider().update("billing_service", {**STATE, **agent, **olds}, {**STATE, **agent, **news})
    return [path for _, path, _ in consul.wrote]


def test_what_was_registered_before_its_stack_was_renamed_is_its_own() -> None:
    old = "pulumi/consul-staging/before/registration-billing_service"
    consul = held(old)
    assert updated(consul, {"mark": old}, {}) == REGISTER
    assert consul.services["billing_service"]["Meta"]["managed-by"] == OURS


def test_an_update_to_what_the_agent_has_already_sends_nothing() -> None:
    # That would restart its check.
    assert updated(held(OURS), {"port": 8217}, {}) == []


@pytest.mark.parametrize(
    ("before", "now"), [(None, TOKEN), (TOKEN, "another-token"), (TOKEN, None)], ids=["new", "another", "none"]
)
def test_another_token_registers_anew_what_the_agent_has_already(before: str | None, now: str | None) -> None:
    # The agent keeps the token that registered a service, and hands its checks' results over with that.
    consul = held(OURS)
    assert updated(consul, {"token": before}, {"token": now}) == REGISTER
    assert consul.tokens == {now}


def test_the_same_token_registers_nothing_anew() -> None:
    assert updated(held(OURS), {"token": TOKEN}, {"token": TOKEN}) == []


def test_another_address_of_the_agent_registers_nothing_anew() -> None:
    assert updated(held(OURS), {"agent": "http://127.0.0.1:9", "owned": True}, {"owned": True}) == []


# The provider: a service that the policy behind its token names no more


@pytest.mark.parametrize(("removal", "used"), [("removal-token", "removal-token"), (None, TOKEN)])
def test_a_service_is_read_and_removed_with_the_token_for_that_where_there_is_one(
    removal: str | None, used: str
) -> None:
    # The stack's own policy has lost the name by the time that its service is removed.
    consul = held(OURS)
    with running(consul):
        state = {**STATE, "agent": consul.address, "token": TOKEN, "removal": removal}
        AgentServiceProvider().read("billing_service", state)
        AgentServiceProvider().delete("billing_service", state)
    assert consul.tokens == {used}
    assert consul.services == {}


def test_a_service_that_the_stack_moved_to_its_external_node_is_not_removed_there() -> None:
    # Pulumi deletes the old resource after it has created the one on the external node. The owner is the same.
    consul = FakeConsul()
    node = {"Node": "staging-external", "Meta": {"managed-by": "pulumi/consul-staging/test/registration-node"}}
    moved = {"Service": "billing_service", "Meta": {"managed-by": OURS}}
    consul.nodes["staging-external"] = {"Node": node, "Services": {"billing_service": moved}}
    with running(consul):
        AgentServiceProvider().delete("billing_service", {**STATE, "agent": consul.address})
    assert consul.wrote == []


def test_what_this_run_has_registered_is_not_removed_with_what_a_failed_run_left_to_delete() -> None:
    # After a failed change of the agent's address, which is taken back, Pulumi creates, and then deletes the original.
    consul = FakeConsul()
    with running(consul):
        state = {**STATE, "agent": consul.address}
        AgentServiceProvider().create(state)
        AgentServiceProvider().delete("billing_service", state)
    assert list(consul.services) == ["billing_service"]


def test_a_service_is_registered_with_its_own_token_and_no_other() -> None:
    consul = FakeConsul()
    with running(consul):
        state = {**STATE, "agent": consul.address, "token": TOKEN, "removal": "removal-token"}
        AgentServiceProvider().create(state)
    assert consul.tokens == {TOKEN}


# The provider: what the servers do not show


def test_services_that_the_servers_do_not_show_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr(agent, "time", clock)
    consul, waited = FakeConsul(in_sync=False), []
    with running(consul):
        for in_sync in (False, False, True, False):
            consul.in_sync, before = in_sync, now[0]
            with suppress(ConsulError):
                AgentServiceProvider().create({**STATE, "agent": consul.address})
            waited.append(round(now[0] - before))
    assert waited == [31, 0, 0, 31]


# The provider: a service that an interrupted run has drained to a server that outlives the stack


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("away", [False, True], ids=["the agent runs", "the agent is removed already"])
def test_a_drained_service_is_seen_and_removed_where_it_is(away: bool) -> None:
    agent, server = FakeConsul(), held(OURS)
    with running(agent), running(server):
        state = {
            **STATE,
            "agent": AWAY["agent"] if away else agent.address,
            "owned": True,
            "drained_to": server.address,
        }
        assert AgentServiceProvider().read("billing_service", state).id == "billing_service"
        AgentServiceProvider().delete("billing_service", state)
    assert server.services == {}


@pytest.mark.parametrize("agent", [FakeConsul(), held(OURS)], ids=["on the server alone", "on both"])
def test_a_service_that_is_still_on_the_server_is_to_be_moved_by_the_next_run(agent: FakeConsul) -> None:
    # Also where its check has the same fields there, and where nothing of the agent's container changed.
    server = held(OURS)
    with running(agent), running(server):
        state = {**STATE, "agent": agent.address, "owned": True, "drained_to": server.address}
        found = refreshed(state)
        diff = AgentServiceProvider().diff("billing_service", {**state, "unsettled": True}, state)
    assert found["unsettled"] is True
    assert (diff.changes, diff.replaces) == (True, [])


@pytest.mark.usefixtures("_no_pauses")
def test_a_service_that_is_on_its_agent_is_found_there_while_the_server_does_not_answer_at_the_old_address() -> None:
    # Otherwise no run could ever write another serverAddress to the state.
    with running(held(OURS)) as agent:
        state = {**STATE, "agent": agent.address, "drained_to": "http://127.0.0.1:9"}
        assert "unsettled" not in refreshed(state)


def test_a_service_that_is_on_its_agent_alone_is_settled_again() -> None:
    agent, server = held(OURS), FakeConsul()
    with running(agent), running(server):
        state = {**STATE, "agent": agent.address, "drained_to": server.address, "unsettled": True}
        assert "unsettled" not in refreshed(state)


def test_a_service_whose_agent_has_lost_the_servers_is_to_be_looked_after_by_this_run() -> None:
    # The agent has it, so a refresh would call it unchanged, and no client finds it.
    consul = held(OURS)
    consul.leader = ""
    with running(consul):
        assert refreshed({**STATE, "agent": consul.address})["unsettled"] is True


@pytest.mark.usefixtures("_no_pauses")
def test_an_agent_that_stays_without_servers_fails_the_run_which_says_what_to_do() -> None:
    consul = held(OURS)

    def answer(asked: Request) -> Answer:
        return (500, b"No known Consul servers", {}) if "/health/" in asked.path else consul.answer(asked)

    with serve(answer) as address, pytest.raises(ConsulError, match=r"No known Consul servers.*restart the agent"):
        AgentServiceProvider().create({**STATE, "agent": address})


@pytest.mark.parametrize("mark", [None, "pulumi/consul-staging/another/registration-billing_service"])
def test_what_another_party_has_on_the_server_is_not_taken_for_drained(mark: str | None) -> None:
    agent, server = FakeConsul(), held(mark)
    with running(agent), running(server):
        state = {**STATE, "agent": agent.address, "drained_to": server.address}
        assert AgentServiceProvider().read("billing_service", state).id == ""
        AgentServiceProvider().delete("billing_service", state)
    assert (list(server.services), server.wrote) == (["billing_service"], [])


@pytest.mark.usefixtures("_no_pauses")
def test_nothing_is_called_removed_while_the_server_does_not_answer() -> None:
    # The service may be there, and would be found again.
    agent = FakeConsul()
    with running(agent), pytest.raises(NoAnswerError):
        AgentServiceProvider().delete(
            "billing_service", {**STATE, "agent": agent.address, "drained_to": "http://127.0.0.1:9"}
        )


# The provider: a token whose policy the agent does not know yet


DENIED = (
    403,
    "Permission denied: token with AccessorID '5c1b' lacks permission 'service:write' on \"billing_service\"",
)


@pytest.fixture(name="pauses")
def _pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_registration_that_is_forbidden_is_tried_again_for_2_seconds(pauses: list[float], times: int) -> None:
    consul = FakeConsul(refuses_next=[DENIED] * times)
    assert created(consul) == REGISTER
    assert pauses == [*(0.5, 0.5, 1)[:times], 0]  # and then the catalog is looked at, at once


def test_a_registration_that_stays_forbidden_is_an_error_in_consuls_words(pauses: list[float]) -> None:
    consul = FakeConsul(refuses_writes=DENIED)
    with pytest.raises(ForbiddenError) as caught:
        created(consul)
    assert str(caught.value) == (
        f"PUT {consul.address}/v1/agent/service/register: Consul answers 403: "
        "Permission denied: token with AccessorID '5c1b' lacks permission 'service:write' on \"billing_service\""
    )
    assert pauses == [0.5, 0.5, 1]


def test_a_registration_that_is_refused_otherwise_is_not_tried_again(pauses: list[float]) -> None:
    consul = FakeConsul(refuses_writes=(400, "Invalid check"))
    with pytest.raises(ConsulError, match="Consul answers 400: Invalid check"):
        created(consul)
    assert pauses == []


# An agent that is away


AWAY = {"agent": "http://127.0.0.1:9", "token": None, "ca": None, "mark": "pulumi/p/s/n", "name": "n"}


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("owned", [{}, {"owned": False}])
def test_the_services_of_an_agent_are_not_guessed_while_it_is_away(owned: dict[str, bool]) -> None:
    with pytest.raises(NoAnswerError):
        AgentServiceProvider().read("billing_service", AWAY | owned)
    with pytest.raises(NoAnswerError):
        AgentServiceProvider().delete("billing_service", AWAY | owned)


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("answers", [True, False])
def test_of_several_hosts_one_that_is_away_with_its_docker_engine_keeps_its_services(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    agent._engine_answers.cache_clear()
    asked: list[DockerEngine] = []

    def answer(engine: DockerEngine) -> bool:
        asked.append(engine)
        return answers

    monkeypatch.setattr(agent, "engine_answers", answer)
    away = AWAY | {"owned": True, "engine": {"host": "ssh://h3"}}
    if answers:
        assert refreshed(away)["unsettled"] is True
        AgentServiceProvider().delete("billing_service", away)
    else:
        with pytest.raises(NoAnswerError):
            AgentServiceProvider().read("billing_service", away)
        with pytest.raises(NoAnswerError):
            AgentServiceProvider().delete("billing_service", away)
    assert asked == [DockerEngine("ssh://h3")]  # once a run


@pytest.mark.usefixtures("_no_pauses")
def test_an_engine_over_tcp_is_asked_with_its_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    agent._engine_answers.cache_clear()
    asked: list[DockerEngine] = []
    monkeypatch.setattr(agent, "engine_answers", asked.append)
    engine = {"host": "tcp://h3:2376", "certificates": "/certs/h3"}
    with pytest.raises(NoAnswerError):
        AgentServiceProvider().delete("billing_service", AWAY | {"owned": True, "engine": engine})
    assert asked == [DockerEngine("tcp://h3:2376", "/certs/h3")]


def test_another_engine_of_the_same_agent_replaces_no_service() -> None:
    before = {**STATE, "owned": True, "engine": {"host": "ssh://h3"}}
    found = AgentServiceProvider().diff("billing_service", before, {**before, "engine": {"host": "ssh://deploy@h3"}})
    assert (found.changes, found.replaces, found.delete_before_replace) == (True, [], False)


@pytest.mark.parametrize("owned", [True, False])
def test_where_the_token_was_deleted_the_stacks_own_services_are_registered_again_with_another(owned: bool) -> None:
    with serve(lambda _: (403, b"ACL not found", {})) as address:
        state = {**STATE, "agent": address, "owned": owned, "drained_to": address}
        if owned:
            assert AgentServiceProvider().read("billing_service", state).id == ""
        else:
            with pytest.raises(UnknownTokenError):
                AgentServiceProvider().read("billing_service", state)


def test_where_the_agent_has_another_authority_by_now_its_services_are_adopted_by_that() -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with serve(lambda _: (200, b"{}", {}), tls=tls) as address:
        state = {**STATE, "agent": address, "owned": True, "ca": AUTHORITY}
        assert AgentServiceProvider().read("billing_service", state).id == ""
        with pytest.raises(UntrustedError):
            AgentServiceProvider().read("billing_service", {**state, "owned": False})


@pytest.mark.parametrize("fault", ["the servers still show it", "no server answers"])
def test_a_service_that_the_agent_has_removed_is_not_gone_before_the_servers_say_so(fault: str) -> None:
    # A server had died when the service was removed. The next run removes what was dropped, or registers it again.
    agent = FakeConsul()
    if fault == "no server answers":
        agent.refuses_paths = {"/v1/health/service/billing_service"}
    else:
        agent.add_node("consul-agent-shared")["billing_service"] = held(OURS).services["billing_service"]
    with running(agent):
        state = {**STATE, "agent": agent.address}
        assert refreshed(state) == {**state, "unsettled": True}


@pytest.mark.usefixtures("_no_pauses")
def test_the_stacks_own_agent_may_have_its_registrations_when_it_answers_again() -> None:
    # It may only be stopped. A service that the roster has dropped is then still to be removed.
    found = refreshed(AWAY | {"owned": True})
    assert found == AWAY | {"owned": True, "unsettled": True}
    assert AgentServiceProvider().diff("billing_service", found, AWAY | {"owned": True}).changes is True


@pytest.mark.usefixtures("_no_pauses")
def test_the_stacks_own_agent_takes_its_registrations_along_when_it_goes() -> None:
    AgentServiceProvider().delete("billing_service", AWAY | {"owned": True})


def test_a_service_whose_agent_hangs_is_not_taken_for_removed_with_it(silent_api: str) -> None:
    said = r"^billing_service stays registered: .*timed out.*Run it again when it answers$"
    with pytest.raises(ConsulError, match=said):
        AgentServiceProvider().delete("billing_service", AWAY | {"owned": True, "agent": silent_api})


@pytest.mark.usefixtures("_no_pauses")
def test_a_service_whose_agent_starts_again_is_not_taken_for_removed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    published = {(OWN_ENGINE, AWAY["agent"]), (DockerEngine("ssh://h3"), AWAY["agent"])}
    monkeypatch.setattr(unanswered_requests, "_is_published", lambda *asked: asked in published)
    monkeypatch.setattr(agent, "_engine_answers", lambda *_: True)
    for engine in ({}, {"engine": {"host": "ssh://h3"}}):
        with pytest.raises(ConsulError, match=r"^billing_service stays registered: .* no answer: .* Run it again when"):
            AgentServiceProvider().delete("billing_service", AWAY | {"owned": True, **engine})


@pytest.mark.usefixtures("_no_pauses")
def test_whether_an_agent_starts_again_its_engine_is_asked_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(unanswered_requests, "publishes", lambda *question: asked.append(question))
    away = AWAY | {"owned": True, "agent": "http://127.0.0.1:7"}
    for service_id in ("billing_service", "order_service"):
        AgentServiceProvider().delete(service_id, away)
    assert asked == [(OWN_ENGINE, away["agent"])]
