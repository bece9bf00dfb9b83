from collections.abc import Mapping
from typing import Any, Unpack

import pytest

from consul_cluster.drift import catalog_matches, normalize, recognize, seconds_of_one_run, stated_fields
from services.checks import HttpCheck, TtlCheck
from services.consul_definition import definition, notes
from services.environment import Environment
from services.group import Options
from services.model import Service
from services.user_services import USER

STATED: dict[str, Any] = {
    "address": "isa-billing",
    "port": 8216,
    "tags": ["v1"],
    "meta": {"team": "user-platform"},
    "checks": {"billing_service-health": {}},
}
SERVICE = {"Address": "isa-billing", "Port": 8216, "Tags": ["v1"], "Meta": {"team": "user-platform"}}
CHECKS = [{"CheckID": "billing_service-health", "ServiceID": "billing_service"}, {"CheckID": "node", "ServiceID": ""}]


def test_the_catalog_matches_a_service_with_the_stated_fields_and_checks() -> None:
    assert catalog_matches({"Service": SERVICE, "Checks": CHECKS}, STATED)


@pytest.mark.parametrize("other", [{"Address": "10.0.0.9"}, {"Port": 8299}, {"Tags": []}, {"Meta": {}}])
def test_the_catalog_does_not_match_a_service_with_another_field(other: dict[str, Any]) -> None:
    assert not catalog_matches({"Service": {**SERVICE, **other}, "Checks": CHECKS}, STATED)


def test_the_catalog_does_not_match_a_service_without_its_check() -> None:
    assert not catalog_matches({"Service": SERVICE, "Checks": CHECKS[1:]}, STATED)


def test_the_catalog_matches_whatever_tags_where_others_may_change_them() -> None:
    entry = {"Service": {**SERVICE, "Tags": ["preferred"]}, "Checks": CHECKS}
    assert catalog_matches(entry, {**STATED, "enable_tag_override": True})


# What is recognized


def billing(**options: Unpack[Options]) -> Service:
    return USER.service(Environment("staging"), "billing", 8216, **options)


def as_shown(service: Service, check_changes: Mapping[str, object] | None = None, **changes: object) -> dict[str, Any]:
    """Return a service and its one check as an agent shows them."""
    [(check_id, check)] = definition(service)["checks"].items()
    kind = next(kind for kind in ("http", "ttl") if kind in check)
    shown = {
        "Service": service.name,
        "Address": service.host,
        "Port": service.port,
        "Tags": list(service.tags),
        "Meta": dict(service.meta),
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": service.enable_tag_override,
        **changes,
    }
    spans = {"Interval": check.get("interval", "0s"), "Timeout": check.get("timeout", "0s")}
    seen = {"Name": check["name"], "Type": kind, "Notes": notes(check), "Output": "", **spans}
    return normalize(shown, {check_id: {**seen, **(check_changes or {})}})


def stated(service: Service) -> dict[str, Any]:
    return {key: value for key, value in definition(service).items() if key != "id"}


@pytest.mark.parametrize(
    "service",
    [
        billing(),
        billing(checks=(HttpCheck(method="POST", header={"X-Probe": ("a",)}, body="{}"),)),
        billing(checks=(TtlCheck(),)),
        billing(checks=(HttpCheck(deregister_critical_service_after=None),)),
    ],
    ids=["plain", "further fields", "ttl", "never deregistered"],
)
def test_what_consul_shows_of_a_service_as_stated_is_recognized(service: Service) -> None:
    assert recognize(as_shown(service), stated(service)) == stated(service)


SHOWN_BY_OTHERS: dict[str, dict[str, Any]] = {
    "the definition too": {
        "Definition": {
            "HTTP": "http://isa-billing:8216/health",
            "Method": "GET",
            "Interval": "10s",
            "Timeout": "5s",
            "DeregisterCriticalServiceAfter": "1m30s",
        }
    },
    "a blank definition": {"Definition": {"Interval": "0s", "Timeout": "0s", "DeregisterCriticalServiceAfter": "0s"}},
    "no definition": {"Definition": None},
    "no type": {"Type": ""},
    "no spans": {"Interval": "", "Timeout": ""},
}


@pytest.mark.parametrize("shown", SHOWN_BY_OTHERS.values(), ids=SHOWN_BY_OTHERS)
def test_a_service_as_stated_is_recognized_whichever_fields_of_its_check_a_version_shows(shown: dict[str, Any]) -> None:
    assert recognize(as_shown(billing(), shown), stated(billing())) == stated(billing())


def test_another_interval_is_seen_where_a_version_shows_it_in_the_definition_alone() -> None:
    shown = {"Interval": "", "Definition": {"Interval": "9s"}}
    [check] = as_shown(billing(), shown)["checks"].values()
    assert check["interval"] == "9s"


def test_another_value_of_a_field_that_consul_does_not_show_is_not_recognized() -> None:
    ours, other = (billing(checks=(HttpCheck(body=body),)) for body in ("ours", "other"))
    assert recognize(as_shown(other), stated(ours)) != stated(ours)


def test_tags_that_others_may_change_are_recognized_whatever_they_are() -> None:
    service = billing(enable_tag_override=True)
    assert recognize(as_shown(service, Tags=["preferred"]), stated(service)) == stated(service)


def test_tags_are_not_recognized_where_only_another_party_lets_others_change_them() -> None:
    found = as_shown(billing(), Tags=["preferred"], EnableTagOverride=True)
    assert recognize(found, stated(billing()))["tags"] == ["preferred"]


def test_the_inputs_of_a_resource_have_whole_numbers() -> None:
    inputs = {
        "mark": "x",
        "port": 8216.0,
        "weights": {"passing": 10.0},
        "checks": {"a": {"failures_before_critical": 3.0}},
    }
    found = stated_fields(inputs)
    assert found == {"port": 8216, "weights": {"passing": 10}, "checks": {"a": {"failures_before_critical": 3}}}
    assert isinstance(found["port"], int)


@pytest.mark.parametrize(
    ("check", "seconds"),
    [
        ({"interval": "10s", "timeout": "5s"}, 15),
        ({"Interval": "1m0s", "Timeout": ""}, 60),
        ({"ttl": "30s"}, 30),
        ({"Interval": "0s", "Timeout": "0s"}, 0),
    ],
)
def test_a_check_runs_once_in_its_interval_and_timeout_and_a_ttl_expires(check: dict[str, str], seconds: int) -> None:
    assert seconds_of_one_run(check) == seconds
