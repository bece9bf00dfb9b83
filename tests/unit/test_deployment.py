import base64
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pulumi
import pytest

from components import consul_container, preflight
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.fingerprint import fingerprint
from consul_cluster.joining import node_rights, registration_rights
from consul_cluster.security_stages import Stage, stage_config
from tests.deployed_states import plain
from tests.fake_consul import FakeConsul, Wrote, running
from tests.forty_services import FORTY, forty_roster
from tests.unit import authorities
from tests.unit.pulumi_mocks import (
    SECURED,
    Deployed,
    deploy,
    made_password,
    on_docker,
    program,
    program_with,
    run_main,
    secret,
    stack_config,
)

TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one

OVER_THE_AGENT = {
    "consul-staging:registration:AgentRegistration": 1,
    "pulumi-python:dynamic/consul:AgentService": 40,
}
IN_THE_CATALOG = {
    "consul-staging:docker:ConsulEsm": 1,
    "consul-staging:registration:CatalogRegistration": 1,
    "pulumi:providers:consul": 1,
    "consul:index/node:Node": 1,
    "consul:index/service:Service": 40,
}
FROM_FILES: dict[str, int] = {}
ALL_OF_STAGING = {
    "consul-staging:docker:Network": 1,
    "consul-staging:docker:ConsulServer": 1,
    "consul-staging:docker:ConsulAgent": 1,
    "consul-staging:docker:StandIns": 1,
    "consul-staging:registration:FilesRegistration": 1,
    "docker:index/network:Network": 1,
    "docker:index/remoteImage:RemoteImage": 2,
    "docker:index/image:Image": 1,
    "docker:index/volume:Volume": 5,
    "docker:index/container:Container": 45,
    "pulumi:index:Stash": 1,
}
WHERE_A_PLATFORM_IS = {
    "consul-staging:docker:Network": 1,
    "consul-staging:docker:ConsulAgent": 1,
    "consul-staging:registration:FilesRegistration": 1,
    "docker:index/remoteImage:RemoteImage": 1,
    "docker:index/volume:Volume": 3,
    "docker:index/container:Container": 3,
}
PARKING = {"pulumi:index:Stash": 2}
SECURITY = {
    "consul-staging:security:Keys": 1,
    "random:index/randomPassword:RandomPassword": 2,
    "tls:index/privateKey:PrivateKey": 3,
    "tls:index/selfSignedCert:SelfSignedCert": 1,
    "tls:index/certRequest:CertRequest": 2,
    "tls:index/locallySignedCert:LocallySignedCert": 2,
    "consul-staging:security:Acl": 1,
    "pulumi:providers:consul": 1,
    "pulumi:index:Stash": 4,
    "consul:index/aclPolicy:AclPolicy": 5 + 3,
    "consul:index/aclToken:AclToken": 5 + 3,
    "pulumi-python:dynamic/consul:AclTokenSecret": 5 + 3,
}
ESMS_TOKEN = {
    "consul:index/aclPolicy:AclPolicy": 1,
    "consul:index/aclToken:AclToken": 1,
    "pulumi-python:dynamic/consul:AclTokenSecret": 1,
}
WITH_ESM = {"docker:index/remoteImage:RemoteImage": 1, "docker:index/container:Container": 1}
DECLARED = {
    ("local", "agent"): [OVER_THE_AGENT],
    ("docker-local", "agent"): [ALL_OF_STAGING, OVER_THE_AGENT, PARKING],
    ("docker-local", "catalog"): [ALL_OF_STAGING, IN_THE_CATALOG, WITH_ESM],
    ("docker-local", "files"): [ALL_OF_STAGING, FROM_FILES],
    ("staging", "agent"): [WHERE_A_PLATFORM_IS, OVER_THE_AGENT, PARKING],
    ("staging", "catalog"): [WHERE_A_PLATFORM_IS, IN_THE_CATALOG, WITH_ESM],
    ("staging", "files"): [WHERE_A_PLATFORM_IS, FROM_FILES],
    (SECURED, "agent"): [ALL_OF_STAGING, OVER_THE_AGENT, PARKING, SECURITY],
    (SECURED, "catalog"): [ALL_OF_STAGING, IN_THE_CATALOG, WITH_ESM, SECURITY, ESMS_TOKEN],
    (SECURED, "files"): [ALL_OF_STAGING, FROM_FILES, SECURITY],
}

every_registration = pytest.mark.parametrize("registration", ["agent", "catalog", "files"])
every_docker_stack = pytest.mark.parametrize("stack", ["docker-local", "staging"])
SERVICES = [f"registration-{line.name}" for line in FORTY]


def made(stack: str, registration: str = "agent") -> Deployed:
    return program(stack, registration)[0]


def with_two(config: Mapping[str, str], secrets: Iterable[str] = ()) -> Deployed:
    """Return the program with any config and two services, where what it makes of each is proved elsewhere."""
    return program_with(config, secrets, ("billing_service", "minio_grpc_service"))[0]


def named(stack: str, type_: str) -> list[str]:
    return sorted(made(stack).of_type(type_))


def file(stack: str, registration: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """What the agent is to find in one of its files."""
    uploads = made(stack, registration).inputs("files-reload")["uploads"]
    [content] = [each["content"] for each in uploads if each["file"] == f"/consul/config/services/{name}"]
    return json.loads(content)


# What each stack declares


@pytest.mark.parametrize(("stack", "registration"), DECLARED)
def test_a_stack_declares_exactly_these_resources(stack: str, registration: str) -> None:
    expected = sum((Counter(part) for part in DECLARED[stack, registration]), Counter())
    assert Counter(request.type for request in made(stack, registration).requests.values()) == expected


@pytest.mark.parametrize(("stack", "registration"), DECLARED)
def test_docker_is_asked_nothing_while_the_resources_of_a_stack_are_declared(stack: str, registration: str) -> None:
    assert program(stack, registration)[1].asked == []


def test_docker_local_creates_the_network() -> None:
    network = made("docker-local").inputs("network-network")
    assert network == {"name": "staging_staging-network", "driver": "bridge"}


@pytest.mark.parametrize("component", ["Network", "ConsulServer", "ConsulAgent", "StandIns"])
def test_docker_local_names_each_component_once(component: str) -> None:
    names = {"Network": "network", "ConsulServer": "server", "ConsulAgent": "agent", "StandIns": "standins"}
    assert named("docker-local", f"consul-staging:docker:{component}") == [names[component]]


@every_registration
def test_staging_expects_the_network_the_server_and_the_40_services(registration: str) -> None:
    [expected] = program("staging", registration)[1].expected
    assert expected.server
    assert (expected.network, expected.server.container) == ("staging_staging-network", "staging-consul")
    assert list(expected.services) == [line.container for line in FORTY]


@every_registration
def test_docker_local_expects_nothing_since_it_creates_it_all(registration: str) -> None:
    [expected] = program("docker-local", registration)[1].expected
    assert (expected.network, expected.server, list(expected.services)) == (None, None, [])


def test_local_expects_nothing_on_docker() -> None:
    assert program("local")[1].expected == []


def test_without_docker_the_agent_has_to_give_the_token_the_rights_of_the_registrations() -> None:
    [asked] = program("local")[1].rights
    assert (asked.key, asked.given, asked.consul.address) == ("agentToken", False, "http://127.0.0.2:8500")
    assert set(asked.rights) == set(registration_rights("agent", forty_roster(), STAGING_NAMES, "staging-external"))


@every_registration
def test_the_existing_server_has_to_give_both_tokens_their_rights(registration: str) -> None:
    [expected] = program("staging", registration)[1].expected
    assert expected.server
    node, services = expected.server.rights
    assert (node.key, node.rights) == ("nodeToken", node_rights(STAGING_NAMES))
    rights = registration_rights(registration, forty_roster(), STAGING_NAMES, "staging-external")
    assert (services.key, services.rights) == ("agentToken", rights)
    assert {each.consul.address for each in expected.server.rights} == {"http://127.0.0.1:8500"}


def test_an_agent_that_joins_what_others_secured_has_their_keys_and_tells_its_own_token_to_read_files() -> None:
    keys = {
        "nodeToken": "of-the-node",
        "agentToken": TOKEN,
        "gossipKey": "b25lLWdvc3NpcC1rZXktb2YtMzItYnl0ZXMtaW4tYWw=",
    }
    config = {**stack_config("staging"), **keys, "clusterCaFile": str(authorities.AUTHORITY_FILE)}
    found = with_two(config, keys)
    carried = {each["file"]: each["content"] for each in found.inputs("agent-carry")["uploads"]["value"]}
    assert json.loads(carried["/consul/config/secrets.json"]) == {
        "encrypt": keys["gossipKey"],
        "acl": {"tokens": {"agent": "of-the-node", "config_file_service_registration": TOKEN}},
    }
    assert carried["/consul/config/tls/ca.pem"] == authorities.AUTHORITY
    assert json.loads(carried["/consul/config/agent-config.json"])["auto_encrypt"] == {"tls": True}
    reload = found.inputs("files-reload")
    assert reload["command"] == ["reload", "-http-addr=http://consul-agent-shared:8500", "-token-file=/reload/token"]
    assert {"file": "/reload/token", "content": "of-the-node"} in reload["uploads"]["value"]


def test_stagings_agent_joins_the_network_that_exists() -> None:
    assert made("staging").inputs("agent-container")["networksAdvanced"] == [{"name": "staging_staging-network"}]


@pytest.mark.parametrize(
    ("stack", "node", "port"),
    [("docker-local", "agent", 8501), ("docker-local", "server", 8500), ("staging", "agent", 8501)],
)
def test_a_node_is_published_at_the_port_of_its_address_on_loopback(stack: str, node: str, port: int) -> None:
    ports = made(stack).inputs(f"{node}-container")["ports"]
    assert ports == [{"internal": 8500, "external": port, "ip": "127.0.0.1"}]


@pytest.mark.parametrize("image", ["agent-image", "server-image"])
def test_docker_local_runs_consul_1_17_2(image: str) -> None:
    assert made("docker-local").inputs(image)["name"] == "hashicorp/consul:1.17.2"


@pytest.mark.parametrize(
    ("stack", "agent"),
    [
        ("local", "http://127.0.0.2:8500"),
        ("docker-local", "http://127.0.0.1:8501"),
        ("staging", "http://127.0.0.1:8501"),
    ],
)
def test_a_stacks_outputs_are_the_addresses_of_its_agent_and_server(stack: str, agent: str) -> None:
    outputs = {key: value for key, value in made(stack).exports.items() if "/" not in key}
    assert outputs == {"agent": agent, "server": "http://127.0.0.1:8500", "ui": "http://127.0.0.1:8500/ui"}


def test_each_service_is_an_output_of_its_own_so_that_a_preview_shows_no_other() -> None:
    exports = made("docker-local").exports
    assert exports["service/billing_service"] == {
        "address": "isa-billing:8216",
        "check": "http://isa-billing:8216/health",
    }
    assert [key for key in exports if "/" in key] == [f"service/{line.name}" for line in FORTY]


@every_docker_stack
def test_on_docker_a_service_is_registered_at_its_containers_name(stack: str) -> None:
    inputs = [made(stack).inputs(name) for name in SERVICES]
    assert [(each["agent"], each["address"], each["port"]) for each in inputs] == [
        ("http://127.0.0.1:8501", line.container, line.port) for line in FORTY
    ]


def test_a_stand_in_answers_where_docker_local_registers_its_service() -> None:
    registered = [made("docker-local").inputs(name) for name in SERVICES]
    stand_ins = [made("docker-local").inputs(f"standins-{line.container}") for line in FORTY]
    assert [(each["name"], each["command"][3]) for each in stand_ins] == [
        (each["address"], str(int(each["port"]))) for each in registered
    ]


def test_all_of_staging_registers_what_staging_itself_does() -> None:
    def registrations(stack: str) -> dict[str, object]:
        names = named(stack, "pulumi-python:dynamic/consul:AgentService")
        inputs = {name: made(stack).inputs(name) for name in names}
        return {
            name: {key: value for key, value in each.items() if key != "drained_to"} for name, each in inputs.items()
        }

    assert registrations("docker-local") == registrations("staging")


@pytest.mark.parametrize(("stack", "owned"), [("local", False), ("docker-local", True), ("staging", True)])
def test_an_input_of_a_service_is_whether_its_stack_deploys_the_agent(stack: str, owned: bool) -> None:
    services = named(stack, "pulumi-python:dynamic/consul:AgentService")
    assert {made(stack).inputs(name)["owned"] for name in services} == {owned}


# What each way to register makes of a stack


def test_in_the_catalog_a_service_is_one_consul_service_on_the_external_node() -> None:
    whole = made("docker-local", "catalog")
    assert sorted(whole.of_type("consul:index/service:Service")) == sorted(SERVICES)
    assert {whole.inputs(name)["node"] for name in SERVICES} == {"staging-external"}


def test_in_the_catalog_the_services_are_with_the_servers_api() -> None:
    assert made("docker-local", "catalog").inputs("registration-consul") == {
        "address": "127.0.0.1:8500",
        "scheme": "http",
        "datacenter": "dc1",
    }


def test_in_the_catalog_the_external_node_is_reached_where_consul_esm_is() -> None:
    whole = made("docker-local", "catalog")
    address = whole.inputs("registration-node")["address"]
    assert (address, whole.inputs("esm-container")["hostname"]) == ("consul-esm", "consul-esm")


@pytest.mark.parametrize(("kind", "count"), [("user", 28), ("ai", 3), ("grpc", 9)])
def test_from_files_the_services_are_in_one_file_for_each_group(kind: str, count: int) -> None:
    ids = [each["id"] for each in file("docker-local", "files", f"{kind}-services.json")["services"]]
    assert (ids, len(ids)) == ([line.name for line in FORTY if line.kind == kind], count)


@every_docker_stack
@pytest.mark.parametrize("registration", ["agent", "catalog"])
def test_where_services_are_registered_otherwise_the_three_files_are_emptied(stack: str, registration: str) -> None:
    # They may hold what the stack registered before, which the agent would keep.
    contents = [file(stack, registration, f"{kind}-services.json") for kind in ("user", "ai", "grpc")]
    assert contents == [{"services": []}] * 3


@every_docker_stack
@every_registration
def test_the_agents_log_level_is_among_the_files_however_services_are_registered(stack: str, registration: str) -> None:
    assert file(stack, registration, "agent-reloaded.json") == {"log_level": "INFO"}


@every_registration
def test_the_stacks_outputs_are_the_same_however_services_are_registered(registration: str) -> None:
    assert made("docker-local", registration).exports == made("docker-local").exports


# Marks


@pytest.mark.parametrize("registration", ["agent", "catalog"])
def test_the_owner_of_a_service_is_its_resource_of_the_stack(registration: str) -> None:
    # Of both ways to register the same, so that the one takes up what the other moves.
    owners = {name: made("docker-local", registration).inputs(name)["meta"]["managed-by"] for name in SERVICES}
    assert owners == {name: f"pulumi/consul-staging/test/{name}" for name in SERVICES}


def test_the_owner_of_every_service_in_the_files_is_the_stack() -> None:
    kinds = [file("docker-local", "files", f"{kind}-services.json")["services"] for kind in ("user", "ai", "grpc")]
    owners = [each["meta"]["managed-by"] for services in kinds for each in services]
    assert owners == ["pulumi/consul-staging/test/definition-files"] * 40


def test_the_owner_of_the_external_node_is_its_resource_of_the_stack() -> None:
    meta = made("docker-local", "catalog").inputs("registration-node")["meta"]
    assert meta["managed-by"] == "pulumi/consul-staging/test/registration-node"


# What is moved when a stack registers otherwise than before


@every_docker_stack
def test_over_the_agent_a_service_is_moved_from_the_external_node_before_it_is_created(stack: str) -> None:
    hooks = {"before_create": ["move-to-agent"], "before_update": ["move-to-agent"]}
    assert [made(stack).bound(name) for name in SERVICES] == [hooks] * 40


def test_without_docker_there_is_nothing_to_move() -> None:
    assert [made("local").bound(name) for name in SERVICES] == [{}] * 40


@every_docker_stack
def test_in_the_catalog_a_service_leaves_the_agent_before_it_is_created_and_keeps_its_status_whatever_changes(
    stack: str,
) -> None:
    hooks = {
        "before_create": ["deregister-from-agent"],
        "after_create": ["restore-check-status"],
        "before_update": ["read-check-status"],
        "after_update": ["restore-check-status"],
    }
    assert [made(stack, "catalog").bound(name) for name in SERVICES] == [hooks] * 40


@every_docker_stack
def test_from_files_all_services_are_moved_from_the_external_node_before_the_agent_reads_them(stack: str) -> None:
    assert made(stack, "files").bound("files-reload")["before_create"] == ["move-to-agent"]


@every_docker_stack
@pytest.mark.parametrize("registration", ["agent", "catalog"])
def test_files_that_are_emptied_move_nothing(stack: str, registration: str) -> None:
    assert "before_create" not in made(stack, registration).bound("files-reload")


@dataclass
class Moving:
    """The docker-local stack, whose agent and server answer."""

    agent: FakeConsul
    servers: FakeConsul

    def program(self, registration: str) -> Deployed:
        addresses = {"agentAddress": self.agent.address, "serverAddress": self.servers.address}
        own = {"registration": registration, "externalNode": "platform-external", "environment": "production"}
        token = {} if registration == "files" else {"agentToken": TOKEN}
        return with_two({**stack_config("docker-local"), **addresses, **own, **token}, token)


@pytest.fixture(name="moving")
def _moving() -> Iterator[Moving]:
    wrote: Wrote = []
    with running(FakeConsul("agent", wrote)) as agent, running(FakeConsul("servers", wrote)) as servers:
        meta = {"managed-by": "pulumi/consul-staging/test/registration-billing_service"}
        services = {"billing_service": {"Service": "billing_service", "Meta": meta}}
        servers.nodes["platform-external"] = {"Node": {"Meta": {}}, "Services": services}
        yield Moving(agent, servers)


def test_a_stack_moves_from_its_external_node_to_its_agent_with_its_token(moving: Moving) -> None:
    assert moving.program("agent").call("move-to-agent", service_id="billing_service") == ""
    assert [(who, path) for who, path, _ in moving.servers.wrote] == [
        ("servers", "/v1/catalog/deregister"),
        ("agent", "/v1/agent/service/register"),
    ]
    assert (moving.agent.tokens, moving.servers.tokens) == ({TOKEN}, {TOKEN})


def test_what_a_stack_moves_to_its_agent_is_as_the_stack_states_it(moving: Moving) -> None:
    moving.program("agent").call("move-to-agent", service_id="billing_service")
    assert moving.agent.services["billing_service"]["Meta"]["environment"] == "production"


def test_a_stack_moves_from_its_external_node_to_its_files(moving: Moving) -> None:
    assert moving.program("files").call("move-to-agent", name="consul-agent-shared-reload") == ""
    assert [who for who, _, _ in moving.servers.wrote] == ["servers", "agent"]


def test_a_stack_moves_from_its_agent_to_its_external_node_with_its_token(moving: Moving) -> None:
    mark = "pulumi/consul-staging/test/registration-billing_service"
    moving.agent.services["billing_service"] = {"Service": "billing_service", "Meta": {"managed-by": mark}}
    check = {"Node": "platform-external", "CheckID": "c", "ServiceID": "billing_service", "Status": "passing"}
    moving.agent.checks["c"] = {**check, "Output": "well"}
    moving.servers.node_checks = [check]
    whole = moving.program("catalog")
    for hook in ("deregister-from-agent", "restore-check-status"):
        assert whole.call(hook, serviceId="billing_service", checks=[{"checkId": "c"}]) == ""
    assert [(who, path) for who, path, _ in moving.servers.wrote] == [
        ("agent", "/v1/agent/service/deregister/billing_service"),
        ("servers", "/v1/catalog/register"),
    ]
    assert (moving.agent.tokens, moving.servers.tokens) == ({TOKEN}, {TOKEN})


def test_a_stack_that_changes_removes_a_check_from_its_external_node_with_its_token(moving: Moving) -> None:
    check = {"Node": "platform-external", "CheckID": "c", "ServiceID": "billing_service", "Status": "passing"}
    moving.servers.node_checks = [{**check, "Output": "well"}]
    whole = moving.program("catalog")
    for hook in ("read-check-status", "restore-check-status"):
        assert whole.call(hook, serviceId="billing_service", checks=[]) == ""
    assert moving.servers.wrote == [
        ("servers", "/v1/catalog/deregister", {"Node": "platform-external", "CheckID": "c"})
    ]
    assert moving.servers.tokens == {TOKEN}


def test_a_stack_looks_for_another_partys_node_with_its_token(moving: Moving) -> None:
    assert "platform-external" in moving.program("catalog").call("refuse-anothers-node")
    assert moving.servers.tokens == {TOKEN}


# The token


def guarded() -> Deployed:
    """All of staging, registered in the catalog of servers that ask for a token."""
    config = {**stack_config("docker-local"), "registration": "catalog", "agentToken": TOKEN}
    return with_two(config, ["agentToken"])


def test_in_the_catalog_the_provider_and_consul_esm_are_given_the_token_as_a_secret() -> None:
    whole = guarded()
    assert whole.sent("registration-consul")["token"] == secret(TOKEN)
    [upload] = whole.sent("esm-container")["uploads"]
    assert upload["content"] == secret(upload["content"]["value"])
    assert json.loads(upload["content"]["value"])["token"] == TOKEN


def test_in_the_catalog_nothing_else_has_the_token() -> None:
    whole = guarded()
    has = {name for name in whole.requests if TOKEN in repr(whole.sent(name))}
    assert has == {"registration-consul", "esm-container"}
    assert TOKEN not in repr((whole.exports, whole.outputs))


# A secured stack

MANAGEMENT = str(UUID(made_password("keys-management")))
AUTHORITY = "certificate keys-authority"


def token(name: str) -> str:
    """The secret of one of the stack's own tokens."""
    return f"secret-of-acl-{name}-token-id"


@pytest.mark.parametrize(
    ("registration", "names"),
    [
        ("agent", ["agent", "registration", "verify", "removal", "reload"]),
        ("catalog", ["agent", "registration", "verify", "removal", "reload", "esm"]),
        ("files", ["agent", "registration", "verify", "removal", "reload"]),
    ],
)
def test_a_secured_stacks_outputs_are_its_authority_and_its_tokens_as_secrets(
    registration: str, names: list[str]
) -> None:
    outputs = {key: value for key, value in made(SECURED, registration).sent_exports.items() if "/" not in key}
    assert outputs == {
        "agent": "https://127.0.0.1:8501",
        "server": "https://127.0.0.1:8500",
        "ui": "https://127.0.0.1:8500/ui",
        "ca": AUTHORITY,
        "tokens": {"management": secret(MANAGEMENT), **{name: secret(token(name)) for name in names}},
        "serviceTokens": {kind: secret(token(f"services-{kind}-1")) for kind in ("user", "ai", "grpc")},
    }


@every_registration
def test_a_secured_stack_declares_all_else_as_an_open_one_does(registration: str) -> None:
    found, open_ = made(SECURED, registration).requests, made("docker-local", registration).requests
    security = {name for name in found if name.split("-")[0] in ("keys", "acl")}
    assert found.keys() - security == open_.keys()


@every_registration
def test_a_secured_stacks_services_are_the_same_but_for_how_consul_is_reached(registration: str) -> None:
    def services(stack: str) -> dict[str, object]:
        whole = made(stack, registration)
        reached = ("agent", "token", "removal", "ca")
        return {
            name: {key: value for key, value in whole.inputs(name).items() if key not in reached}
            for name in SERVICES
            if name in whole.requests
        }

    assert services(SECURED) == services("docker-local")


@every_registration
def test_a_resource_whose_hook_calls_a_secured_consul_waits_for_what_the_hook_calls_it_with(registration: str) -> None:
    # With --parallel 1, the engine would create nothing else until the hook returns, which waits for these.
    whole = made(SECURED, registration)
    hooked = [name for name in whole.requests if whole.bound(name)]
    calling = [name for name in hooked if not all(hook.startswith("refuse-") for hook in _hooks_of(whole, name))]
    assert "keys-handed-over" in calling
    needed = {"keys-management", "keys-authority"}
    assert {name: needed - _all_that_is_waited_for(whole, name) for name in calling} == {
        name: set() for name in calling
    }


def _hooks_of(whole: Deployed, name: str) -> list[str]:
    return [hook for hooks in whole.bound(name).values() for hook in hooks]


def _all_that_is_waited_for(whole: Deployed, name: str) -> set[str]:
    found, todo = set[str](), {name}
    while todo:
        found |= todo
        todo = {each for one in todo for each in whole.waits_for(one)} - found
    return found


def test_where_the_preflight_refuses_nothing_was_declared_that_the_engine_would_deploy_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise pulumi.RunError("nothing was changed: ...")

    def refused() -> None:
        with pytest.raises(pulumi.RunError):
            run_main()

    monkeypatch.setattr(preflight, "report", refuse)
    monkeypatch.setattr("services.roster.load_roster", lambda *_: forty_roster())
    assert deploy(refused, stack_config(SECURED)).requests == {}


def test_a_token_that_no_request_can_carry_is_one_message_without_a_stack_trace() -> None:
    config = {**stack_config("staging"), "agentToken": "two words"}
    with pytest.raises(pulumi.RunError, match="token"):
        on_docker(run_main, config, ["agentToken"])


def test_in_a_secured_stack_a_service_is_registered_over_https_with_a_token_for_that() -> None:
    reached = {"agent": "https://127.0.0.1:8501", "token": secret(token("registration")), "ca": AUTHORITY}
    inputs = [made(SECURED).sent(name) for name in SERVICES]
    assert [{key: each[key] for key in reached} for each in inputs] == [reached] * 40


def test_in_a_secured_stack_the_catalogs_provider_is_given_the_registrations_token() -> None:
    assert made(SECURED, "catalog").sent("registration-consul") == {
        "address": "127.0.0.1:8500",
        "scheme": "https",
        "datacenter": "dc1",
        "caPem": AUTHORITY,
        "token": secret(token("registration")),
    }


@every_registration
def test_in_a_secured_stack_the_tokens_are_made_with_the_management_token(registration: str) -> None:
    assert made(SECURED, registration).sent("acl-consul") == {
        "address": "127.0.0.1:8500",
        "scheme": "https",
        "datacenter": "dc1",
        "caPem": AUTHORITY,
        "token": secret(MANAGEMENT),
    }


def files(registration: str, container: str) -> dict[str, Any]:
    """What a container of the secured stack is given, by path, and of a secret, what it is."""
    uploads = made(SECURED, registration).sent(container)["uploads"]
    contents = {each["file"]: each["content"] for each in uploads}
    return {file: content if isinstance(content, str) else content["value"] for file, content in contents.items()}


@every_registration
@pytest.mark.parametrize(
    ("node", "tokens"),
    [
        ("server", {"initial_management": MANAGEMENT, "agent": MANAGEMENT}),
        ("agent", {"agent": token("agent"), "config_file_service_registration": token("registration")}),
    ],
)
def test_in_a_secured_stack_a_consul_node_starts_with_exactly_these_tokens(
    registration: str, node: str, tokens: dict[str, str]
) -> None:
    secrets = json.loads(files(registration, f"{node}-carry")["/consul/config/secrets.json"])
    assert secrets["acl"] == {"tokens": tokens}


@every_registration
def test_in_a_secured_stack_both_consul_nodes_have_one_gossip_key(registration: str) -> None:
    keys = {
        json.loads(files(registration, f"{node}-carry")["/consul/config/secrets.json"])["encrypt"]
        for node in ("server", "agent")
    }
    assert keys == {base64.b64encode(made_password("keys-gossip").encode()).decode()}


@every_registration
def test_in_a_secured_stack_the_agent_is_reloaded_with_a_token_for_that(registration: str) -> None:
    found = files(registration, "files-reload")
    assert (found["/reload/token"], found["/reload/ca.pem"]) == (token("reload"), AUTHORITY)


def test_in_a_secured_stack_consul_esm_has_its_own_token() -> None:
    found = files("catalog", "esm-container")
    assert json.loads(found["/etc/consul-esm/config.json"])["token"] == token("esm")
    assert found["/etc/consul-esm/ca.pem"] == AUTHORITY


@pytest.mark.parametrize(
    ("registration", "users"),
    [
        ("agent", ["agent-carry", *SERVICES]),
        ("catalog", ["agent-carry", "registration-consul"]),
        ("files", ["agent-carry"]),
    ],
    ids=["agent", "catalog", "files"],
)
def test_in_a_secured_stack_nobody_but_who_registers_has_the_token_for_that(
    registration: str, users: list[str]
) -> None:
    whole = made(SECURED, registration)
    has = {name for name in whole.requests if token("registration") in repr(whole.sent(name))}
    assert has == set(users)


@every_registration
def test_in_a_secured_stack_a_token_is_where_it_is_used_alone(registration: str) -> None:
    whole = made(SECURED, registration)
    services = set(whole.of_type("pulumi-python:dynamic/consul:AgentService"))
    users = {
        "verify": set(),
        "agent": {"agent-carry"},
        "reload": {"files-reload"},
        "removal": services,
    }
    sent = {each: repr(whole.sent(each)) for each in whole.requests}
    assert {name: {each for each in sent if token(name) in sent[each]} for name in users} == users


@every_registration
def test_in_a_secured_stack_the_servers_and_who_makes_tokens_have_the_management_token_and_nobody_else(
    registration: str,
) -> None:
    whole = made(SECURED, registration)
    secrets = {name for name in whole.requests if whole.requests[name].type.endswith(":AclTokenSecret")}
    has = {name for name in whole.requests if MANAGEMENT in repr(whole.sent(name))}
    assert has == {"server-carry", "acl-consul", *secrets}


@pytest.mark.parametrize(
    ("config", "addresses"),
    [({}, ["127.0.0.1"]), ({"publishOn": "10.0.0.5"}, ["10.0.0.5", "127.0.0.1"])],
    ids=["loopback", "another"],
)
@pytest.mark.parametrize("node", ["staging-consul", "consul-agent-shared"])
def test_a_certificate_is_for_where_the_apis_are_published(
    node: str, config: dict[str, str], addresses: list[str]
) -> None:
    whole = with_two({**stack_config(SECURED), **config})
    assert whole.inputs(f"keys-{node}-request")["ipAddresses"] == addresses


@pytest.mark.parametrize("stage", ["accepted", "sent", "on"])
@pytest.mark.parametrize("node", ["server", "agent"])
def test_a_stage_of_security_is_that_of_both_consul_nodes(stage: Stage, node: str) -> None:
    whole = with_two({**stack_config(SECURED), "security": stage})
    config = json.loads(whole.sent(f"{node}-carry")["uploads"][0]["content"])
    assert config.items() >= stage_config(stage).items()


@pytest.mark.parametrize(("address", "internal"), [("http://127.0.0.1:8501", 8500), ("https://127.0.0.1:8501", 8501)])
def test_on_the_way_to_security_an_api_is_published_over_http_or_https_as_in_its_address(
    address: str, internal: int
) -> None:
    whole = with_two({**stack_config(SECURED), "security": "accepted", "agentAddress": address})
    assert whole.inputs("agent-container")["ports"] == [{"internal": internal, "external": 8501, "ip": "127.0.0.1"}]


@every_registration
@pytest.mark.parametrize("name", ["agent", "verify"])
def test_in_a_secured_stack_a_token_is_made_once_the_server_is_there(registration: str, name: str) -> None:
    whole = made(SECURED, registration)
    assert {"server-container"} <= whole.waits_for(f"acl-{name}-policy")
    assert {"server-container", f"acl-{name}-policy"} <= whole.waits_for(f"acl-{name}-token")


def test_a_secured_server_is_waited_for_until_it_has_a_leader_and_an_open_one_until_it_is_healthy() -> None:
    assert made(SECURED).bound("server-container") == {"after_create": ["await-leader"]}
    assert made("docker-local").bound("server-container") == {}


@every_registration
def test_a_secured_agent_starts_once_its_tokens_and_its_certificate_are_there(registration: str) -> None:
    waits = made(SECURED, registration).waits_for("agent-carry")
    assert {"acl-agent-secret", "acl-registration-secret", "keys-consul-agent-shared-certificate"} <= waits


# What is parked while the agent is replaced


@pytest.mark.parametrize("stack", ["docker-local", "staging", SECURED])
def test_over_the_agent_the_services_are_drained_while_its_container_is_replaced(stack: str) -> None:
    whole = made(stack)
    assert (whole.bound("agent-parking"), whole.bound("agent-parked")) == (
        {"before_update": ["drain-agent"]},
        {"before_update": ["return-to-agent"]},
    )
    services = whole.of_type("pulumi-python:dynamic/consul:AgentService")
    assert [name for name in services if "agent-parked" not in whole.waits_for(name)] == []


@pytest.mark.parametrize("stack", ["docker-local", "staging", SECURED])
@pytest.mark.parametrize("registration", ["catalog", "files"])
def test_what_is_registered_otherwise_is_not_drained(stack: str, registration: str) -> None:
    whole = made(stack, registration)
    assert "agent-parking" not in whole.requests


@pytest.mark.parametrize(
    ("stack", "server"),
    [("staging", "http://127.0.0.1:8500"), ("docker-local", None), (SECURED, None), ("local", None)],
)
def test_a_service_knows_to_which_server_it_is_drained_if_that_outlives_the_stack(
    stack: str, server: str | None
) -> None:
    assert {made(stack).inputs(name).get("drained_to") for name in SERVICES} == {server}


def test_draining_uses_the_agents_address_in_the_stack_and_a_token_for_that() -> None:
    assert made("staging").sent("agent-parking")["input"]["agent"] == {
        "address": "http://127.0.0.1:8501",
        "token_fingerprint": None,
        "ca": None,
    }
    assert made(SECURED).sent("agent-parking")["input"]["agent"] == {
        "address": "https://127.0.0.1:8501",
        # This one may remove what the roster has dropped too.
        "token_fingerprint": secret(fingerprint(token("removal"))),
        "ca": AUTHORITY,
    }


@pytest.mark.parametrize("stack", ["docker-local", SECURED])
def test_what_is_stashed_of_the_agents_container_is_what_its_container_is_made_of(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is not in it could change without anything being parked.
    monkeypatch.setattr(consul_container, "fingerprint", lambda text: text)
    whole, _ = on_docker(run_main, stack_config(stack))
    stashed = json.loads(plain(whole.sent("agent-parking")["input"]["container"]))
    uploads = plain(whole.sent("agent-carry")["uploads"])
    assert stashed["files"] == {each["file"]: each["content"] for each in uploads}
    assert stashed["image"] == whole.inputs("agent-image")["name"]
    sent = whole.inputs("agent-container")
    assert [{"name": stashed["network"]}] == sent["networksAdvanced"]
    assert ["agent", *(f"-config-dir={folder}" for folder in stashed["folders"])] == sent["command"]
    others = {"name", "hostname", "image", "command", "labels", "networksAdvanced", "ports", "volumes"}
    camel = {re.sub("_(.)", lambda found: found[1].upper(), key) for key in stashed["run"]}
    assert camel == sent.keys() - others


@pytest.mark.parametrize("hook", ["move-to-agent", "return-to-agent"])
def test_on_the_way_to_security_what_moves_is_let_in_with_the_stacks_own_tokens(moving: Moving, hook: str) -> None:
    config = {**stack_config(SECURED), "security": "accepted", "externalNode": "platform-external"}
    addresses = {"agentAddress": moving.agent.address, "serverAddress": moving.servers.address}
    meta = {"managed-by": "pulumi/consul-staging/test/parking"}
    moving.servers.nodes["platform-external"]["Node"]["Meta"] = meta
    moving.servers.nodes["consul-agent-shared"] = {"Node": {"TaggedAddresses": {"lan": "10.0.0.2"}}, "Services": {}}
    whole = with_two({**config, **addresses})
    assert whole.call(hook, service_id="billing_service") == ""
    assert list(moving.agent.services) == ["billing_service"]
    assert (moving.agent.tokens, moving.servers.tokens) == ({token("registration")}, {MANAGEMENT})


# What waits for what


def test_without_docker_the_registrations_wait_for_nothing() -> None:
    assert made("local").waits_for("registration") == set()


@every_docker_stack
def test_on_docker_the_registrations_wait_for_the_agents_container(stack: str) -> None:
    # The services wait for the component: they are its children.
    assert "agent-container" in made(stack).waits_for("registration")


@every_docker_stack
def test_on_docker_every_service_waits_for_the_agents_container(stack: str) -> None:
    assert [name for name in SERVICES if "agent-container" not in made(stack).waits_for(name)] == []


def test_in_docker_local_the_agent_waits_for_the_server() -> None:
    assert "server-container" in made("docker-local").waits_for("agent")


def test_in_docker_local_the_registrations_wait_for_the_server_too() -> None:
    # When all is destroyed, they leave the catalog while it is still there.
    assert "server-container" in made("docker-local").waits_for("registration")


def test_in_docker_local_no_registration_waits_for_a_stand_in() -> None:
    # A service that is down is registered all the same.
    assert [each for each in made("docker-local").waits_for("registration") if each.startswith("standins")] == []


def test_in_staging_the_agent_waits_for_no_other_resource_of_ours() -> None:
    assert made("staging").waits_for("agent") == set()


@every_registration
def test_the_agents_files_wait_for_the_agent(registration: str) -> None:
    assert {"agent-container", "agent-files"} <= made("docker-local", registration).waits_for("files-reload")


@every_docker_stack
@pytest.mark.parametrize("registration", ["agent", "catalog"])
def test_the_files_are_emptied_after_every_service_is_registered_otherwise(stack: str, registration: str) -> None:
    # Before, the services would be gone until then.
    found = made(stack, registration)
    services = set(SERVICES)
    assert services <= found.waits_for("files")
    assert max(map(list(found.requests).index, services)) < list(found.requests).index("files-reload")


def test_from_files_the_files_wait_for_the_server_too() -> None:
    assert {"agent-container", "server-container"} <= made("docker-local", "files").waits_for("files")


def test_consul_esm_waits_for_the_agent_and_the_server() -> None:
    assert {"agent-container", "server-container"} <= made("docker-local", "catalog").waits_for("esm")


def test_in_the_catalog_every_service_waits_for_consul_esm_the_agent_and_the_server() -> None:
    before = {"esm-container", "agent-container", "server-container", "registration-node"}
    waits = {name: made("docker-local", "catalog").waits_for(name) for name in SERVICES}
    assert [name for name in SERVICES if not before <= waits[name]] == []


def test_in_staging_what_is_in_the_catalog_waits_for_consul_esm_and_the_agent() -> None:
    assert {"esm-container", "agent-container"} <= made("staging", "catalog").waits_for("registration")


def test_an_authority_that_the_stack_is_given_is_not_that_of_the_agent_that_it_deploys() -> None:
    # Which has no TLS then: it is the servers' own.
    config = {**stack_config("staging"), "registration": "catalog", "agentCaFile": str(authorities.AUTHORITY_FILE)}
    found = with_two({**config, "serverAddress": "https://consul.example:8500"})
    [config_file] = found.inputs("esm-container")["uploads"]
    assert json.loads(config_file["content"])["http_addr"] == "consul-agent-shared:8500"
    assert found.inputs("registration-consul")["caPem"] == authorities.AUTHORITY


def test_in_a_secured_stack_every_service_can_be_removed_with_a_token_for_that() -> None:
    # By then the policy of registrations names it no more.
    made = program(SECURED)[0]
    sent = [made.sent(name)["removal"] for name in made.of_type("pulumi-python:dynamic/consul:AgentService")]
    assert sent == [secret(token("removal"))] * 40


def test_a_program_that_needs_no_keys_and_no_catalog_imports_no_provider_for_them() -> None:
    code = (
        "import sys, components.deployment; print({'pulumi_consul', 'pulumi_random', 'pulumi_tls'} & set(sys.modules))"
    )
    assert subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout == "set()\n"
