from typing import Any

import pytest

from consul_cluster.drift import catalog_matches

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


@pytest.mark.parametrize("other", [{"Address": "10.0.0.9"}, {"Port": 8299}, {"Tags": None}, {"Meta": None}])
def test_the_catalog_does_not_match_a_service_with_another_field(other: dict[str, Any]) -> None:
    assert not catalog_matches({"Service": {**SERVICE, **other}, "Checks": CHECKS}, STATED)


def test_the_catalog_does_not_match_a_service_without_its_check() -> None:
    assert not catalog_matches({"Service": SERVICE, "Checks": CHECKS[1:]}, STATED)
