from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from pydantic import ValidationError

from components import unanswered_requests
from components.consul_connection import Connection
from components.kv_configuration import KvConfiguration, KvConfigurationArgs, KvEntryProvider
from consul_cluster.acl_rules import token_rules
from consul_cluster.client import KvEntry, NoAnswerError
from consul_cluster.ownership import kv_flags
from operations.verify.findings import Verdict
from operations.verify.kv_entries import kv_entries
from operations.verify.observed_state import ObservedState
from services import configuration_values
from services.environment import Environment
from services.model import Service
from services.roster import Roster, RosterError, load_roster
from services.user_services import USER
from tests.fake_consul import serve
from tests.unit.pulumi_mocks import Deployed, deploy, on_docker, run_main, secret, stack_config
from tests.unit.stacks import stack_at

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


def test_a_value_that_another_party_wrote_is_what_the_stated_one_is_compared_with() -> None:
    entry = b'[{"Value": "OQ==", "Flags": 0, "ModifyIndex": 7}]'
    with serve(lambda _: (200, entry, {})) as servers:
        found = KvEntryProvider().read("a/b", {"key": "a/b", "value": "3", "flags": "7", "servers": servers})
    assert found.inputs == found.outs == {"key": "a/b", "value": "9", "flags": "7", "servers": servers}


def test_nothing_else_is_a_change() -> None:
    one = {"key": "a/b", "value": "1", "flags": "7", "adopt": False}
    assert not KvEntryProvider().diff("a/b", one, {**one, "adopt": True}).changes


@pytest.mark.usefixtures("_no_pauses")
@pytest.mark.parametrize("runs", [True, False])
def test_a_value_goes_with_the_stacks_own_servers_only_if_their_container_does_not_run(
    monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    entry = {"key": "a/b", "value": "3", "flags": "7", "servers": "http://127.0.0.1:9", "owned": True}
    monkeypatch.setattr(unanswered_requests, "_is_published", lambda *_: runs)
    with pytest.raises(NoAnswerError) if runs else nullcontext():
        KvEntryProvider().delete("a/b", entry)


def test_a_value_is_not_taken_for_removed_with_servers_that_hang(silent_api: str) -> None:
    with pytest.raises(NoAnswerError, match="timed out"):
        KvEntryProvider().delete(
            "a/b", {"key": "a/b", "value": "3", "flags": "7", "servers": silent_api, "owned": True}
        )


# In a stack


@pytest.fixture(name="for_all")
def _for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration_values, "FOR_ALL_SERVICES", {"level": "info"})


def stack(**config: str) -> Deployed:
    names = ("billing_service", "minio_grpc_service")
    return on_docker(run_main, {**stack_config("docker-local"), **config}, names=names)[0]


def entries(deployed: Deployed) -> list[str]:
    return [name for name, request in deployed.requests.items() if request.type == TYPE]


@pytest.mark.usefixtures("for_all")
def test_one_setting_switches_it_on_in_docker_local() -> None:
    off, on = stack(), stack(kvConfiguration="true")
    added = ["kv-billing_service/level", "kv-minio_grpc_service/level"]
    assert set(on.requests) - set(off.requests) == {"kv", *added}
    assert entries(on) == added
    assert on.inputs(added[0])["value"] == '"info"'


@pytest.mark.usefixtures("for_all")
def test_a_secured_stack_writes_with_a_token_of_its_own_and_removes_with_the_management_token() -> None:
    https = {"agentAddress": "https://127.0.0.1:8501", "serverAddress": "https://127.0.0.1:8500"}
    deployed = stack(kvConfiguration="true", security="on", **https)
    found = deployed.sent("kv-billing_service/level")
    assert found["token"] == secret("secret-of-acl-configuration-token-id")
    assert found["removal"] not in (None, found["token"])


# What verify says


def verdict(**found: KvEntry | None) -> Verdict:
    roster = Roster(services=(service(configuration={"max_retries": 3}),))
    stated = stack_at("http://127.0.0.1:1", "http://127.0.0.1:2", roster=roster, kvConfiguration=True)
    seen = {f"billing_service/{key}": entry for key, entry in found.items()}
    judged = kv_entries(ObservedState(stated, None, {}, None, {}, seen))
    assert judged
    return judged


@pytest.mark.parametrize("text", ["3", " 3 "])
def test_a_value_as_it_is_stated_is_well_however_it_is_spelled(text: str) -> None:
    assert verdict(max_retries=KvEntry("billing_service/max_retries", text, 0, 7)).well


@pytest.mark.parametrize(
    ("flags", "text", "found"),
    [
        pytest.param(None, "", "no such key", id="missing"),
        pytest.param(kv_flags("pulumi/consul-staging/local/"), "5", "5", id="another value"),
        pytest.param(0, "5", "5, which another party wrote", id="of another party"),
    ],
)
def test_a_value_that_is_not_as_stated_is_a_finding(flags: int | None, text: str, found: str) -> None:
    key = "billing_service/max_retries"
    judged = verdict(max_retries=None if flags is None else KvEntry(key, text, flags, 7))
    assert judged.summary == "0 of 1 values in the KV store are as stated"
    assert [(each.subject, each.expected, each.found) for each in judged.findings] == [(key, "3", found)]


# Rights


def test_a_token_can_write_the_stated_keys_and_no_other() -> None:
    roster = Roster(services=(service(configuration={"a": 1}),))
    rules = token_rules(roster, "staging-external", esm=False, kv_configuration=True)
    assert rules["configuration"] == {"key": {"billing_service/a": {"policy": "write"}}}
    assert rules["verify"]["key"] == {"billing_service/a": {"policy": "read"}}


def test_a_stack_that_writes_no_values_has_no_token_for_them() -> None:
    assert "configuration" not in token_rules(Roster(services=(service(),)), "staging-external", esm=False)
