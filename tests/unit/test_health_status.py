from collections.abc import Iterator
from typing import Any

import pytest

from consul_cluster.client import Consul
from services.roster import Roster
from tests.fake_consul import FakeConsul, running
from tests.forty_services import forty_roster
from tests.statuses import statuses

BILLING, MINIO = (
    next(each for each in forty_roster().services if each.name == name)
    for name in ("billing_service", "minio_grpc_service")
)
TWO = Roster(services=(BILLING, MINIO))


@pytest.fixture(name="consul")
def _consul() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        yield consul


def check(service: str, status: str, node: str = "consul-agent-shared") -> dict[str, Any]:
    return {"Node": node, "CheckID": f"{service}-check", "ServiceID": service, "Status": status}


def test_a_services_status_is_its_checks_on_the_agents_node(consul: FakeConsul) -> None:
    consul.node_checks = [check("billing_service", "passing"), check("minio_grpc_service", "warning")]
    found = statuses(Consul(consul.address), TWO)
    assert found == {"billing_service": "passing", "minio_grpc_service": "warning"}


def test_a_services_status_is_its_checks_on_the_node_that_is_asked_for(consul: FakeConsul) -> None:
    consul.node_checks = [
        check("billing_service", "critical"),
        check("billing_service", "passing", "staging-external"),
        check("minio_grpc_service", "passing", "staging-external"),
    ]
    found = statuses(Consul(consul.address), TWO, "staging-external")
    assert found == {"billing_service": "passing", "minio_grpc_service": "passing"}


@pytest.mark.parametrize(
    ("check_id", "service"), [("_service_maintenance:billing_service", "billing_service"), ("_node_maintenance", "")]
)
def test_what_an_operator_has_taken_out_is_in_maintenance_and_not_critical(
    consul: FakeConsul, check_id: str, service: str
) -> None:
    off = {**check(service, "critical"), "CheckID": check_id}
    consul.node_checks = [check("billing_service", "critical"), check("minio_grpc_service", "passing"), off]
    found = statuses(Consul(consul.address), TWO)
    assert found["billing_service"] == "maintenance"
    assert found["minio_grpc_service"] == ("passing" if service else "maintenance")


def test_a_service_that_a_node_has_no_check_of_is_missing(consul: FakeConsul) -> None:
    consul.node_checks = [check("billing_service", "passing", "staging-external")]
    found = statuses(Consul(consul.address), TWO)
    assert found == {"billing_service": "missing", "minio_grpc_service": "missing"}


def test_other_checks_of_the_node_are_no_service_of_the_roster(consul: FakeConsul) -> None:
    consul.node_checks = [check("", "passing"), check("another", "passing")]
    assert list(statuses(Consul(consul.address), TWO)) == ["billing_service", "minio_grpc_service"]
