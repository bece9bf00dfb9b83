import base64
import json
import pickletools
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import pulumi
import pytest
from pulumi.dynamic import Config, ConfigureRequest

from components.acl_secret import AclTokenSecret, AclTokenSecretProvider
from components.acl_tokens import AclTokens, AclTokensArgs
from components.consul_connection import Connection
from components.registration.agent import AgentServiceProvider
from consul_cluster.acl_rules import Rules
from consul_cluster.client import ConsulError, ForbiddenError, NoAnswerError
from tests.fake_consul import FakeConsul, running
from tests.unit.pulumi_mocks import Deployed, deploy, secret

SERVER = "https://127.0.0.1:8500"
MANAGEMENT = "15e0b259-4393-5b97-b647-ce7e3f877a99"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TYPE = "consul-staging:security:Acl"
COMPONENT = f"urn:pulumi:test::consul-staging::pulumi:pulumi:Stack${TYPE}::acl"
PROVIDER = f"urn:pulumi:test::consul-staging::{TYPE}$pulumi:providers:consul::acl-consul::acl-consul-id"

# Parts of URNs: another one would replace a token that is in use.
POLICY = "consul:index/aclPolicy:AclPolicy"
TOKEN = "consul:index/aclToken:AclToken"  # noqa: S105 - a type
SECRET = "pulumi-python:dynamic/consul:AclTokenSecret"  # noqa: S105 - a type

RULES: dict[str, Rules] = {
    "verify": {"service_prefix": {"": {"policy": "read"}}, "node_prefix": {"": {"policy": "read"}}},
    "reload": {"agent": {"consul-agent-shared": {"policy": "write"}}},
}

every_token = pytest.mark.parametrize("token", RULES)


def acl(servers: Connection, name: str = "acl", after: bool = False) -> Deployed:
    """Deploy the component; its tokens are exported."""

    def program() -> None:
        before = [pulumi.CustomResource("test:index:Server", "server", {})] if after else []
        tokens = AclTokens(
            name,
            AclTokensArgs(servers, [pulumi.Output.secret(MANAGEMENT)], RULES),
            pulumi.ResourceOptions(depends_on=before),
        ).tokens
        pulumi.export("tokens", tokens)

    return deploy(program)


@cache
def made() -> Deployed:
    return acl(Connection(SERVER, MANAGEMENT, AUTHORITY), after=True)


def services(*generations: str) -> Deployed:
    """Deploy the component with one group of services, whose newest token is exported."""

    def program() -> None:
        servers, management = Connection(SERVER, MANAGEMENT, AUTHORITY), [pulumi.Output.secret(MANAGEMENT)]
        args = AclTokensArgs(servers, management, {}, {"user": RULES["verify"]}, generations)
        pulumi.export("tokens", AclTokens("acl", args).service_tokens)

    return deploy(program)


# What is declared


def test_it_is_a_component_a_provider_a_stash_and_a_policy_a_token_and_its_secret_for_each_name() -> None:
    assert {name: request.type for name, request in made().requests.items() if name != "server"} == {
        "acl": TYPE,
        "acl-consul": "pulumi:providers:consul",
        "acl-management": "pulumi:index:Stash",
        **{f"acl-{token}-policy": POLICY for token in RULES},
        **{f"acl-{token}-token": TOKEN for token in RULES},
        **{f"acl-{token}-secret": SECRET for token in RULES},
    }


def test_the_services_of_a_group_have_one_policy_and_a_token_of_each_generation() -> None:
    made = services("1", "2")
    assert sorted(made.of_type(POLICY)) == ["acl-services-user-policy"]
    assert made.inputs("acl-services-user-policy")["name"] == "consul-staging-services-user"
    assert sorted(made.of_type(TOKEN)) == ["acl-services-user-1-token", "acl-services-user-2-token"]
    assert [made.inputs(name)["policies"] for name in made.of_type(TOKEN)] == [["consul-staging-services-user"]] * 2


def test_the_newest_token_of_a_group_is_shown_as_a_secret() -> None:
    made = services("1", "2")
    assert made.sent_exports["tokens"] == {"user": secret("secret-of-acl-services-user-2-token-id")}


def test_the_component_registers_the_tokens_names_alone_as_its_outputs() -> None:
    assert made().outputs[COMPONENT] == {"tokens": ["verify", "reload"]}


def test_another_name_for_the_component_is_another_name_for_each_resource() -> None:
    names = {name.replace("acl", "other", 1) for name in made().requests}
    assert {*acl(Connection(SERVER, MANAGEMENT), "other").requests, "server"} == names


def test_a_token_is_an_output_as_a_secret() -> None:
    assert made().sent_exports["tokens"] == {token: secret(f"secret-of-acl-{token}-token-id") for token in RULES}


# The provider


def test_the_provider_is_the_servers_api_with_its_authority_and_the_token_as_a_secret() -> None:
    assert made().sent("acl-consul") == {
        "address": "127.0.0.1:8500",
        "scheme": "https",
        "datacenter": "dc1",
        "caPem": AUTHORITY,
        "token": secret(MANAGEMENT),
    }


@every_token
@pytest.mark.parametrize("kind", ["policy", "token"])
def test_a_policy_and_a_token_are_with_that_provider(token: str, kind: str) -> None:
    # Not with the default one, whose servers an environment variable may name.
    assert made().requests[f"acl-{token}-{kind}"].provider == PROVIDER


# A policy and a token


@every_token
def test_a_policy_has_the_projects_name_and_its_rules_as_json_for_people_to_read(token: str) -> None:
    assert made().inputs(f"acl-{token}-policy") == {
        "name": f"consul-staging-{token}",
        "rules": json.dumps(RULES[token], indent=2),
    }


@every_token
def test_a_token_has_its_own_policy_and_no_other(token: str) -> None:
    assert made().inputs(f"acl-{token}-token") == {
        "description": f"consul-staging-{token}",
        "policies": [f"consul-staging-{token}"],
    }


@every_token
def test_a_policy_waits_for_what_the_component_waits_for_and_a_token_for_its_policy_too(token: str) -> None:
    assert made().waits_for(f"acl-{token}-policy") == {"server"}
    assert made().waits_for(f"acl-{token}-token") == {"server", f"acl-{token}-policy"}


# The secret of a token


@every_token
def test_a_tokens_secret_is_exactly_this(token: str) -> None:
    inputs = made().sent(f"acl-{token}-secret")
    inputs.pop("__provider")  # has a test of its own
    assert inputs == {
        "accessor": f"acl-{token}-token-id",
        "servers": SERVER,
        "token": secret(MANAGEMENT),
        "ca": AUTHORITY,
    }


@every_token
def test_what_is_read_and_what_it_is_read_with_are_secrets_in_the_state(token: str) -> None:
    assert set(made().requests[f"acl-{token}-secret"].additionalSecretOutputs) == {"secret", "token"}


@every_token
def test_a_secret_waits_for_its_token_and_for_no_other(token: str) -> None:
    assert made().waits_for(f"acl-{token}-secret") == {f"acl-{token}-token"}


@every_token
def test_the_state_names_the_provider_by_its_module_and_class(token: str) -> None:
    # A state that says so can be read for ever; moving or renaming the class makes every one of them unreadable.
    pickled = base64.b64decode(made().inputs(f"acl-{token}-secret")["__provider"])
    words = [argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)]
    assert words == ["components.acl_secret", "AclTokenSecretProvider"]


def test_a_secret_by_itself_takes_options_too_and_keeps_its_secrets() -> None:
    def program() -> None:
        options = pulumi.ResourceOptions(retain_on_delete=True, additional_secret_outputs=["ca"])
        AclTokenSecret("alone", Connection(SERVER, MANAGEMENT), "5c1b2b5e", options)

    request = deploy(program).requests["alone"]
    assert (request.retainOnDelete, set(request.additionalSecretOutputs)) == (True, {"ca", "secret", "token"})


# The dynamic provider

ACCESSOR = "6a1253d2-1785-24fd-91c2-f8e78c745511"
OTHER = "45a3bd52-07c7-47a4-52fd-0745e0cfe967"
STATE: dict[str, Any] = {"accessor": ACCESSOR, "servers": SERVER, "token": MANAGEMENT, "ca": None}


@pytest.fixture(name="servers")
def _servers() -> Iterator[FakeConsul]:
    secrets = {ACCESSOR: "2d1c6f1a-of-the-token", OTHER: "8ca5a3e4-of-another"}
    with running(FakeConsul(secrets=secrets)) as consul:
        yield consul


def test_the_secret_is_read_when_the_token_is_made(servers: FakeConsul) -> None:
    props = {**STATE, "servers": servers.address}
    created = AclTokenSecretProvider().create(props)
    props.pop("token")
    assert (created.id, created.outs) == (ACCESSOR, {**props, "secret": "2d1c6f1a-of-the-token"})


def test_a_secret_is_asked_for_with_the_token_that_may_read_tokens_and_nothing_is_changed(servers: FakeConsul) -> None:
    AclTokenSecretProvider().create({**STATE, "servers": servers.address})
    assert (servers.tokens, servers.wrote) == ({MANAGEMENT}, [])


def test_another_accessor_is_another_secret_which_is_there_before_the_first_is_away() -> None:
    found = AclTokenSecretProvider().diff(ACCESSOR, {**STATE, "secret": "s"}, {**STATE, "accessor": OTHER})
    assert (found.changes, found.replaces, found.delete_before_replace) == (True, ["accessor"], None)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"servers": "https://10.0.0.5:8500"},
        {"token": "another-management-token"},
        {"ca": AUTHORITY},
        {"secret": None},
        {"__provider": "gASW"},
    ],
    ids=str,
)
def test_how_consul_is_reached_is_no_change(change: dict[str, Any]) -> None:
    found = AclTokenSecretProvider().diff(ACCESSOR, {**STATE, "secret": "s", "__provider": "gASV"}, {**STATE, **change})
    assert (found.changes, found.replaces) == (False, [])


def test_what_consul_refuses_is_an_error_in_its_own_words(servers: FakeConsul) -> None:
    servers.refuses = (403, "Permission denied: token with AccessorID 'x' lacks permission 'acl:read'")
    with pytest.raises(ForbiddenError) as caught:
        AclTokenSecretProvider().create({**STATE, "servers": servers.address})
    assert str(caught.value) == (
        f"GET {servers.address}/v1/acl/token/{ACCESSOR}: Consul answers 403: "
        "Permission denied: token with AccessorID 'x' lacks permission 'acl:read'"
    )


@pytest.mark.usefixtures("_no_pauses")
def test_servers_that_do_not_answer_are_an_error() -> None:
    with pytest.raises(NoAnswerError, match=f"^GET http://127.0.0.1:9/v1/acl/token/{ACCESSOR}: no answer: "):
        AclTokenSecretProvider().create({**STATE, "servers": "http://127.0.0.1:9"})


@pytest.mark.parametrize("provider", [AclTokenSecretProvider(), AgentServiceProvider()], ids=["secret", "service"])
@pytest.mark.parametrize("told_alone", [True, False])
def test_of_consuls_refusals_the_engine_is_sent_the_words_and_of_other_errors_the_trace_too(
    monkeypatch: pytest.MonkeyPatch, provider: AclTokenSecretProvider | AgentServiceProvider, told_alone: bool
) -> None:
    process = ModuleType("__main__")
    vars(process).update(_abort_with_traceback=None, traceback=None)
    monkeypatch.setitem(sys.modules, "__main__", process)
    provider.configure(ConfigureRequest(Config({}, "consul-staging")))
    error = ConsulError("Consul answers 403: Permission denied") if told_alone else KeyError("accessor")
    try:
        raise error
    except (ConsulError, KeyError):
        told = vars(process)["traceback"].format_exc()
    assert (told == "Consul answers 403: Permission denied", "Traceback" in told) == (told_alone, not told_alone)


@pytest.mark.parametrize("provider", [AclTokenSecretProvider(), AgentServiceProvider()], ids=["secret", "service"])
def test_another_process_than_the_sdks_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, provider: AclTokenSecretProvider | AgentServiceProvider
) -> None:
    process = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", process)
    provider.configure(ConfigureRequest(Config({}, "consul-staging")))
    assert "traceback" not in vars(process)
