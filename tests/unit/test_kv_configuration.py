from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from components.consul_connection import Connection
from components.kv_configuration import KvConfiguration, KvConfigurationArgs, KvEntryProvider
from consul_cluster.acl_rules import token_rules
from services import configuration_values
from services.environment import Environment
from services.model import Service
from services.roster import Roster, RosterError, load_roster
from services.user_services import USER
from tests.unit.pulumi_mocks import deploy, secret

TYPE = "pulumi-python:dynamic/consul:KvEntry"


def service(name: str = "billing", **options: Any) -> Service:  # noqa: ANN401 - what a line says
    return USER.service(Environment("staging"), name, 8216, **options)


def configured(**values: object) -> Mapping[str, str]:
    return Roster(services=(service(configuration=values),)).kv_configuration


# Values


def test_a_value_stands_in_json_under_the_services_name() -> None:
    values = {"max_retries": 3, "level": "info", "limits/eur": {"day": 1.5, "names": ["ö"]}}
    assert configured(**values) == {
        "billing_service/max_retries": "3",
        "billing_service/level": '"info"',
        "billing_service/limits/eur": '{"day":1.5,"names":["ö"]}',
    }


def test_a_value_for_all_services_stands_under_each_name_and_a_line_can_give_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(configuration_values, "FOR_ALL_SERVICES", {"level": "info"})
    services = (service(), USER.service(Environment("staging"), "auth", 8202, configuration={"level": "debug"}))
    assert Roster(services=services).kv_configuration == {
        "billing_service/level": '"info"',
        "auth_service/level": '"debug"',
    }


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "ä", "a?b", "k" * 257])
def test_a_key_that_is_no_path_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="must be 1 to 256 of the characters"):
        service(configuration={key: 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("db_password", "x"),
        ("jwt-secret", "x"),
        ("refresh_token", "x"),
        ("apiKey".lower(), "x"),
        ("dbPassword", "x"),
        ("clients/apiKey", "x"),
        ("secret_key", "x"),
        ("aws/SECRET_ACCESS_KEY", "x"),
        ("db", "postgres://billing:hunter2@db/billing"),
        ("db", {"password": "x"}),
        ("keys", ["-----BEGIN EC PRIVATE KEY-----"]),
        ("partner", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    ],
)
def test_a_secret_is_refused_with_what_to_do_instead(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=r"is a secret.*by a Docker secret or by Vault"):
        service(configuration={key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_tokens", 4096),
        ("token_ttl", "5m"),
        ("db", "postgres://db/billing"),
        ("cache_key", "x"),
        ("tokenizer", "x"),
        ("broken", "x"),
    ],
)
def test_what_only_sounds_like_a_secret_is_none(key: str, value: object) -> None:
    assert len(configured(**{key: value})) == 1


def test_a_value_has_at_most_512_kilobytes() -> None:
    assert len(configured(text="x" * (512 * 1024 - 2))) == 1
    with pytest.raises(ValidationError, match="has 524289 bytes in JSON, Consul takes at most 524288"):
        service(configuration={"text": "x" * (512 * 1024 - 1)})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is None: leave the key out instead"),
        (float("nan"), "not JSON compliant"),
        (object(), "input was not a valid JSON value"),
    ],
)
def test_what_is_no_value_in_json_is_refused(value: object, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        service(configuration={"key": value})


def test_instances_of_one_name_cannot_state_two_values_of_a_key() -> None:
    other = USER.service(
        Environment("staging"), "billing", 8217, id="billing_service-2", configuration={"max_retries": 5}
    )
    with pytest.raises(ValidationError, match="KV key 'billing_service/max_retries' has two values"):
        Roster(services=(service(configuration={"max_retries": 3}), other))


def test_a_wrong_value_for_all_services_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration_values, "FOR_ALL_SERVICES", {"a b": 1})
    with pytest.raises(RosterError, match=r"^services/configuration_values.py: FOR_ALL_SERVICES: .*key 'a b' must be"):
        load_roster(Environment("staging"))


# Resources


def test_each_value_is_one_resource_whose_tokens_are_secrets() -> None:
    args = KvConfigurationArgs({"billing_service/a": "1"}, Connection("http://127.0.0.1:8500", "own"), "management")
    found = deploy(lambda: KvConfiguration("kv", args)).inputs("kv-billing_service/a")
    assert {key: found[key] for key in ("key", "value", "token", "removal")} == {
        "key": "billing_service/a",
        "value": "1",
        "token": secret("own"),
        "removal": secret("management"),
    }


def test_states_find_the_provider_by_a_path_that_never_changes() -> None:
    path = f"{KvEntryProvider.__module__}.{KvEntryProvider.__qualname__}"
    assert path == "components.kv_configuration.KvEntryProvider"


def test_another_value_is_a_change_in_place() -> None:
    one, other = {"key": "a/b", "value": "1", "flags": "7"}, {"key": "a/b", "value": "2", "flags": "7"}
    result = KvEntryProvider().diff("a/b", one, other)
    assert (result.changes, result.replaces) == (True, [])


def test_nothing_else_is_a_change() -> None:
    one = {"key": "a/b", "value": "1", "flags": "7", "adopt": False}
    assert not KvEntryProvider().diff("a/b", one, {**one, "adopt": True}).changes


# Rights


def test_a_token_can_write_the_stated_keys_and_no_other() -> None:
    roster = Roster(services=(service(configuration={"a": 1}),))
    rules = token_rules(roster, "staging-external", esm=False, kv_configuration=True)
    assert rules["configuration"] == {"key": {"billing_service/a": {"policy": "write"}}}
    assert rules["verify"]["key"] == {"billing_service/a": {"policy": "read"}}


def test_a_stack_that_writes_no_values_has_no_token_for_them() -> None:
    assert "configuration" not in token_rules(Roster(services=(service(),)), "staging-external", esm=False)
